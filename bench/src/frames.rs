//! How many events shared a sync in the embedded store: read from its files, whose format `runtime/broker/src/embedded/frame.rs`
//! describes.

use crate::stage::Stage;

/// Mean events of the frames behind the first `filled` events. `None` when there is none.
pub(crate) fn records_a_frame(stage: &Stage, filled: u64) -> anyhow::Result<Option<f64>> {
    let mut segments = Vec::new();
    collect_segments(&stage.folder.path().join("store"), &mut segments)?;
    let (mut frames, mut events) = (0_u64, 0_u64);
    for segment in segments {
        let bytes = std::fs::read(segment)?;
        for (first, count) in Frames::of(&bytes) {
            if first > filled {
                frames += 1;
                events += u64::from(count);
            }
        }
    }
    Ok((frames > 0).then(|| events as f64 / frames as f64))
}

fn collect_segments(folder: &std::path::Path, into: &mut Vec<std::path::PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect_segments(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "seg") {
            into.push(path);
        }
    }
    Ok(())
}

/// The first sequence and the number of events of each frame of a segment.
struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    const SEGMENT_HEAD_BYTES: usize = 32;
    const HEAD_BYTES: usize = 40;

    fn of(segment: &'a [u8]) -> Self {
        Self { rest: segment.get(Self::SEGMENT_HEAD_BYTES..).unwrap_or_default() }
    }
}

impl Iterator for Frames<'_> {
    type Item = (u64, u32);

    fn next(&mut self) -> Option<Self::Item> {
        let head = self.rest.get(..Self::HEAD_BYTES).filter(|head| head.starts_with(b"SAF1"))?;
        let word = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?));
        let first = u64::from_le_bytes(head.get(16..24)?.try_into().ok()?);
        let (body, events) = (word(8)?, word(32)?);
        self.rest = self.rest.get(Self::HEAD_BYTES + body as usize..).unwrap_or_default();
        Some((first, events))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_stepped_over_by_their_length() {
        let frame = |first: u64, events: u32, body: usize| {
            let mut bytes = vec![0; Frames::HEAD_BYTES + body];
            bytes[..4].copy_from_slice(b"SAF1");
            bytes[8..12].copy_from_slice(&(body as u32).to_le_bytes());
            bytes[16..24].copy_from_slice(&first.to_le_bytes());
            bytes[32..36].copy_from_slice(&events.to_le_bytes());
            bytes
        };
        let segment =
            [vec![1; Frames::SEGMENT_HEAD_BYTES], frame(1, 3, 50), frame(4, 2, 0), vec![0; 64]].concat();
        assert_eq!(Frames::of(&segment).collect::<Vec<_>>(), [(1, 3), (4, 2)]);
        assert_eq!(Frames::of(&[]).count(), 0);
    }
}

//! A tar archive in memory: how the JavaScript SDK comes with a new Channel, as one file that npm installs. Plain files under
//! `package/`, which is where npm looks; no compression, no times, so the same SDK is the same archive.

const BLOCK_BYTES: usize = 512;
const MAX_NAME_BYTES: usize = 100;

/// Files by path, as npm takes a package. Paths are ours, below [`MAX_NAME_BYTES`].
pub(super) fn package(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (path, content) in files {
        archive.extend_from_slice(&header(&format!("package/{path}"), content.len()));
        archive.extend_from_slice(content.as_bytes());
        let padding = content.len().next_multiple_of(BLOCK_BYTES) - content.len();
        archive.resize(archive.len() + padding, 0);
    }
    archive.resize(archive.len() + 2 * BLOCK_BYTES, 0);
    archive
}

/// A file's header in the format of POSIX (ustar).
fn header(path: &str, size: usize) -> [u8; BLOCK_BYTES] {
    debug_assert!(path.len() < MAX_NAME_BYTES, "{path}");
    let mut header = [0; BLOCK_BYTES];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, path);
    put(100, "0000755\0"); // among the files is a program
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{size:011o}\0"));
    put(136, "00000000000\0");
    put(148, "        "); // the sum counts itself as spaces
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_stand_in_blocks_behind_their_headers() {
        let archive = package(&[("a.js", "let a;\n"), ("empty", "")]);
        assert_eq!(archive.len(), 5 * BLOCK_BYTES);
        assert!(archive.starts_with(b"package/a.js\0"));
        assert_eq!(&archive[124..136], b"00000000007\0");
        assert_eq!(&archive[512..519], b"let a;\n");
        assert!(archive[1024..].starts_with(b"package/empty\0"));
    }
}

//! A cut and a flip at every byte of a small store: everything acknowledged is there, or the store says what is not.

use super::*;
use crate::embedded;

/// Several segments even of a dozen events.
const TINIEST: Tuning = Tuning { segment_bytes_min: 1 << 10, segment_bytes_max: 1 << 10, ..TINY };

fn open_tiniest(folder: &Path) -> Result<Embedded, crate::Error> {
    Embedded::open_with(folder, Arc::new(Real), TINIEST)
}

/// A store that was closed, and the ids in it.
async fn small_store(folder: &Path) -> Vec<String> {
    let worker = channel("worker", "a");
    let broker = open_tiniest(folder).expect("opens");
    broker.prepare(&plan(stream_config(), std::slice::from_ref(&worker))).await.expect("prepares");
    publish_many(&broker, "a", 0..14).await;
    let mut worker_feed = feed(&broker, &worker).await;
    let deliveries = take(&mut worker_feed, 2).await;
    settle(&worker_feed, deliveries, |d| {
        Settlement::done(vec![emission("out", &format!("of-{}", d.event.id))])
    })
    .await;
    let stored = ids(&broker).await;
    broker.close(HANG).await;
    stored
}

/// Opens the store and reads it whole; the error that a person would see otherwise.
async fn read_all(folder: &Path) -> Result<Vec<String>, String> {
    let worker = channel("worker", "a");
    let broker = open_tiniest(folder).map_err(|error| error.to_string())?;
    broker.prepare(&plan(stream_config(), &[worker])).await.map_err(|error| error.to_string())?;
    let (mut ids, mut from) = (Vec::new(), crate::From::Sequence(1));
    loop {
        let page =
            broker.read(&events(), from, &Filter::all(), 1000).await.map_err(|error| error.to_string())?;
        ids.extend(page.items.iter().map(|event| event.id.to_string()));
        let Some(next) = page.next else { return Ok(ids) };
        from = crate::From::Sequence(next.parse().expect("a sequence"));
    }
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let stream = folder.join("streams/events");
    let mut files = vec![folder.join("FORMAT"), stream.join("state.log")];
    for entry in fs::read_dir(stream.join("events")).expect("reads") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|e| e == "seg" || e == "idx") {
            files.push(path);
        }
    }
    files
}

/// Every change of every file through one check: all there, or a refusal that names a file.
async fn check_changes(change: impl Fn(&[u8]) -> Vec<(usize, Vec<u8>)>) {
    let folder = tempfile::tempdir().expect("a temp folder");
    let stored = small_store(folder.path()).await;
    let mut refused = 0;
    for path in files(folder.path()) {
        let whole = fs::read(&path).expect("reads");
        let relative = path.strip_prefix(folder.path()).expect("inside").to_owned();
        for (at, bytes) in change(&whole) {
            let copy = killed(folder.path());
            fs::write(copy.path().join(&relative), bytes).expect("writes");
            match read_all(copy.path()).await {
                Ok(ids) => assert_eq!(ids, stored, "{} at {at}", relative.display()),
                Err(error) => {
                    let name = relative.file_name().and_then(|n| n.to_str()).expect("a name");
                    assert!(
                        error.contains(name) || error.contains("streams/events"),
                        "{name} at {at}: {error}"
                    );
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 100, "{refused}");
}

/// Every byte where something is, each 61st where there are only zeros.
fn places(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |n| n + 1);
    (0..end).chain((end..bytes.len()).step_by(61))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flip_at_every_byte_loses_nothing_in_silence() {
    check_changes(|whole| {
        let flipped = |at: usize| {
            let mut bytes = whole.to_vec();
            bytes[at] ^= 1 << (at % 8);
            (at, bytes)
        };
        places(whole).map(flipped).collect()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_at_every_byte_loses_nothing_in_silence() {
    check_changes(|whole| places(whole).map(|at| (at, whole[..at].to_vec())).collect()).await;
}

#[tokio::test]
async fn a_torn_last_group_is_cut_and_a_damaged_one_before_it_is_not() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let no_channels = plan(stream_config(), &[]);
    let broker = open(folder.path(), &no_channels).await;
    publish_many(&broker, "a", 0..5).await;
    let before = killed(folder.path());
    publish(&broker, "a", "last").await;
    let after = killed(folder.path());
    drop(broker);
    let segment = |folder: &TempDir| folder.path().join("streams/events/events/00000000000000000001.seg");
    let (old, new) = (fs::read(segment(&before)).expect("reads"), fs::read(segment(&after)).expect("reads"));
    let changed: Vec<usize> = (0..old.len()).filter(|n| old[*n] != new[*n]).collect();
    let (start, end) = (changed[0], changed[changed.len() - 1] + 1);
    for torn in start..end {
        // What was written of the last group ends here; nobody was told of it.
        let bytes = [&new[..torn], &old[torn..]].concat();
        fs::write(segment(&before), bytes).expect("writes");
        let copy = killed(before.path());
        assert_eq!(read_all(copy.path()).await.expect("opens").len(), 5, "torn at {torn}");
    }
    for damaged in 32..start {
        let mut bytes = new.clone();
        bytes[damaged] ^= 1;
        fs::write(segment(&after), bytes).expect("writes");
        let copy = killed(after.path());
        let refused = read_all(copy.path()).await.expect_err("refused");
        assert!(refused.contains("is damaged at byte") && refused.contains("store check"), "{refused}");
    }
}

#[tokio::test]
async fn a_check_names_the_place_and_a_cut_there_opens_the_store_again() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let stored = small_store(folder.path()).await;
    let whole = embedded::check(folder.path()).expect("checks");
    assert_eq!((whole.findings.len(), whole.streams[0].events), (0, stored.len() as u64));
    let path = folder.path().join("streams/events/events/00000000000000000001.seg");
    let mut bytes = fs::read(&path).expect("reads");
    bytes[400] ^= 1;
    fs::write(&path, bytes).expect("writes");

    let report = embedded::check(folder.path()).expect("checks");
    let [finding] = &report.findings[..] else { panic!("{report:?}") };
    assert_eq!((&finding.damage.path, finding.part), (&path, embedded::Part::Events));
    let kept = finding.damage.after as usize;
    assert!(finding.lost > 0 && kept + finding.lost as usize <= stored.len(), "{finding:?}");
    let cut = embedded::cut(folder.path(), finding).expect("cuts");
    assert!(cut.kept.iter().all(|path| path.exists()) && cut.kept.len() > 1, "{cut:?}");
    assert_eq!(embedded::check(folder.path()).expect("checks").findings, []);
    assert_eq!(read_all(folder.path()).await.expect("opens"), stored[..kept]);

    let worker = channel("worker", ">");
    let broker = open_tiniest(folder.path()).expect("opens");
    broker.prepare(&plan(stream_config(), std::slice::from_ref(&worker))).await.expect("prepares");
    assert_eq!(publish(&broker, "a", "after the cut").await.sequence, finding.damage.after + 1);
    let mut worker_feed = feed(&broker, &worker).await;
    let mut last = String::new();
    while last != "after the cut" {
        let deliveries = take(&mut worker_feed, 1).await;
        last = deliveries[0].event.id.to_string();
        settle(&worker_feed, deliveries, done).await;
    }
}

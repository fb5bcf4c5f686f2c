//! Hostile and plain use of a bucket, as a guest would call it; how a settlement stores the draft is the brokers' and the Channel's.

use std::collections::BTreeMap;
use std::sync::Mutex;

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use saf_event::Size;

use super::atomics::{Host as _, HostCas as _};
use super::batch::Host as _;
use super::store::{Host as _, HostBucket as _};
use super::*;
use crate::state::{Held, KeyPage};

/// Keys in memory; a version a write.
#[derive(Debug, Default)]
struct Shelf(Mutex<BTreeMap<String, (u64, Bytes)>>);

impl Shelf {
    fn put(&self, key: &str, version: u64, value: &str) {
        self.0
            .lock()
            .expect("whole")
            .insert(key.to_owned(), (version, Bytes::copy_from_slice(value.as_bytes())));
    }
}

impl State for Shelf {
    fn get<'a>(&'a self, _: u64, key: &'a str) -> BoxFuture<'a, Result<Held, String>> {
        let held = self.0.lock().expect("whole").get(key).cloned();
        let held = held.map(|(version, value)| Held { value: Some(value), version });
        ready(Ok(held.unwrap_or_default())).boxed()
    }

    fn keys<'a>(&'a self, after: Option<&'a str>, limit: usize) -> BoxFuture<'a, Result<KeyPage, String>> {
        let shelf = self.0.lock().expect("whole");
        let behind = shelf.keys().filter(|key| after.is_none_or(|after| key.as_str() > after));
        let mut keys: Vec<_> = behind.take(limit + 1).map(|key| key.as_str().into()).collect();
        let more = keys.len() > limit;
        keys.truncate(limit);
        let next = more.then(|| keys.last().map(ToString::to_string)).flatten();
        ready(Ok(KeyPage { keys, next })).boxed()
    }

    fn bytes(&self) -> u64 {
        self.0.lock().expect("whole").iter().map(|(key, (_, value))| (key.len() + value.len()) as u64).sum()
    }
}

/// A guest's side of a bucket.
struct Guest {
    keyvalue: KeyValue,
    table: ResourceTable,
}

impl Guest {
    fn on(shelf: &Arc<Shelf>, limits: &Limits) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(8);
        let mut keyvalue = KeyValue::new(Some(shelf.clone()), limits);
        keyvalue.begin_event(1);
        Self { keyvalue, table }
    }

    fn view(&mut self) -> View<'_> {
        View { keyvalue: &mut self.keyvalue, table: &mut self.table }
    }

    fn get(&mut self, key: &str) -> Result<Option<String>, String> {
        let got = now(self.view().get(bucket(), key.to_owned()));
        got.map(|value| value.map(|bytes| String::from_utf8(bytes).expect("text"))).map_err(text)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        now(self.view().set(bucket(), key.to_owned(), value.into())).map_err(text)
    }

    fn delete(&mut self, key: &str) -> Result<(), String> {
        now(self.view().delete(bucket(), key.to_owned())).map_err(text)
    }

    fn increment(&mut self, key: &str, delta: i64) -> Result<i64, String> {
        now(self.view().increment(bucket(), key.to_owned(), delta)).map_err(text)
    }

    fn list(&mut self) -> Vec<String> {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let page = now(self.view().list_keys(bucket(), cursor)).expect("a page");
            all.extend(page.keys);
            cursor = page.cursor;
            if cursor.is_none() {
                return all;
            }
        }
    }

    fn changes(&mut self) -> Vec<(String, Option<String>, Option<u64>)> {
        let change = |change: Change| {
            let value = change.value.map(|bytes| String::from_utf8(bytes.to_vec()).expect("text"));
            (change.key.to_string(), value, change.read)
        };
        self.keyvalue.take().into_iter().map(change).collect()
    }
}

fn bucket() -> Resource<Bucket> {
    Resource::new_borrow(0)
}

/// Nothing here waits.
fn now<T>(call: impl Future<Output = wasmtime::Result<T>>) -> T {
    call.now_or_never().expect("at once").expect("no trap")
}

fn text(error: Error) -> String {
    match error {
        Error::Other(text) => text,
        Error::NoSuchStore => "no such store".to_owned(),
        Error::AccessDenied => "access denied".to_owned(),
    }
}

#[test]
fn an_event_reads_its_own_writes_and_says_what_it_read_first() {
    let shelf = Arc::new(Shelf::default());
    shelf.put("old", 7, "seven");
    shelf.put("gone", 8, "eight");
    let mut guest = Guest::on(&shelf, &Limits::default());
    assert_eq!(guest.get("old"), Ok(Some("seven".into())));
    shelf.put("old", 9, "nine");
    assert_eq!(guest.get("old"), Ok(Some("nine".into())), "values that were read are not kept");
    guest.set("old", "mine").expect("sets");
    assert_eq!(guest.get("old"), Ok(Some("mine".into())));
    guest.set("blind", "1").expect("sets");
    guest.delete("gone").expect("deletes");
    assert_eq!(guest.get("gone"), Ok(None));
    assert_eq!(guest.get("never"), Ok(None), "only read, so no change");
    assert_eq!(
        guest.changes(),
        [
            ("blind".into(), Some("1".into()), None),
            ("gone".into(), None, None),
            ("old".into(), Some("mine".into()), Some(7)),
        ]
    );
    assert_eq!(guest.changes(), [], "taken once");
}

#[test]
fn what_an_event_wrote_and_did_not_finish_is_gone_at_the_next_one() {
    let shelf = Arc::new(Shelf::default());
    let mut guest = Guest::on(&shelf, &Limits::default());
    guest.set("k", "1").expect("sets");
    guest.keyvalue.end_event();
    assert!(guest.get("k").expect_err("no event").contains("while an event is handled"));
    guest.keyvalue.begin_event(2);
    assert_eq!(guest.get("k"), Ok(None));
    assert_eq!(guest.changes(), []);
}

#[test]
fn numbers_are_text_and_stay_numbers() {
    let shelf = Arc::new(Shelf::default());
    for (key, value) in [("n", "41"), ("max", "9223372036854775807"), ("word", "many"), ("empty", "")] {
        shelf.put(key, 1, value);
    }
    let mut guest = Guest::on(&shelf, &Limits::default());
    assert_eq!(guest.increment("n", 1), Ok(42));
    assert_eq!(guest.increment("n", -44), Ok(-2));
    assert_eq!(guest.increment("new", 5), Ok(5));
    assert!(guest.increment("max", 1).expect_err("too large").contains("no 64-bit number"));
    for key in ["word", "empty"] {
        assert!(guest.increment(key, 1).expect_err("no number").contains("no decimal number"), "{key}");
    }
    assert_eq!(guest.changes().len(), 2, "what failed changed nothing");
}

#[test]
fn a_swap_fails_when_the_event_wrote_in_between_or_is_another_one() {
    let shelf = Arc::new(Shelf::default());
    shelf.put("k", 3, "a");
    let mut guest = Guest::on(&shelf, &Limits::default());
    let cas = now(guest.view().new(bucket(), "k".into())).expect("a handle");
    assert_eq!(
        now(guest.view().current(Resource::new_borrow(cas.rep()))).expect("reads"),
        Some(b"a".to_vec())
    );
    guest.set("k", "b").expect("sets");
    let Err(CasError::CasFailed(cas)) = now(guest.view().swap(cas, b"c".to_vec())) else {
        panic!("it changed")
    };
    assert!(now(guest.view().swap(cas, b"d".to_vec())).is_ok());
    assert_eq!(guest.changes(), [("k".into(), Some("d".into()), Some(3))]);
    let kept = now(guest.view().new(bucket(), "k".into())).expect("a handle");
    guest.keyvalue.begin_event(2);
    assert!(matches!(now(guest.view().swap(kept, b"e".to_vec())), Err(CasError::CasFailed(_))));
}

#[test]
fn keys_are_1_to_255_bytes_of_any_text() {
    let shelf = Arc::new(Shelf::default());
    let mut guest = Guest::on(&shelf, &Limits::default());
    for key in ["\0", "a/b", ">", "*.x", "\u{202e}evil", "\r\n", "ö", &"k".repeat(255)] {
        guest.set(key, "1").expect(key);
        assert_eq!(guest.get(key), Ok(Some("1".into())), "{key:?}");
    }
    for (key, problem) in [("", "not empty"), (&*"ö".repeat(128), "at most 255")] {
        for result in [
            guest.set(key, "1"),
            guest.get(key).map(drop),
            guest.delete(key),
            guest.increment(key, 1).map(drop),
        ] {
            assert!(result.expect_err("refused").contains(problem), "{key:?}");
        }
    }
    assert_eq!(guest.changes().len(), 8);
}

#[test]
fn what_an_event_writes_and_reads_is_bounded_and_the_limit_is_named() {
    let shelf = Arc::new(Shelf::default());
    let limits = Limits { state_bytes: Size(1000), state_reads: 20, ..Limits::default() };
    let mut guest = Guest::on(&shelf, &limits);
    assert!(guest.set("large", &"x".repeat(1000)).expect_err("too much").contains("limits.state_bytes"));
    // Writing the same key again and again takes no more room.
    for _ in 0..10_000 {
        guest.set("same", &"x".repeat(500)).expect("fits");
    }
    let written = (0..10_000).take_while(|n| guest.set(&format!("k{n}"), "").is_ok()).count();
    assert!((3..10).contains(&written), "{written}");
    assert!(guest.delete("another").expect_err("a deletion counts too").contains("limits.state_bytes"));
    let reads = (0..10_000).take_while(|n| guest.get(&format!("r{n}")).is_ok()).count();
    assert_eq!(reads, 20);
    assert!(guest.get("r").expect_err("too many").contains("limits.state_reads"));
    assert_eq!(guest.get("same").map(|value| value.is_some()), Ok(true), "its own writes are no reads");
}

#[test]
fn a_full_state_refuses_writes_and_takes_deletions() {
    let shelf = Arc::new(Shelf::default());
    shelf.put("k", 1, &"x".repeat(900));
    let limits = Limits { state_max: Size(1000), ..Limits::default() };
    let mut guest = Guest::on(&shelf, &limits);
    assert!(guest.set("more", &"x".repeat(100)).expect_err("full").contains("limits.state_max"));
    guest.delete("k").expect("makes room");
    assert_eq!(guest.changes(), [("k".into(), None, None)]);
}

#[test]
fn a_hundred_thousand_keys_are_listed_once_each_with_the_events_own() {
    let shelf = Arc::new(Shelf::default());
    for n in 0..100_000 {
        shelf.put(&format!("{n:06}"), 1, "");
    }
    let limits = Limits { state_max: Size::mib(64), ..Limits::default() };
    let mut guest = Guest::on(&shelf, &limits);
    guest.set("000001", "changed").expect("sets");
    guest.delete("000002").expect("deletes");
    guest.set("own", "1").expect("sets");
    let mut listed = guest.list();
    listed.sort_unstable();
    let mut expected: Vec<_> = (0..100_000).filter(|n| *n != 2).map(|n| format!("{n:06}")).collect();
    expected.push("own".into());
    assert_eq!(listed, expected);
    let cursor = Some("x".repeat(256));
    assert!(text(now(guest.view().list_keys(bucket(), cursor)).expect_err("refused")).contains("no cursor"));
}

#[test]
fn a_guest_that_holds_too_many_handles_is_told_so() {
    let shelf = Arc::new(Shelf::default());
    let mut guest = Guest::on(&shelf, &Limits::default());
    let opened = (0..100).take_while(|_| now(guest.view().open(String::new())).is_ok()).count();
    assert!(opened <= 8, "{opened}");
    assert!(text(now(guest.view().open(String::new())).expect_err("full")).contains("too many handles"));
    assert!(
        text(now(guest.view().new(bucket(), "k".into())).expect_err("full")).contains("too many handles")
    );
}

#[test]
fn there_is_one_bucket_and_none_without_a_grant() {
    let shelf = Arc::new(Shelf::default());
    let mut guest = Guest::on(&shelf, &Limits::default());
    assert_eq!(text(now(guest.view().open("other".into())).expect_err("none")), "no such store");
    guest.keyvalue = KeyValue::new(None, &Limits::default());
    guest.keyvalue.begin_event(1);
    for error in [
        now(guest.view().open(String::new())).map(drop).map_err(text),
        guest.get("k").map(drop),
        guest.set("k", "1"),
        guest.increment("k", 1).map(drop),
    ] {
        assert_eq!(error, Err("access denied".to_owned()));
    }
}

#[test]
fn many_at_once_are_the_same_as_one_after_another() {
    let shelf = Arc::new(Shelf::default());
    shelf.put("a", 4, "1");
    let mut guest = Guest::on(&shelf, &Limits::default());
    let pairs = now(guest.view().get_many(bucket(), vec!["a".into(), "b".into()])).expect("reads");
    assert_eq!(pairs, [("a".into(), Some(b"1".to_vec())), ("b".into(), None)]);
    now(guest.view().set_many(bucket(), vec![("a".into(), b"2".to_vec()), ("c".into(), b"3".to_vec())]))
        .expect("sets");
    now(guest.view().delete_many(bucket(), vec!["a".into()])).expect("deletes");
    assert_eq!(guest.changes(), [("a".into(), None, Some(4)), ("c".into(), Some("3".into()), None)]);
}

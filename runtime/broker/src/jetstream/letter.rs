//! A dead letter as a message.
//!
//! The message is the event's own, headers and all, with ours beside it; our details are shortened to [`DETAIL_BYTES`], the
//! guest's own frames in the last attempt's backtrace last. Headers
//! that would not fit the server's 64 KiB beside ours travel at the start of the payload instead, as do those of a message
//! that no client can read (`Saf-Raw-Headers` says how many bytes). A payload that does not fit is left in the event's own stream,
//! and `Saf-Data-Omitted` says so.

use std::slice;

use async_nats::HeaderName;
use bytes::{BufMut, Bytes, BytesMut};
use saf_event::{ByteString, ChannelName, Event, Headers, Outcome};

use super::api::RawMessage;
use super::codec::{self, Decoded, Head, Stored};
use super::names::Route;
use super::publisher::Outgoing;
use super::raw as wire;
use crate::{Attempt, DeadLetter, StoredDeadLetter, detail};

/// Most bytes that our details may take in the headers: reason, digest and attempts.
const DETAIL_BYTES: usize = 4 * 1024;
/// Most bytes of the reason.
const REASON_BYTES: usize = 1024;
/// Most bytes of the last attempt's backtrace, from the best to the worst; its other texts get half. The first that leaves a
/// quarter of the room to the attempts before it is taken.
const LONGEST_BYTES: [usize; 5] = [2048, 1024, 512, 256, 128];
/// Most bytes of the reasons of the attempts before it.
const EARLIER_REASON_BYTES: [usize; 4] = [256, 128, 64, 0];
/// What the rest of our headers may take: names, places, the digest.
const FIXED_BYTES: usize = 768;
/// Most bytes of headers; the server refuses 64 KiB.
pub(super) const HEADER_BYTES: usize = 63 * 1024;

const CHANNEL: HeaderName = HeaderName::from_static("Saf-Channel");
const STREAM: HeaderName = HeaderName::from_static("Saf-Stream");
const OUTCOME: HeaderName = HeaderName::from_static("Saf-Outcome");
const REASON: HeaderName = HeaderName::from_static("Saf-Reason");
const DIGEST: HeaderName = HeaderName::from_static("Saf-Digest");
const LETTER_ATTEMPTS: HeaderName = HeaderName::from_static("Saf-Attempts");
const DATA_OMITTED: HeaderName = HeaderName::from_static("Saf-Data-Omitted");
const RAW_HEADERS: HeaderName = HeaderName::from_static("Saf-Raw-Headers");

/// A dead letter as a message of at most `limit` bytes, headers included.
pub(super) fn encode(route: &Route, event: &Event, letter: &DeadLetter, limit: usize) -> Outgoing {
    let key = format!("d/{}/{}", letter.channel, event.sequence);
    let mut head = Head::of_stored(event, key.clone());
    describe(&mut head, route, event, letter);
    if head.bytes <= HEADER_BYTES {
        return fit(route, letter, head, event.data.clone(), limit);
    }
    let block = block(event);
    let bare = Event { headers: Headers::new(), ..event.clone() };
    let mut head = Head::of_stored(&bare, key);
    describe(&mut head, route, event, letter);
    raw(route, letter, head, &block, &event.data, limit)
}

/// A message that no client can read, as a dead letter: its header block as the server has it, in front of its payload.
pub(super) fn encode_raw(
    route: &Route,
    event: &Event,
    block: &[u8],
    letter: &DeadLetter,
    limit: usize,
) -> Outgoing {
    let mut head = Head::of_stored(event, format!("d/{}/{}", letter.channel, event.sequence));
    describe(&mut head, route, event, letter);
    raw(route, letter, head, block, &event.data, limit)
}

fn raw(
    route: &Route,
    letter: &DeadLetter,
    mut head: Head,
    block: &[u8],
    data: &[u8],
    limit: usize,
) -> Outgoing {
    head.set(RAW_HEADERS, block.len().to_string());
    let mut payload = BytesMut::with_capacity(block.len() + data.len());
    payload.put_slice(block);
    payload.put_slice(data);
    fit(route, letter, head, payload.freeze(), limit)
}

fn fit(route: &Route, letter: &DeadLetter, mut head: Head, payload: Bytes, limit: usize) -> Outgoing {
    let subject = route.dead(Some(&letter.channel));
    if head.bytes + payload.len() <= limit {
        return Outgoing { subject, head, data: payload };
    }
    head.map = head.map.iter().filter(|(name, _)| **name != RAW_HEADERS).fold(
        async_nats::HeaderMap::new(),
        |mut map, (name, values)| {
            for value in values {
                map.append(name.clone(), value.clone());
            }
            map
        },
    );
    head.set(DATA_OMITTED, "1");
    Outgoing { subject, head, data: Bytes::new() }
}

fn describe(head: &mut Head, route: &Route, event: &Event, letter: &DeadLetter) {
    let reason: String = letter.reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let reason = detail::cut(&reason, REASON_BYTES);
    let left = DETAIL_BYTES - FIXED_BYTES - reason.len();
    head.set(codec::SUBJECT, event.subject.as_str());
    head.set(codec::SEQUENCE, event.sequence.to_string());
    head.set(codec::TIME, event.time.to_string());
    head.set(STREAM, route.stream.as_str());
    head.set(CHANNEL, letter.channel.as_str());
    head.set(OUTCOME, letter.outcome.as_str());
    head.set(DIGEST, detail::cut(&letter.digest, 128));
    head.set(REASON, reason);
    head.set(LETTER_ATTEMPTS, attempts(&letter.attempts, left));
}

/// The attempts as JSON of at most `limit` bytes: whole when they fit, then without the frames of the language's runtime, and
/// then what one mends the Channel by: the last attempt with its backtrace, and of the earlier ones what still fits.
fn attempts(all: &[Attempt], limit: usize) -> String {
    let whole = json(all);
    if whole.len() <= limit {
        return whole;
    }
    let own = |attempt: &Attempt| Attempt {
        backtrace: attempt.backtrace.as_deref().map(detail::own_frames),
        ..attempt.clone()
    };
    let own: Vec<Attempt> = all.iter().map(own).collect();
    let shorter = json(&own);
    if shorter.len() <= limit {
        return shorter;
    }
    let Some((last, earlier)) = own.split_last() else { return shorter };
    let mut shorter = LONGEST_BYTES.iter().map(|&longest| shortened(last, longest));
    let fits = shorter.find(|last| json(slice::from_ref(last)).len() <= limit / 4 * 3);
    let last = fits.unwrap_or_else(|| outline(last, 0));
    let kept = |longest| {
        let earlier = earlier.iter().map(|attempt| outline(attempt, longest));
        earlier.chain([last.clone()]).collect::<Vec<_>>()
    };
    let all_fit =
        EARLIER_REASON_BYTES.into_iter().map(|longest| json(&kept(longest))).find(|json| json.len() <= limit);
    let newest = || {
        let kept = kept(0);
        (1..kept.len()).map(|oldest| json(&kept[oldest..])).find(|json| json.len() <= limit)
    };
    all_fit.or_else(newest).unwrap_or_default()
}

/// An attempt with its texts cut, the backtrace least.
fn shortened(attempt: &Attempt, longest: usize) -> Attempt {
    let cut = |text: &Option<String>, limit| text.as_deref().map(|text| detail::cut(text, limit));
    Attempt {
        reason: cut(&attempt.reason, longest / 2),
        backtrace: cut(&attempt.backtrace, longest),
        stderr: cut(&attempt.stderr, longest / 2),
        ..attempt.clone()
    }
}

/// An attempt with nothing but its reason, cut.
fn outline(attempt: &Attempt, longest: usize) -> Attempt {
    let reason = attempt.reason.as_deref().filter(|_| longest > 0).map(|text| detail::cut(text, longest));
    Attempt { reason, backtrace: None, stderr: None, ..attempt.clone() }
}

fn json(attempts: &[Attempt]) -> String {
    serde_json::to_string(attempts).unwrap_or_else(|_| "[]".into())
}

/// An event's headers as a block.
fn block(event: &Event) -> Vec<u8> {
    let mut block = b"NATS/1.0\r\n".to_vec();
    for (name, value) in &event.headers {
        for part in [&**name, ": ", &**value, "\r\n"] {
            block.extend_from_slice(part.as_bytes());
        }
    }
    block.extend_from_slice(b"\r\n");
    block
}

/// Reads a message of the dead-letter stream; `None` for one that is no dead letter.
pub(super) fn decode(route: &Route, message: &RawMessage) -> Option<StoredDeadLetter> {
    let block = wire::parse_block(&message.headers);
    let get = |name: &HeaderName| {
        let name: &str = name.as_ref();
        block.pairs.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    };
    let letter = DeadLetter {
        channel: ChannelName::parse(get(&CHANNEL)?).ok()?,
        digest: get(&DIGEST).unwrap_or_default().to_owned(),
        outcome: get(&OUTCOME).and_then(outcome)?,
        reason: get(&REASON).unwrap_or_default().to_owned(),
        attempts: get(&LETTER_ATTEMPTS).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default(),
    };
    let data_omitted = get(&DATA_OMITTED).is_some();
    let raw_bytes =
        get(&RAW_HEADERS).and_then(|bytes| bytes.parse().ok()).unwrap_or(0).min(message.data.len());
    let raw = wire::parse_block(&message.data[..raw_bytes]);
    let pairs = block.pairs.iter().chain(&raw.pairs).map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let stored = Stored {
        subject: ByteString::from(message.subject.as_str()),
        sequence: message.sequence,
        time: message.time,
        pairs,
        data: message.data.slice(raw_bytes..),
    };
    let Decoded { event, .. } = codec::decode(route, stored).ok()?;
    let id = format!("{}:{}", route.stream, message.sequence);
    Some(StoredDeadLetter {
        id,
        time: message.time,
        stream: route.stream.clone(),
        event,
        data_omitted,
        letter,
    })
}

fn outcome(text: &str) -> Option<Outcome> {
    Outcome::ALL.into_iter().find(|outcome| outcome.as_str() == text)
}

#[cfg(test)]
mod tests {
    use saf_event::{EventId, StreamName, Subject};

    use super::*;

    fn route() -> Route {
        Route::new(&StreamName::parse("events").expect("a name"), &crate::StreamConfig::default())
    }

    fn event(headers: &[(&str, &str)], data: &'static [u8]) -> Event {
        let mut all = Headers::new();
        for &(name, value) in headers {
            all.push_stored(name, value);
        }
        Event {
            sequence: 7,
            id: EventId::parse("1").expect("an id"),
            subject: Subject::parse("ride.accepted").expect("a subject"),
            time: 99,
            content_type: Some("text/plain".into()),
            headers: all,
            data: Bytes::from_static(data),
            lineage: None,
        }
    }

    fn attempt(number: u32, text: &str) -> Attempt {
        Attempt {
            number,
            outcome: Outcome::Trap,
            at: 1,
            micros: 2,
            fuel: 3,
            memory: 4,
            reason: Some(text.into()),
            backtrace: Some(text.into()),
            stderr: Some(text.into()),
        }
    }

    fn letter(reason: &str, attempts: Vec<Attempt>) -> DeadLetter {
        DeadLetter {
            channel: ChannelName::parse("printer").expect("a name"),
            digest: "ab".repeat(32),
            outcome: Outcome::Trap,
            reason: reason.into(),
            attempts,
        }
    }

    /// As the server would give it back.
    fn stored(out: &Outgoing) -> StoredDeadLetter {
        let mut headers = b"NATS/1.0\r\n".to_vec();
        for (name, value) in codec::pairs(Some(&out.head.map)) {
            headers.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        headers.extend_from_slice(b"\r\n");
        assert!(headers.len() <= HEADER_BYTES, "{} bytes of headers", headers.len());
        let message = RawMessage {
            subject: out.subject.clone(),
            sequence: 3,
            time: 100,
            headers,
            data: out.data.clone(),
        };
        decode(&route(), &message).expect("a dead letter")
    }

    #[test]
    fn a_dead_letter_is_read_as_it_was_written() {
        let (event, letter) =
            (event(&[("x-a", "1"), ("x-a", "2")], b"data"), letter("it trapped", vec![attempt(1, "why")]));
        let dead = stored(&encode(&route(), &event, &letter, 1 << 20));
        assert_eq!((dead.id.as_str(), dead.time, dead.data_omitted), ("events:3", 100, false));
        assert_eq!((dead.event, dead.letter), (event, letter));
    }

    #[test]
    fn details_are_cut_and_the_last_attempt_survives() {
        let long = "ö\n".repeat(4000);
        let letter = letter(&long, (1..=200).map(|number| attempt(number, &long)).collect());
        let out = encode(&route(), &event(&[], b""), &letter, 1 << 20);
        let details: usize =
            codec::pairs(Some(&out.head.map)).iter().map(|(n, v)| n.len() + v.len() + 4).sum();
        assert!(details <= DETAIL_BYTES, "{details}");
        let dead = stored(&out);
        assert_eq!(dead.letter.attempts.last().map(|attempt| attempt.number), Some(200));
        assert!(dead.letter.reason.starts_with("ö ö"), "{}", dead.letter.reason);
    }

    #[test]
    fn the_place_in_the_guest_outlives_what_every_panic_goes_through() {
        let runtime = "    0: 0x1 - std::process::abort\n        at /rustc/59807616/library/std/src/process.rs:2533:5\n";
        let backtrace = runtime.repeat(40) + "   40: 0x2 - perform\n        at src/mode.rs:67:27";
        let trapped =
            |number| Attempt { backtrace: Some(backtrace.clone()), ..attempt(number, "it panicked") };
        for attempts in [1, 3, 200] {
            let letter = letter("it panicked", (1..=attempts).map(trapped).collect());
            let dead = stored(&encode(&route(), &event(&[], b""), &letter, 1 << 20));
            let last = dead.letter.attempts.last().expect("the last attempt");
            let place = last.backtrace.as_deref().expect("a backtrace");
            assert!(place.contains("perform\n        at src/mode.rs:67:27"), "{attempts}: {place}");
            assert_eq!(last.stderr.as_deref(), Some("it panicked"), "{attempts}");
            assert!(dead.letter.attempts.len() >= 3.min(attempts as usize), "{attempts}");
        }
        let long = letter("r", vec![attempt(1, &"x".repeat(9_000))]);
        let dead = stored(&encode(&route(), &event(&[], b""), &long, 1 << 20));
        let shown = dead.letter.attempts[0].backtrace.as_deref().expect("a backtrace");
        assert!(shown.starts_with("xxx") && shown.ends_with(" bytes cut)"), "{shown}");
    }

    #[test]
    fn large_headers_travel_in_the_payload() {
        let (big, letter) = ("x".repeat(62 * 1024), letter("r", vec![]));
        let event = event(&[("x-big", &big)], b"data");
        let dead = stored(&encode(&route(), &event, &letter, 1 << 20));
        assert_eq!(dead.event, event);
    }

    #[test]
    fn a_payload_that_does_not_fit_is_left_behind() {
        let letter = letter("r", vec![]);
        let dead = stored(&encode(&route(), &event(&[], &[b'x'; 5000]), &letter, 5000));
        assert!(dead.data_omitted);
        assert!(dead.event.data.is_empty());
        assert_eq!(dead.event.sequence, 7);
    }

    #[test]
    fn a_malformed_message_is_kept_byte_for_byte() {
        let block = b"NATS/1.0\r\nA b: 1\r\nX-Tag: ok\r\n\r\n";
        let out = encode_raw(&route(), &event(&[], b"data"), block, &letter("r", vec![]), 1 << 20);
        assert_eq!(&out.data[..], [&block[..], b"data"].concat());
        let dead = stored(&out);
        assert_eq!(&dead.event.data[..], b"data");
        assert_eq!(dead.event.headers.get("x-tag").map(|v| &**v), Some("ok"));
    }
}

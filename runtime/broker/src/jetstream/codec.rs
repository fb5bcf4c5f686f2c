//! Events as messages, and messages as events: the headers of DESIGN "On the wire". A message that another program
//! published has none of them and gets an id and a place all the same; private headers count only on private subjects, so
//! that no peer can forge one.

use std::str::FromStr;

use async_nats::{HeaderMap, HeaderName, HeaderValue, header};
use bytes::Bytes;
use saf_event::{ByteString, Dedupe, Event, EventId, Headers, Lineage, NewEvent, Position, Subject};

use super::names::Route;

pub(super) const CONTENT_TYPE: HeaderName = HeaderName::from_static("Content-Type");
pub(super) const ID: HeaderName = HeaderName::from_static("Saf-Id");
pub(super) const PARENT: HeaderName = HeaderName::from_static("Saf-Parent");
pub(super) const ROOT: HeaderName = HeaderName::from_static("Saf-Root");
pub(super) const HOPS: HeaderName = HeaderName::from_static("Saf-Hops");
/// Of a re-addressed event: its own subject.
pub(super) const SUBJECT: HeaderName = HeaderName::from_static("Saf-Subject");
/// Of a retry that waited in the stream: the event's sequence, which stays the same on every attempt.
pub(super) const SEQUENCE: HeaderName = HeaderName::from_static("Saf-Sequence");
/// Of a retry that waited in the stream: when the event was stored, in milliseconds since the Unix epoch.
pub(super) const TIME: HeaderName = HeaderName::from_static("Saf-Time");
/// Of a retry that waited in the stream: failed attempts before it.
pub(super) const ATTEMPTS: HeaderName = HeaderName::from_static("Saf-Attempt");
/// Of a retry that waited in the stream: deliveries before it.
pub(super) const DELIVERIES: HeaderName = HeaderName::from_static("Saf-Deliveries");

/// Headers on their way out, and the bytes that they take on the wire.
#[derive(Default)]
pub(super) struct Head {
    pub(super) map: HeaderMap,
    pub(super) bytes: usize,
}

/// `NATS/1.0`, its line end, and the empty line at the end.
const FRAME_BYTES: usize = 12;
/// A colon, a space and a line end.
const PAIR_BYTES: usize = 4;

impl Head {
    pub(super) fn new() -> Self {
        Self { map: HeaderMap::new(), bytes: FRAME_BYTES }
    }

    /// Sets one of our own headers; what a header cannot carry becomes a space.
    pub(super) fn set(&mut self, name: HeaderName, text: impl Into<String>) {
        let value = value(text.into());
        self.bytes += AsRef::<str>::as_ref(&name).len() + value.as_str().len() + PAIR_BYTES;
        self.map.insert(name, value);
    }

    /// Adds a header of the event's; one with a name that NATS cannot carry is left out.
    fn append(&mut self, name: &str, text: &str) {
        let Ok(name) = HeaderName::from_str(name) else { return };
        let value = value(text.to_owned());
        self.bytes += AsRef::<str>::as_ref(&name).len() + value.as_str().len() + PAIR_BYTES;
        self.map.append(name, value);
    }

    fn describe(
        &mut self,
        id: &EventId,
        content_type: Option<&ByteString>,
        headers: &Headers,
        lineage: Option<&Lineage>,
    ) {
        self.set(ID, id.as_str());
        if let Some(content_type) = content_type {
            self.set(CONTENT_TYPE, &**content_type);
        }
        if let Some(lineage) = lineage {
            self.set(PARENT, lineage.parent.to_string());
            self.set(ROOT, lineage.root.to_string());
            self.set(HOPS, lineage.hops.to_string());
        }
        for (name, text) in headers {
            self.append(name, text);
        }
    }

    /// A new event's headers, with its dedupe key.
    pub(super) fn of_new(event: &NewEvent, key: String) -> Self {
        let mut head = Self::new();
        head.set(header::NATS_MESSAGE_ID, key);
        head.describe(&event.id, event.content_type.as_ref(), &event.headers, event.lineage.as_ref());
        head
    }

    /// A stored event's headers, with the dedupe key of whatever it becomes.
    pub(super) fn of_stored(event: &Event, key: String) -> Self {
        let mut head = Self::new();
        head.set(header::NATS_MESSAGE_ID, key);
        head.describe(&event.id, event.content_type.as_ref(), &event.headers, event.lineage.as_ref());
        head
    }
}

/// async-nats panics on CR and LF, which its own reader lets through in part.
fn value(mut text: String) -> HeaderValue {
    if text.contains(['\r', '\n']) {
        text = text.replace(['\r', '\n'], " ");
    }
    HeaderValue::from(text)
}

/// The dedupe key of what a client posts; emissions get theirs from their settlement.
pub(super) fn dedupe_key(event: &NewEvent) -> String {
    match &event.dedupe {
        Dedupe::SubjectAndId | Dedupe::Settlement => format!("{}/{}", event.subject, event.id),
        Dedupe::Source(source) => format!("{}/{source}/{}", event.subject, event.id),
    }
}

/// The key of an emission: the same on every attempt.
pub(super) fn emission_key(channel: &str, sequence: u64, index: usize) -> String {
    format!("e/{channel}/{sequence}/{index}")
}

/// A message as it was read, in whatever way.
pub(super) struct Stored<'a> {
    /// As it is on the server.
    pub(super) subject: ByteString,
    pub(super) sequence: u64,
    /// Milliseconds since the Unix epoch.
    pub(super) time: u64,
    pub(super) pairs: Vec<(&'a str, &'a str)>,
    pub(super) data: Bytes,
}

/// An event, and what a retry that waited in the stream brings along.
pub(super) struct Decoded {
    pub(super) event: Event,
    /// Failed attempts before this message.
    pub(super) attempts: u32,
    /// Deliveries before this message.
    pub(super) deliveries: u32,
}

/// The pairs of a message that async-nats read. Its map forgets the order of different names; by name is at least the same
/// order on every attempt.
pub(super) fn pairs(map: Option<&HeaderMap>) -> Vec<(&str, &str)> {
    let Some(map) = map else { return Vec::new() };
    let mut pairs = Vec::with_capacity(map.len());
    for (name, values) in map.iter() {
        pairs.extend(values.iter().map(|value| (AsRef::<str>::as_ref(name), value.as_str())));
    }
    pairs.sort_by_key(|&(name, _)| name);
    pairs
}

/// Reads a message; the error says why it can be no event.
pub(super) fn decode(route: &Route, stored: Stored<'_>) -> Result<Decoded, String> {
    let private = route.is_private(&stored.subject);
    let mut seen = Seen::default();
    let mut headers = Headers::new();
    for &(name, text) in &stored.pairs {
        if !seen.note(name, text) {
            headers.push_stored(name, text);
        }
    }
    let own = if private {
        seen.subject.map(ByteString::from)
    } else {
        stored.subject.strip_prefix(route.prefix.as_str()).map(|own| stored.subject.slice_ref(own))
    };
    let own = own.ok_or_else(|| format!("its subject {:?} is not one of the stream's", &*stored.subject))?;
    let subject = Subject::parse(own).map_err(|error| error.to_string())?;
    let sequence = seen.sequence.filter(|_| private).unwrap_or(stored.sequence);
    let id = [seen.id, seen.ce_id, seen.message_id].into_iter().flatten().find_map(EventId::parse);
    let id = id.or_else(|| EventId::parse(format!("{}:{sequence}", route.stream))).ok_or("it has no id")?;
    let event = Event {
        sequence,
        id,
        subject,
        time: seen.time.filter(|_| private).unwrap_or(stored.time),
        content_type: seen.content_type.map(ByteString::from),
        headers,
        data: stored.data,
        lineage: seen.lineage(),
    };
    let carried = |count: u32| if private { count } else { 0 };
    Ok(Decoded { event, attempts: carried(seen.attempts), deliveries: carried(seen.deliveries) })
}

/// The headers that mean something to the router.
#[derive(Default)]
struct Seen<'a> {
    id: Option<&'a str>,
    ce_id: Option<&'a str>,
    message_id: Option<&'a str>,
    content_type: Option<&'a str>,
    subject: Option<&'a str>,
    parent: Option<&'a str>,
    root: Option<&'a str>,
    hops: Option<&'a str>,
    sequence: Option<u64>,
    time: Option<u64>,
    attempts: u32,
    deliveries: u32,
}

impl<'a> Seen<'a> {
    /// Takes a header; `false` for one that is the event's own.
    fn note(&mut self, name: &str, text: &'a str) -> bool {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        if is("ce-id") {
            self.ce_id = Some(text);
            return false;
        }
        if is("Content-Type") {
            self.content_type = Some(text);
            return true;
        }
        let reserved =
            |prefix: &str| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        if !reserved("Saf-") && !reserved("Nats-") {
            return false;
        }
        // No lower-case copy of every name: these are on each event.
        if is("Saf-Id") {
            self.id = Some(text);
        } else if is("Nats-Msg-Id") {
            self.message_id = Some(text);
        } else if is("Saf-Parent") {
            self.parent = Some(text);
        } else if is("Saf-Root") {
            self.root = Some(text);
        } else if is("Saf-Hops") {
            self.hops = Some(text);
        } else if is("Saf-Subject") {
            self.subject = Some(text);
        } else if is("Saf-Sequence") {
            self.sequence = text.parse().ok();
        } else if is("Saf-Time") {
            self.time = text.parse().ok();
        } else if is("Saf-Attempt") {
            self.attempts = text.parse().unwrap_or(0);
        } else if is("Saf-Deliveries") {
            self.deliveries = text.parse().unwrap_or(0);
        }
        true
    }

    fn lineage(&self) -> Option<Lineage> {
        let parent = Position::parse(self.parent?)?;
        let root = self.root.and_then(Position::parse).unwrap_or_else(|| parent.clone());
        Some(Lineage { parent, root, hops: self.hops.and_then(|hops| hops.parse().ok()).unwrap_or(1) })
    }
}

#[cfg(test)]
mod tests {
    use saf_event::StreamName;

    use super::*;

    fn route() -> Route {
        let config = crate::StreamConfig { prefix: Some("ev".into()), ..Default::default() };
        Route::new(&StreamName::parse("events").expect("a name"), &config)
    }

    fn stored<'a>(subject: &str, pairs: &[(&'a str, &'a str)]) -> Stored<'a> {
        Stored {
            subject: subject.into(),
            sequence: 7,
            time: 99,
            pairs: pairs.to_vec(),
            data: Bytes::from_static(b"data"),
        }
    }

    fn decoded(subject: &str, pairs: &[(&str, &str)]) -> Decoded {
        decode(&route(), stored(subject, pairs)).unwrap_or_else(|error| panic!("{subject}: {error}"))
    }

    #[test]
    fn a_peers_message_gets_an_id_from_what_it_has() {
        for (pairs, id) in [
            (&[("Saf-Id", "a"), ("ce-id", "b"), ("Nats-Msg-Id", "c")][..], "a"),
            (&[("ce-id", "b"), ("Nats-Msg-Id", "c")], "b"),
            (&[("Nats-Msg-Id", "c")], "c"),
            (&[("Nats-Msg-Id", "")], "events:7"),
            (&[], "events:7"),
        ] {
            assert_eq!(decoded("ev.ride.accepted", pairs).event.id.as_str(), id, "{pairs:?}");
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let position = |text| Position::parse(text).expect("a position");
        let lineage = Lineage { parent: position("events:3"), root: position("events:1"), hops: 2 };
        let mut headers = Headers::new();
        headers.push("x-tag", "b").expect("valid");
        headers.push("x-tag", "a").expect("valid");
        let new = NewEvent {
            id: EventId::parse("1").expect("an id"),
            subject: Subject::parse("ride.accepted").expect("a subject"),
            content_type: Some("text/plain".into()),
            headers: headers.clone(),
            data: Bytes::from_static(b"data"),
            lineage: Some(lineage.clone()),
            dedupe: Dedupe::Source("orders".into()),
        };
        let head = Head::of_new(&new, dedupe_key(&new));
        let read = pairs(Some(&head.map));
        assert!(read.contains(&("Nats-Msg-Id", "ride.accepted/orders/1")));
        let event = decoded("ev.ride.accepted", &read).event;
        assert_eq!((event.id, event.subject, event.content_type), (new.id, new.subject, new.content_type));
        assert_eq!((event.headers, event.lineage), (headers, Some(lineage)));
        assert_eq!((event.sequence, event.time), (7, 99));
    }

    #[test]
    fn private_headers_count_on_private_subjects_only() {
        let forged =
            [("Saf-Subject", "other"), ("Saf-Sequence", "1"), ("Saf-Attempt", "4"), ("Saf-Time", "5")];
        let open = decoded("ev.own", &forged);
        assert_eq!(
            (open.event.subject.as_str(), open.event.sequence, open.event.time, open.attempts),
            ("own", 7, 99, 0)
        );
        let private = decoded("_saf.events.to.printer", &forged);
        assert_eq!(
            (private.event.subject.as_str(), private.event.sequence, private.event.time, private.attempts),
            ("other", 1, 5, 4)
        );
        assert!(private.event.headers.is_empty());
    }

    #[test]
    fn what_cannot_be_an_event_says_why() {
        for subject in ["ev.$JS", "elsewhere.a", "_saf.events.to.printer", "ev.a..b"] {
            assert!(decode(&route(), stored(subject, &[])).is_err(), "{subject}");
        }
    }

    #[test]
    fn a_line_break_cannot_reach_the_wire() {
        let mut head = Head::new();
        head.set(ID, "a\r\nNats-Rollup: all");
        assert_eq!(pairs(Some(&head.map)), [("Saf-Id", "a  Nats-Rollup: all")]);
    }
}

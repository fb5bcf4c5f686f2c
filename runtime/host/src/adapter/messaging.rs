//! `wasmcloud:messaging/handler` 0.2: an event is a message, what the guest publishes are emissions, and `Err` asks for another attempt.
//!
//! `consumer.publish` only writes down: the emissions exist when `handle-message` returned Ok, so a guest that traps after publishing has
//! published nothing, and one that is called again publishes once. `consumer.request` is refused: it would wait, inside of an attempt,
//! for somebody whose answer no store holds. A message has no room for a trace context or an id: the router adds both to emissions.
//!
//! `reply-to` is the event's `reply-to` header, as whoever posted it wrote it, and never the delivery's own NATS reply subject: a guest
//! that may publish to `$JS.ACK…` could settle its event from inside the sandbox. Subjects of the broker and inboxes are refused both ways.

use saf_event::{Event, Subject};
use wasmtime::Store;
use wasmtime::component::{HasData, Linker};

use crate::adapter::Reply;
use crate::config::Limits;
use crate::verdict::Emission;
use crate::world::{Stop, World};

mod bindings {
    #![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
    wasmtime::component::bindgen!({
        inline: "
            package wasmcloud:messaging@0.2.0;
            interface types {
                record broker-message { subject: string, body: list<u8>, reply-to: option<string> }
            }
            interface handler {
                use types.{broker-message};
                handle-message: func(msg: broker-message) -> result<_, string>;
            }
            interface consumer {
                use types.{broker-message};
                request: func(subject: string, body: list<u8>, timeout-ms: u32) -> result<broker-message, string>;
                publish: func(msg: broker-message) -> result<_, string>;
            }
            world messaging { import consumer; export handler; }
        ",
        world: "messaging",
        imports: { default: trappable },
        exports: { default: async },
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

pub(crate) use bindings::{Messaging, MessagingPre};

use bindings::wasmcloud::messaging::consumer as wit;
use bindings::wasmcloud::messaging::types::{BrokerMessageParam, BrokerMessageResult};

/// Where a message says that an answer is wanted; on events and on emissions.
const REPLY_TO: &str = "reply-to";

/// What a guest published in its current call.
#[derive(Default)]
pub(crate) struct Outbox {
    emissions: Vec<Emission>,
    bytes: usize,
    max_emissions: usize,
    max_bytes: usize,
}

impl Outbox {
    pub(crate) fn new(limits: &Limits) -> Self {
        let (max_emissions, max_bytes) = (limits.emissions as usize, limits.output.bytes());
        Self { emissions: Vec::new(), bytes: 0, max_emissions, max_bytes }
    }

    /// Forgets what an earlier call published.
    pub(crate) fn clear(&mut self) {
        self.emissions.clear();
        self.bytes = 0;
    }

    fn take(&mut self) -> Vec<Emission> {
        self.bytes = 0;
        std::mem::take(&mut self.emissions)
    }

    /// The inner error is the guest's to handle; the outer one stops it, so that what it must not ignore is not lost quietly.
    fn publish(&mut self, message: BrokerMessageResult) -> Result<Result<(), String>, Stop> {
        let BrokerMessageResult { subject, body, reply_to } = message;
        let reply_to =
            match address("subject", subject.clone()).and_then(|()| reply_to.map(reply_header).transpose()) {
                Ok(reply_to) => reply_to,
                Err(problem) => return Ok(Err(problem)),
            };
        let emission = Emission {
            subject,
            data: body.into(),
            content_type: None,
            headers: reply_to.into_iter().collect(),
            id: None,
        };
        self.bytes = self.bytes.saturating_add(emission.size());
        if self.emissions.len() >= self.max_emissions || self.bytes > self.max_bytes {
            return Err(Stop::Output);
        }
        self.emissions.push(emission);
        Ok(Ok(()))
    }
}

fn reply_header(reply_to: String) -> Result<(String, String), String> {
    address(REPLY_TO, reply_to.clone()).map(|()| (REPLY_TO.to_owned(), reply_to))
}

/// Whether a guest may name a subject at all; which of these it may emit to, its Channel's `emit.subjects` say.
fn address(what: &str, subject: String) -> Result<(), String> {
    let subject = Subject::parse(subject).map_err(|error| format!("{what}: {error}"))?;
    if is_inbox(&subject) {
        return Err(format!("{what}: {subject} is an inbox, and nothing may be sent to one from here"));
    }
    Ok(())
}

fn is_inbox(subject: &Subject) -> bool {
    let first = subject.as_str().split('.').next().unwrap_or_default();
    first.eq_ignore_ascii_case("_inbox") || first.starts_with("_R_")
}

/// The event's own wish for an answer, when it is one that a guest may have.
fn reply_to(event: &Event) -> Option<&str> {
    let wish = event.headers.get(REPLY_TO)?;
    let subject = Subject::parse(wish.clone()).ok()?;
    (!is_inbox(&subject)).then_some(&**wish)
}

impl wit::Host for &mut Outbox {
    fn request(
        &mut self,
        subject: String,
        _: Vec<u8>,
        _: u32,
    ) -> wasmtime::Result<Result<BrokerMessageResult, String>> {
        Ok(Err(format!(
            "request to {subject}: a Channel of saf cannot wait for an answer; publish, and subscribe a Channel to the answers"
        )))
    }

    fn publish(&mut self, message: BrokerMessageResult) -> wasmtime::Result<Result<(), String>> {
        Ok(Outbox::publish(self, message)?)
    }
}

struct Consumer;

impl HasData for Consumer {
    type Data<'a> = &'a mut Outbox;
}

/// Adds `wasmcloud:messaging/consumer`.
pub(crate) fn add_to_linker<T: 'static>(
    linker: &mut Linker<T>,
    outbox: fn(&mut T) -> &mut Outbox,
) -> wasmtime::Result<()> {
    wit::add_to_linker::<T, Consumer>(linker, outbox)
}

/// Hands the guest an event.
pub(crate) async fn call(
    guest: &Messaging,
    store: &mut Store<World>,
    event: &Event,
) -> wasmtime::Result<Reply> {
    store.data_mut().outbox.clear();
    let message =
        BrokerMessageParam { subject: event.subject.as_str(), body: &event.data, reply_to: reply_to(event) };
    match guest.wasmcloud_messaging_handler().call_handle_message(&mut *store, message).await? {
        Ok(()) => Ok(Reply::Done(store.data_mut().outbox.take())),
        Err(reason) => Ok(Reply::Retry { reason, after: None }),
    }
}

#[cfg(test)]
mod tests {
    use saf_event::{EventId, Headers};

    use super::*;

    fn message(subject: &str, body: &str, reply_to: Option<&str>) -> BrokerMessageResult {
        BrokerMessageResult { subject: subject.into(), body: body.into(), reply_to: reply_to.map(Into::into) }
    }

    #[test]
    fn what_is_published_becomes_emissions_in_order() {
        let mut outbox = Outbox::new(&Limits::default());
        assert_eq!(outbox.publish(message("a.b", "1", None)), Ok(Ok(())));
        assert_eq!(outbox.publish(message("c", "2", Some("answers.c"))), Ok(Ok(())));
        let emissions = outbox.take();
        let subjects: Vec<_> = emissions.iter().map(|emission| &*emission.subject).collect();
        assert_eq!(subjects, ["a.b", "c"]);
        assert_eq!(emissions[1].headers, [("reply-to".to_owned(), "answers.c".to_owned())]);
        assert_eq!(outbox.take(), []);
    }

    #[test]
    fn the_brokers_own_subjects_and_inboxes_are_refused_both_ways() {
        let mut outbox = Outbox::new(&Limits::default());
        for subject in [
            "$JS.ACK.events.printer.1.1.1.1.0",
            "$JS.API.STREAM.DELETE.events",
            "$SYS.REQ.SERVER.PING",
            "_INBOX.abc.1",
            "_inbox.abc",
            "_R_.abc",
            "a.*",
            ">",
            "a b",
            "",
        ] {
            for published in [message(subject, "+TERM", None), message("a", "", Some(subject))] {
                assert!(matches!(outbox.publish(published), Ok(Err(_))), "{subject:?}");
            }
        }
        assert_eq!(outbox.take(), []);
    }

    #[test]
    fn a_guest_that_publishes_too_much_is_stopped() {
        let limits = Limits { emissions: 2, output: saf_event::Size(10), ..Limits::default() };
        let mut outbox = Outbox::new(&limits);
        assert_eq!(outbox.publish(message("a", "", None)), Ok(Ok(())));
        assert_eq!(outbox.publish(message("a", "", None)), Ok(Ok(())));
        assert_eq!(outbox.publish(message("a", "", None)), Err(Stop::Output));
        outbox.clear();
        assert_eq!(outbox.publish(message("a", "0123456789", None)), Err(Stop::Output));
    }

    #[test]
    fn reply_to_is_what_the_event_says_and_nothing_of_the_brokers() {
        for (header, expected) in [
            (None, None),
            (Some("answers.1"), Some("answers.1")),
            (Some("$JS.ACK.events.c.1.1.1.1.0"), None),
            (Some("_INBOX.x.1"), None),
            (Some("not a subject"), None),
        ] {
            let mut headers = Headers::new();
            if let Some(header) = header {
                headers.push("Reply-To", header).expect("a header");
            }
            let event = Event {
                sequence: 1,
                id: EventId::generate(),
                subject: Subject::parse("a").expect("a subject"),
                time: 0,
                content_type: None,
                headers,
                data: bytes::Bytes::new(),
                lineage: None,
            };
            assert_eq!(reply_to(&event), expected, "{header:?}");
        }
    }
}

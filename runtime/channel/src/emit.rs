//! From what a guest returned to what is stored: checks the allow-list, subjects, headers and sizes, and adds what only the
//! router may say: lineage, trace context, derived ids. A guest's mistake here fails its attempt; nothing is stored of it.

use std::fmt::Write as _;

use arrayvec::ArrayString;
use bytes::Bytes;
use saf_broker::Profile;
use saf_event::{
    ByteString, ChannelName, Dedupe, Event, EventId, Headers, Lineage, NewEvent, Position, Subject,
    TRACEPARENT, TraceContext,
};
use saf_host::Emission;

use crate::Config;

/// Longest derived id, in bytes: two names of 32, two numbers of 20, three colons.
const MAX_DERIVED_ID_BYTES: usize = 107;

/// Why emissions are not acceptable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The attempt failed; another might do better.
    Output(String),
    /// The chain of emissions is too long: a loop, which no retry can mend.
    Loop(String),
}

/// Whether a Channel's emissions are fit to be stored, and otherwise what is wrong with which. The same check comes before every settlement;
/// only the broker's limits on their size and number, and on hops, are not known here. Without a Channel every subject is allowed.
pub fn check_emissions(
    emissions: &[Emission],
    channel: Option<(&ChannelName, &Config)>,
) -> Result<(), String> {
    let check = |(n, emission): (usize, &Emission)| match Fit::of(emission.clone(), channel) {
        Ok(_) => Ok(()),
        Err(why) => Err(format!("emission {n}: {why}")),
    };
    emissions.iter().enumerate().try_for_each(check)
}

/// An emission in the words of an event.
struct Fit {
    subject: Subject,
    content_type: Option<ByteString>,
    headers: Headers,
    id: Option<EventId>,
    data: Bytes,
}

impl Fit {
    fn of(emission: Emission, channel: Option<(&ChannelName, &Config)>) -> Result<Self, String> {
        let Emission { subject, data, content_type, headers: given, id } = emission;
        let subject = Subject::parse(subject).map_err(|error| error.to_string())?;
        if let Some((name, config)) = channel
            && !config.may_emit(subject.as_str())
        {
            return Err(format!("{subject} is not allowed; add it to emit.subjects of {name} to allow it"));
        }
        let mut headers = Headers::new();
        for (name, value) in given {
            headers.push(name, value).map_err(|error| error.to_string())?;
        }
        let content_type = content_type.map(ByteString::from);
        if let Some(text) = &content_type
            && (text.is_empty() || text.len() > saf_event::MAX_ID_BYTES || text.chars().any(char::is_control))
        {
            return Err(format!("{text:?} is not a content type"));
        }
        let odd = || format!("an id has 1 to {} bytes and no control characters", saf_event::MAX_ID_BYTES);
        let id = id.map(|id| EventId::parse(id).ok_or_else(odd)).transpose()?;
        Ok(Self { subject, content_type, headers, id, data })
    }
}

/// The place of what is emitted where no span is recorded: somebody else's trace keeps its last span.
fn unrecorded(parent: &Event) -> TraceContext {
    let trace = parent.headers.get(TRACEPARENT).and_then(|header| TraceContext::parse(header));
    trace.unwrap_or_else(TraceContext::root)
}

/// What stays the same for every event of a Channel.
pub(crate) struct Emitter {
    pub(crate) channel: ChannelName,
    pub(crate) profile: Profile,
}

impl Emitter {
    /// The events to store for `parent`, all or none; `recorded` is the span that stores them.
    pub(crate) fn events(
        &self,
        config: &Config,
        parent: &Event,
        emissions: Vec<Emission>,
        recorded: Option<TraceContext>,
    ) -> Result<Vec<NewEvent>, Refused> {
        if emissions.is_empty() {
            return Ok(Vec::new());
        }
        if emissions.len() > self.profile.max_emissions {
            let (count, limit) = (emissions.len(), self.profile.max_emissions);
            return Err(Refused::Output(format!(
                "{count} emissions are more than the {limit} that the broker stores together"
            )));
        }
        let lineage = self.lineage(config, parent)?;
        let trace = recorded.unwrap_or_else(|| unrecorded(parent));
        let new_event = |(n, emission)| self.event(config, parent, &lineage, trace, n, emission);
        emissions.into_iter().enumerate().map(new_event).collect::<Result<_, _>>().map_err(Refused::Output)
    }

    fn lineage(&self, config: &Config, parent: &Event) -> Result<Lineage, Refused> {
        let here = Position { stream: config.stream.clone(), sequence: parent.sequence };
        let hops = parent.lineage.as_ref().map_or(0, |lineage| lineage.hops).saturating_add(1);
        if hops > config.max_hops {
            let (limit, channel) = (config.max_hops, &self.channel);
            return Err(Refused::Loop(format!(
                "this emission would be {hops} hops from the event that caused it, and {channel} allows {limit}: look for a loop \
                 with `saf-runtime check`, or raise max_hops"
            )));
        }
        let root = parent.lineage.as_ref().map_or_else(|| here.clone(), |lineage| lineage.root.clone());
        Ok(Lineage { parent: here, root, hops })
    }

    fn event(
        &self,
        config: &Config,
        parent: &Event,
        lineage: &Lineage,
        trace: TraceContext,
        n: usize,
        emission: Emission,
    ) -> Result<NewEvent, String> {
        let Fit { subject, content_type, mut headers, id, data } =
            Fit::of(emission, Some((&self.channel, config))).map_err(|why| format!("emission {n}: {why}"))?;
        headers.set(TRACEPARENT, trace.header());
        let id = id.unwrap_or_else(|| self.derived_id(config, parent, n));
        let event = NewEvent {
            id,
            subject,
            content_type,
            headers,
            data,
            lineage: Some(lineage.clone()),
            dedupe: Dedupe::Settlement,
        };
        let (size, limit) = (event.size(), self.profile.max_event_bytes);
        if size > limit {
            return Err(format!("emission {n}: {size} bytes are more than the broker's limit of {limit}"));
        }
        Ok(event)
    }

    /// The same for every attempt, so that readers can tell repetitions too.
    fn derived_id(&self, config: &Config, parent: &Event, n: usize) -> EventId {
        let mut text = ArrayString::<MAX_DERIVED_ID_BYTES>::new();
        // Two names, two numbers and three colons: it fits.
        let _ = write!(text, "{}:{}:{}:{n}", config.stream, parent.sequence, self.channel);
        EventId::parse(&*text).unwrap_or_else(EventId::generate)
    }
}

#[cfg(test)]
mod tests {
    use saf_broker::Durability;
    use saf_event::{Filter, StreamName};

    use super::*;

    fn emitter() -> Emitter {
        let profile = Profile {
            kind: "embedded",
            durability: Durability::Synced,
            max_event_bytes: 1_000,
            max_emissions: 3,
        };
        Emitter { channel: ChannelName::parse("upper").expect("valid"), profile }
    }

    fn config() -> Config {
        let mut config = Config::default();
        config.emit.subjects = vec![Filter::parse("out.*").expect("valid")];
        config.max_hops = 2;
        config
    }

    fn parent(hops: u16) -> Event {
        let stream = StreamName::parse("events").expect("valid");
        let at = |sequence| Position { stream: stream.clone(), sequence };
        let mut headers = Headers::new();
        headers
            .push("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
            .expect("valid");
        Event {
            sequence: 7,
            id: EventId::parse("1").expect("valid"),
            subject: Subject::parse("hello").expect("valid"),
            time: 0,
            content_type: None,
            headers,
            data: bytes::Bytes::new(),
            lineage: (hops > 0).then(|| Lineage { parent: at(6), root: at(3), hops }),
        }
    }

    fn emission(subject: &str) -> Emission {
        Emission {
            subject: subject.into(),
            data: "data".into(),
            content_type: None,
            headers: vec![],
            id: None,
        }
    }

    #[test]
    fn an_emission_gets_lineage_trace_and_a_stable_id() {
        let events = emitter()
            .events(&config(), &parent(0), vec![emission("out.a"), emission("out.b")], None)
            .expect("allowed");
        assert_eq!(events[1].id.as_str(), "events:7:upper:1");
        let lineage = events[0].lineage.as_ref().expect("set");
        assert_eq!((lineage.parent.sequence, lineage.root.sequence, lineage.hops), (7, 7, 1));
        let trace = TraceContext::parse(events[0].headers.get("traceparent").expect("set")).expect("valid");
        assert_eq!(trace.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let deeper = emitter().events(&config(), &parent(1), vec![emission("out.a")], None).expect("allowed");
        let lineage = deeper[0].lineage.as_ref().expect("set");
        assert_eq!((lineage.parent.sequence, lineage.root.sequence, lineage.hops), (7, 3, 2));
    }

    #[test]
    fn what_a_guest_may_not_emit_fails_the_attempt_with_the_reason() {
        let refused = |emission: Emission| match emitter().events(&config(), &parent(0), vec![emission], None)
        {
            Err(Refused::Output(reason)) => reason,
            other => panic!("{other:?}"),
        };
        assert!(refused(emission("forbidden")).contains("add it to emit.subjects of upper"));
        assert!(refused(emission("out..x")).contains("empty token"));
        assert!(refused(emission("$JS.API.X")).contains("belong to the broker"));
        assert!(
            refused(Emission { data: vec![0; 2_000].into(), ..emission("out.a") }).contains("limit of 1000")
        );
        assert!(refused(Emission { id: Some("a\nb".into()), ..emission("out.a") }).contains("an id has"));
        let header = ("Nats-Msg-Id".to_owned(), "1".to_owned());
        assert!(refused(Emission { headers: vec![header], ..emission("out.a") }).contains("reserved"));
        let many = vec![emission("out.a"); 4];
        assert!(matches!(emitter().events(&config(), &parent(0), many, None), Err(Refused::Output(_))));
    }

    #[test]
    fn emissions_are_checked_without_a_broker_too() {
        let (name, config) = (ChannelName::parse("upper").expect("valid"), config());
        let channel = Some((&name, &config));
        assert_eq!(check_emissions(&[emission("out.a")], channel), Ok(()));
        assert_eq!(
            check_emissions(&[emission("else")], None),
            Ok(()),
            "without a Channel everything is allowed"
        );
        let reserved = Emission { headers: vec![("Nats-X".to_owned(), String::new())], ..emission("out.a") };
        for (unfit, part) in [
            (emission("else"), "emission 1: else is not allowed; add it to emit.subjects of upper"),
            (emission("out..a"), "emission 1: "),
            (reserved, "reserved"),
            (Emission { content_type: Some("a\n".to_owned()), ..emission("out.a") }, "content type"),
            (Emission { id: Some(String::new()), ..emission("out.a") }, "an id has"),
        ] {
            let why = check_emissions(&[emission("out.a"), unfit], channel).expect_err("refused");
            assert!(why.contains(part), "{why}");
        }
    }

    #[test]
    fn a_chain_past_the_hop_limit_is_a_loop() {
        let refused = emitter().events(&config(), &parent(2), vec![emission("out.a")], None);
        assert!(matches!(refused, Err(Refused::Loop(reason)) if reason.contains("look for a loop")));
        assert_eq!(emitter().events(&config(), &parent(2), vec![], None), Ok(vec![]));
    }
}

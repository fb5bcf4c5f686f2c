//! `[channels.<name>]`: what a Channel subscribes to, how often it tries, what its guest may use.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use saf_broker::{Order, Start};
use saf_event::{Filter, Span, StreamName};
use saf_host::{Grants, Limits, Recycle};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[channels.<name>]`; every key but `component` and `subjects` may stand in `[defaults.channel]` too.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The component's file, relative to the configuration's folder.
    pub component: PathBuf,
    /// The stream it reads, and emits into.
    pub stream: StreamName,
    /// What it subscribes to; the filters may not overlap.
    pub subjects: Vec<Filter>,
    /// Where it begins: `"all"`, `"new"`, an RFC 3339 time or a sequence. Read when its consumer is created, only then.
    pub start: From,
    /// Most events at once in this process, an instance each.
    pub concurrency: usize,
    /// `"none"`, or `"all"`: one event at a time, in order, over every replica.
    pub order: Order,
    /// An event that failed so often becomes a dead letter.
    pub max_attempts: u32,
    /// The wait before the second, third, … attempt; the last one repeats. Each is jittered by up to a quarter.
    pub backoff: Vec<Span>,
    /// How long the broker waits for a sign of life before it hands an event to another replica.
    pub ack_wait: Span,
    /// Most events out at once over every replica, those that wait for a retry included.
    pub max_ack_pending: usize,
    /// embedded: retention by size and count stops at this Channel's oldest unsettled event, and a full stream answers 507; `true`
    /// when absent. jetstream: has no effect and warns when `true`; the stream's limits remove the oldest events whether they
    /// were handled or not (`discard = "old"`) or refuse new ones (`"new"`), and what was removed unhandled degrades `/readyz`.
    pub retain: Option<bool>,
    /// Longest chain of emissions that this Channel adds to; a longer one is a loop and becomes a dead letter.
    pub max_hops: u16,
    /// What one event may use.
    pub limits: Limits,
    /// How long an instance is reused.
    pub instances: Recycle,
    /// What it may emit.
    pub emit: Emit,
    /// What it may reach outside itself.
    pub grants: Grants,
    /// Goes to the guest's `init` as JSON.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub config: serde_json::Value,
}

/// `[channels.<name>.emit]`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Emit {
    /// Subjects that the guest may emit to; none when absent.
    pub subjects: Vec<Filter>,
}

impl Default for Config {
    fn default() -> Self {
        let millis = |n| Span(Duration::from_millis(n));
        #[expect(clippy::expect_used, reason = "a constant; the test `the_defaults_are_valid` makes it")]
        let stream = StreamName::parse("events").expect("a valid name");
        Self {
            component: PathBuf::new(),
            stream,
            subjects: Vec::new(),
            start: From::default(),
            concurrency: 4,
            order: Order::None,
            max_attempts: 5,
            backoff: vec![millis(100), millis(1_000), millis(10_000)],
            ack_wait: millis(30_000),
            max_ack_pending: 1_000,
            retain: None,
            max_hops: 16,
            limits: Limits::default(),
            instances: Recycle::default(),
            emit: Emit::default(),
            grants: Grants::default(),
            config: serde_json::Value::Object(serde_json::Map::new()),
        }
    }
}

/// Why a Channel's section cannot be used; each message says what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No component.
    #[error("`component` is missing: name the .wasm file of the Channel")]
    Component,
    /// No subjects.
    #[error("`subjects` is empty: name at least one, such as \"hello\" or \"ride.>\"")]
    Subjects,
    /// One event would match twice.
    #[error("subjects {0:?} and {1:?} overlap: a Channel gets each event once, so drop one of them")]
    Overlap(String, String),
    /// A number that has to be at least 1.
    #[error("`{0}` is 0: it must be at least 1")]
    Zero(&'static str),
    /// The guest could outlive its ack wait.
    #[error(
        "`limits.timeout` ({timeout}) is longer than half of `ack_wait` ({ack_wait}): raise ack_wait or lower the time-out"
    )]
    Timeout {
        /// `limits.timeout`.
        timeout: Span,
        /// `ack_wait`.
        ack_wait: Span,
    },
    /// A repeated settlement might not be recognised.
    #[error(
        "the stream's duplicate_window ({window}) is shorter than backoff and ack_wait together ({needed}): a retried event \
         could be emitted twice; raise duplicate_window or shorten `backoff`"
    )]
    Window {
        /// The stream's window.
        window: Span,
        /// What the Channel needs.
        needed: Span,
    },
}

impl Config {
    /// What one section can say wrong by itself.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.component.as_os_str().is_empty() {
            return Err(ConfigError::Component);
        }
        if self.subjects.is_empty() {
            return Err(ConfigError::Subjects);
        }
        for (i, a) in self.subjects.iter().enumerate() {
            if let Some(b) = self.subjects[..i].iter().find(|b| a.overlaps(b)) {
                return Err(ConfigError::Overlap(b.to_string(), a.to_string()));
            }
        }
        let counts = [
            ("concurrency", self.concurrency),
            ("max_attempts", self.max_attempts as usize),
            ("max_ack_pending", self.max_ack_pending),
            ("max_hops", usize::from(self.max_hops)),
        ];
        if let Some((name, _)) = counts.iter().find(|(_, n)| *n == 0) {
            return Err(ConfigError::Zero(name));
        }
        if self.limits.timeout.0.is_zero() {
            return Err(ConfigError::Zero("limits.timeout"));
        }
        if self.limits.timeout.0 * 2 > self.ack_wait.0 {
            return Err(ConfigError::Timeout { timeout: self.limits.timeout, ack_wait: self.ack_wait });
        }
        Ok(())
    }

    /// What it can say wrong together with its stream.
    pub fn check_window(&self, window: Span) -> Result<(), ConfigError> {
        let retries = (1..self.max_attempts).map(|attempt| self.backoff(attempt)).sum::<Duration>();
        let needed = Span(retries + self.ack_wait.0);
        if window < needed { Err(ConfigError::Window { window, needed }) } else { Ok(()) }
    }

    /// The wait after the given failed attempt (1 for the first), before jitter.
    pub fn backoff(&self, attempt: u32) -> Duration {
        let step = (attempt.max(1) as usize - 1).min(self.backoff.len().saturating_sub(1));
        self.backoff.get(step).map_or(Duration::ZERO, |span| span.0)
    }

    /// Whether the guest may emit to a subject.
    pub fn may_emit(&self, subject: &str) -> bool {
        self.emit.subjects.iter().any(|filter| filter.matches(subject))
    }
}

/// `start`: where a new consumer begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct From(pub Start);

impl fmt::Display for From {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Start::All => f.write_str("all"),
            Start::New => f.write_str("new"),
            Start::Time(ms) => {
                humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms)).fmt(f)
            }
            Start::Sequence(sequence) => sequence.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for From {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = From;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"all\", \"new\", a time such as \"2026-01-31T12:00:00Z\", or a sequence")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<From, E> {
                match text {
                    "all" => Ok(From(Start::All)),
                    "new" => Ok(From(Start::New)),
                    time => humantime::parse_rfc3339_weak(time)
                        .map(|time| From(Start::Time(millis(time))))
                        .map_err(|_| E::invalid_value(serde::de::Unexpected::Str(time), &self)),
                }
            }

            fn visit_i64<E: serde::de::Error>(self, sequence: i64) -> Result<From, E> {
                u64::try_from(sequence).map(|sequence| From(Start::Sequence(sequence))).map_err(E::custom)
            }

            fn visit_u64<E: serde::de::Error>(self, sequence: u64) -> Result<From, E> {
                Ok(From(Start::Sequence(sequence)))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

fn millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

impl Serialize for From {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Start::Sequence(sequence) => serializer.serialize_u64(sequence),
            Start::All | Start::New | Start::Time(_) => serializer.collect_str(self),
        }
    }
}

impl JsonSchema for From {
    fn schema_name() -> Cow<'static, str> {
        "Start".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "oneOf": [
                { "enum": ["all", "new"] },
                { "type": "string", "format": "date-time" },
                { "type": "integer", "minimum": 0, "description": "A sequence." }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid() -> Config {
        let filter = |text: &str| Filter::parse(text).expect("valid");
        Config {
            component: "echo.wasm".into(),
            subjects: vec![filter("hello"), filter("ride.>")],
            ..Config::default()
        }
    }

    #[test]
    fn the_defaults_are_valid_and_fit_the_default_window() {
        assert_eq!(valid().check(), Ok(()));
        assert_eq!(valid().check_window(saf_broker::StreamConfig::default().duplicate_window), Ok(()));
    }

    #[test]
    fn what_a_section_can_say_wrong_is_named() {
        let with = |change: fn(&mut Config)| {
            let mut config = valid();
            change(&mut config);
            config.check()
        };
        assert_eq!(with(|c| c.component = PathBuf::new()), Err(ConfigError::Component));
        assert_eq!(with(|c| c.subjects.clear()), Err(ConfigError::Subjects));
        assert_eq!(with(|c| c.concurrency = 0), Err(ConfigError::Zero("concurrency")));
        assert_eq!(with(|c| c.max_attempts = 0), Err(ConfigError::Zero("max_attempts")));
        let overlap = with(|c| c.subjects.push(Filter::parse("ride.accepted").expect("valid")));
        assert_eq!(overlap, Err(ConfigError::Overlap("ride.>".into(), "ride.accepted".into())));
        let timeout = with(|c| c.limits.timeout = Span(Duration::from_secs(16)));
        assert!(matches!(timeout, Err(ConfigError::Timeout { .. })));
        assert!(matches!(
            valid().check_window(Span(Duration::from_secs(31))),
            Err(ConfigError::Window { .. })
        ));
    }

    #[test]
    fn backoff_climbs_its_steps_and_stays_on_the_last() {
        let waits: Vec<_> = (1..=5).map(|attempt| valid().backoff(attempt).as_millis()).collect();
        assert_eq!(waits, [100, 1_000, 10_000, 10_000, 10_000]);
        assert_eq!(Config { backoff: vec![], ..valid() }.backoff(3), Duration::ZERO);
    }

    #[test]
    fn start_reads_words_times_and_sequences() {
        let cases = [
            (r#""all""#, Start::All),
            (r#""new""#, Start::New),
            ("12", Start::Sequence(12)),
            (r#""1970-01-01T00:00:01.5Z""#, Start::Time(1_500)),
        ];
        for (text, start) in cases {
            assert_eq!(serde_json::from_str::<From>(text).expect("valid").0, start);
        }
        let error = serde_json::from_str::<From>(r#""yesterday""#).expect_err("not a start").to_string();
        assert!(error.contains("\"all\", \"new\""), "{error}");
    }
}

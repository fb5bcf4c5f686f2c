//! For the benchmarks alone (feature `native`, in no build that is shipped): a Channel whose `config` says `native = "echo"`
//! gets its answers from a Rust function instead of its guest. Everything around the call stays: pool, lease, verdict, usage. So
//! what is left between the two is what the sandbox costs.

use std::time::Instant;

use saf_event::Event;

use crate::verdict::{Call, Emission, Usage, Verdict};

/// The guests of the same names do the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Native {
    Sink,
    Echo,
    Enrich,
}

impl Native {
    /// What a Channel's `config` asks for.
    pub(crate) fn of(config_json: &str) -> Option<Self> {
        let config: serde_json::Value = serde_json::from_str(config_json).ok()?;
        match config.get("native")?.as_str()? {
            "sink" => Some(Self::Sink),
            "echo" => Some(Self::Echo),
            "enrich" => Some(Self::Enrich),
            _ => None,
        }
    }

    pub(crate) fn call(self, event: &Event) -> Call {
        let began = Instant::now();
        let verdict = self.handle(event);
        let micros = began.elapsed().as_micros() as u64;
        Call { verdict, state: Vec::new(), usage: Usage { fuel: 0, micros, peak_memory: 0, host_calls: 0 } }
    }

    fn handle(self, event: &Event) -> Verdict {
        match self {
            Self::Sink => Verdict::Done(Vec::new()),
            Self::Echo => Verdict::Done(vec![Emission {
                subject: format!("echo.{}", event.subject),
                data: event.data.clone(),
                content_type: event.content_type.as_ref().map(ToString::to_string),
                headers: Vec::new(),
                id: None,
            }]),
            Self::Enrich => match enrich(&event.data) {
                Ok(data) => Verdict::Done(vec![Emission {
                    subject: format!("enriched.{}", event.subject),
                    data: data.into(),
                    content_type: Some("application/json".to_owned()),
                    headers: Vec::new(),
                    id: None,
                }]),
                Err(error) => Verdict::Reject { reason: format!("not a JSON object: {error}") },
            },
        }
    }
}

fn enrich(data: &[u8]) -> serde_json::Result<Vec<u8>> {
    let mut object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(data)?;
    object.insert("enriched".to_owned(), serde_json::Value::Bool(true));
    serde_json::to_vec(&object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_config_that_says_so_is_native() {
        let cases = [
            (r#"{"native":"sink"}"#, Some(Native::Sink)),
            (r#"{"native":"echo"}"#, Some(Native::Echo)),
            (r#"{"native":"enrich"}"#, Some(Native::Enrich)),
            (r#"{"native":"other"}"#, None),
            ("{}", None),
            ("", None),
        ];
        for (config, expected) in cases {
            assert_eq!(Native::of(config), expected, "{config}");
        }
    }

    #[test]
    fn enrich_adds_a_field_to_an_object_and_to_nothing_else() {
        assert_eq!(enrich(b"{}").expect("an object"), br#"{"enriched":true}"#);
        assert!(enrich(b"[]").is_err());
    }
}

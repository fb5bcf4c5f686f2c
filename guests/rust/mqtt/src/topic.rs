//! From an event's subject to a topic.

use serde::Deserialize;

/// What stands for the event's subject.
const SUBJECT: &str = "{subject}";
/// The length of a topic has two bytes in a packet.
const MAX_TOPIC_BYTES: usize = u16::MAX as usize;

/// Where events go: a topic in which `{subject}` stands for the event's subject, with slashes for its dots.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Topic(String);

impl Default for Topic {
    fn default() -> Self {
        Self(SUBJECT.to_owned())
    }
}

impl TryFrom<String> for Topic {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let rest = text.replace(SUBJECT, "");
        if rest.contains(['{', '}']) {
            return Err(format!("config.topic = {text:?}: only {SUBJECT} is known in braces"));
        }
        check(&text).map_err(|why| format!("config.topic = {text:?}: {why}"))?;
        Ok(Self(text))
    }
}

impl Topic {
    /// The topic of an event; an error says why it has none.
    pub(crate) fn of(&self, subject: &str) -> Result<String, String> {
        let topic = self.0.replace(SUBJECT, &subject.replace('.', "/"));
        check(&topic).map_err(|why| format!("{topic:?} is no topic: {why}"))?;
        Ok(topic)
    }
}

fn check(topic: &str) -> Result<(), &'static str> {
    match topic {
        "" => Err("it is empty"),
        _ if topic.contains(['+', '#']) => Err("`+` and `#` are for those who subscribe"),
        _ if topic.contains('\0') => Err("there may be no zero in it"),
        _ if topic.len() > MAX_TOPIC_BYTES => Err("it is too long"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_becomes_a_topic() {
        for (topic, subject, expected) in [
            ("{subject}", "ride.accepted", Ok("ride/accepted")),
            ("saf/{subject}/v1", "ride.accepted.eu", Ok("saf/ride/accepted/eu/v1")),
            ("all", "ride.accepted", Ok("all")),
            ("{subject}", "a.b+c", Err("for those who subscribe")),
            ("x/{subject}", "a.#", Err("for those who subscribe")),
        ] {
            let topic = Topic::try_from(topic.to_owned()).unwrap_or_else(|why| panic!("{why}"));
            match (topic.of(subject), expected) {
                (Ok(topic), Ok(expected)) => assert_eq!(topic, expected),
                (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
                (came, _) => panic!("{subject}: {came:?}"),
            }
        }
        assert_eq!(Topic::default().of("a.b").as_deref(), Ok("a/b"));
    }

    #[test]
    fn a_configured_topic_is_checked_at_once() {
        for (text, part) in [
            ("", "it is empty"),
            ("a/+", "subscribe"),
            ("#", "subscribe"),
            ("a/{id}", "only {subject}"),
            ("a\0", "zero"),
        ] {
            let why = Topic::try_from(text.to_owned()).expect_err(text);
            assert!(why.contains(part), "{text:?}: {why}");
        }
        assert!(Topic::try_from("x".repeat(MAX_TOPIC_BYTES + 1)).is_err());
    }
}

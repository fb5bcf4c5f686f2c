//! Fails as the event's data says, one word: what a Channel can do wrong, for tests. `guests/cases/README.md` has the words.

use std::time::Duration;

use saf_channel::{Answer, Channel, Emission, Event, Failure};
use serde::Deserialize;

saf_channel::channel!(Fail);

/// The Channel's `config` table.
#[derive(Deserialize)]
struct Config {
    init: Option<String>,
}

struct Fail {
    seen: u64,
}

impl Channel for Fail {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        match config.init.as_deref() {
            Some("fail") => Err("the configuration says: fail".into()),
            Some(_) | None => Ok(Self { seen: 0 }),
        }
    }

    fn handle(&mut self, event: Event) -> Answer {
        self.seen += 1;
        match &*event.data {
            b"retry" => Err(Failure::retry_after("not yet", Duration::from_millis(1500))),
            b"backoff" => Err(Failure::retry("not yet")),
            b"reject" => Err(Failure::reject("never")),
            b"throw" => panic!("an exception"),
            b"trap" => panic!("asked to trap"),
            b"spin" => loop {
                // Without this the compiler sees that nothing can come of it.
                std::hint::black_box(());
            },
            b"log" => {
                println!("to stdout");
                eprintln!("to stderr");
                Ok(vec![])
            }
            b"count" => Ok(vec![Emission::new("fail.count", self.seen.to_string())]),
            word => Err(Failure::reject(format!(
                "unknown word: {}: known are retry, backoff, reject, throw, trap, spin, log, count",
                String::from_utf8_lossy(word)
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_fail() {
        let mut fail = Fail::new(Config { init: None }).expect("accepted");
        let mut say = |word: &str| fail.handle(Event::new("fail", word));
        assert_eq!(say("retry"), Err(Failure::retry_after("not yet", Duration::from_millis(1500))));
        assert_eq!(say("backoff"), Err(Failure::retry("not yet")));
        assert_eq!(say("reject"), Err(Failure::reject("never")));
        assert_eq!(say("count"), Ok(vec![Emission::new("fail.count", "4")]));
        let Err(Failure::Reject(reason)) = say("nonsense") else { panic!("an unknown word") };
        assert!(reason.starts_with("unknown word: nonsense"), "{reason}");
    }

    #[test]
    #[should_panic(expected = "an exception")]
    fn a_panic_is_one_natively_too() {
        let mut fail = Fail::new(Config { init: None }).expect("accepted");
        let _ = fail.handle(Event::new("fail", "throw"));
    }

    #[test]
    fn a_configuration_can_be_refused() {
        assert!(Fail::new(Config { init: Some("fail".into()) }).is_err());
    }
}

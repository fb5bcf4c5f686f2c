//! Prints each event as one line, which the router logs at `info`: sequence, subject, id and data. With `greeting` in the
//! Channel's `config`, each line starts with it.

use saf_channel::{Answer, Channel, Event};
use serde::Deserialize;

saf_channel::channel!(Printer);

/// The Channel's `config` table.
#[derive(Deserialize)]
struct Config {
    greeting: Option<String>,
}

struct Printer {
    greeting: Option<String>,
}

impl Channel for Printer {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        Ok(Self { greeting: config.greeting })
    }

    fn handle(&mut self, event: Event) -> Answer {
        if let Some(greeting) = &self.greeting {
            print!("{greeting} ");
        }
        println!("{} {} {} {}", event.sequence, event.subject, event.id, one_line(&event.data));
        Ok(vec![])
    }
}

/// The data as text, line breaks and other control characters escaped.
fn one_line(data: &[u8]) -> String {
    let mut line = String::with_capacity(data.len());
    for c in String::from_utf8_lossy(data).chars() {
        match c {
            c if c.is_control() => line.extend(c.escape_default()),
            c => line.push(c),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_stays_on_one_line() {
        let cases: [(&[u8], &str); 4] = [
            (b"", ""),
            (br#"{"a": "b"}"#, r#"{"a": "b"}"#),
            (b"one\r\ntwo\x1b[2J", "one\\r\\ntwo\\u{1b}[2J"),
            (b"\xffx", "\u{fffd}x"),
        ];
        for (data, expected) in cases {
            assert_eq!(one_line(data), expected, "{data:?}");
        }
    }
}

//! Prints each event as one line, which the router logs at `info`: sequence, subject, id and data. With `greeting` in the
//! Channel's `config`, each line starts with it.

wit_bindgen::generate!({ path: "../../../wit", world: "channel" });

use std::sync::OnceLock;

use serde::Deserialize;

use exports::saf::channel::handler::{Emission, Event, Failure, Guest};

/// The Channel's `config` table.
#[derive(Deserialize)]
struct Config {
    greeting: Option<String>,
}

/// Lives as long as the instance.
static CONFIG: OnceLock<Config> = OnceLock::new();

struct Printer;

export!(Printer);

impl Guest for Printer {
    fn init(config: String) -> Result<(), String> {
        let config = serde_json::from_str(&config).map_err(|e| e.to_string())?;
        CONFIG.get_or_init(|| config);
        Ok(())
    }

    fn handle(event: Event) -> Result<Vec<Emission>, Failure> {
        if let Some(greeting) = CONFIG.get().and_then(|config| config.greeting.as_deref()) {
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

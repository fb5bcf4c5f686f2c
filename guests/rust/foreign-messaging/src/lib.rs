//! A component of wasmCloud's messaging interface that knows nothing of saf: what the router's adapter is tested with. The message's
//! body says what it does, as `word argument`:
//!
//! | word | what it does |
//! | --- | --- |
//! | `echo` | publishes the body to `echo.<subject>` |
//! | `reply` | publishes to the message's `reply-to`, which it fails without |
//! | `publish` | publishes to the subject named, and fails with whatever is answered |
//! | `fail`, `trap` | publishes, and then fails or panics |
//! | `request` | asks the subject named, and fails with whatever is answered |
//! | `flood` | publishes for ever, whatever is answered |
//! | `configured` | publishes the value of the configuration's key named to `configured` |
//! | `count` | publishes how many messages this instance has seen to `count` |

wit_bindgen::generate!({
    inline: "
        package test:foreign;
        world foreign {
            import wasi:logging/logging;
            import wasi:config/runtime@0.2.0-draft;
            import wasmcloud:messaging/consumer@0.2.0;
            export wasmcloud:messaging/handler@0.2.0;
        }
        package wasi:logging {
            interface logging {
                enum level { trace, debug, info, warn, error, critical }
                log: func(level: level, context: string, message: string);
            }
        }
        package wasi:config@0.2.0-draft {
            interface runtime {
                variant config-error { upstream(string), io(string) }
                get: func(key: string) -> result<option<string>, config-error>;
                get-all: func() -> result<list<tuple<string, string>>, config-error>;
            }
        }
        package wasmcloud:messaging@0.2.0 {
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
        }
    ",
    generate_all,
});

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use exports::wasmcloud::messaging::handler::Guest;
use wasi::config::runtime;
use wasi::logging::logging::{Level, log};
use wasmcloud::messaging::consumer;
use wasmcloud::messaging::types::BrokerMessage;

static SEEN: AtomicU32 = AtomicU32::new(0);

struct Foreign;

export!(Foreign);

impl Guest for Foreign {
    fn handle_message(message: BrokerMessage) -> Result<(), String> {
        let BrokerMessage { subject, body, reply_to } = message;
        let text = String::from_utf8(body).map_err(|error| error.to_string())?;
        let (word, argument) = text.split_once(' ').unwrap_or((&text, ""));
        log(Level::Info, "foreign", word);
        let seen = SEEN.fetch_add(1, Relaxed) + 1;
        match word {
            "echo" => publish(format!("echo.{subject}"), &text),
            "reply" => publish(reply_to.ok_or("no reply-to")?, "answer"),
            "publish" => publish(argument.to_owned(), "published"),
            "fail" => {
                publish("failed".to_owned(), "never seen")?;
                Err("told to fail".to_owned())
            }
            "trap" => {
                publish("trapped".to_owned(), "never seen")?;
                panic!("told to trap")
            }
            "request" => consumer::request(argument, b"question", 1000).map(drop),
            "flood" => loop {
                let _ = publish("flood".to_owned(), &text);
            },
            "configured" => match runtime::get(argument) {
                Ok(value) => publish("configured".to_owned(), &value.unwrap_or_default()),
                Err(error) => Err(format!("{error:?}")),
            },
            "count" => publish("count".to_owned(), &seen.to_string()),
            other => Err(format!("no such word: {other}")),
        }
    }
}

fn publish(subject: String, body: &str) -> Result<(), String> {
    consumer::publish(&BrokerMessage { subject, body: body.as_bytes().to_vec(), reply_to: None })
}

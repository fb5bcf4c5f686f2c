//! Posts each event to `config.url` as a `CloudEvent` in binary mode, and turns the answer into what becomes of the event:
//!
//! | answer | the event |
//! | --- | --- |
//! | 2xx | is done |
//! | 408, 429, any 5xx, or none (refused, cut off) | comes again; after `Retry-After` where the answer has one |
//! | 3xx, any other 4xx | becomes a dead letter: another attempt would get the same answer |
//!
//! The Channel needs a grant for the URL's origin, `grants.http = ["https://api.example.com"]`. An endpoint may see an event twice
//! (it answered, and the answer was lost): `ce-id` and `ce-source` are the same then.
//!
//! Deliberately absent: a time-out of its own (the Channel's `limits.timeout` covers the request), redirects, and signatures.

mod answer;
mod request;
mod send;

use std::collections::BTreeMap;
use std::time::SystemTime;

use saf_channel::{Answer, Channel, Event};
use serde::Deserialize;

use answer::judge;
use request::{Url, headers};

saf_channel::channel!(WebhookOut);

/// The Channel's `config` table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Where events go, such as `https://api.example.com/hooks/saf?team=a`.
    url: String,
    /// Sent with every request, such as `authorization`; they go before an event's own.
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

struct WebhookOut {
    url: Url,
    headers: BTreeMap<String, String>,
}

impl Channel for WebhookOut {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        Ok(Self { url: Url::parse(&config.url)?, headers: config.headers })
    }

    fn handle(&mut self, event: Event) -> Answer {
        let sent = send::post(&self.url, &headers(&self.headers, &event), &event.data);
        judge(&self.url, sent, SystemTime::now()).map(|()| vec![])
    }
}

//! Publishes each event to an MQTT broker (3.1.1, `QoS` 1): the event is done when the broker has acknowledged it. The Channel needs a grant
//! for the broker's address: `grants.tcp = ["mqtt.example.com:1883"]`.
//!
//! The data is published as it is. The topic is the event's subject with slashes for its dots, or `config.topic`, in which `{subject}`
//! stands for that. The connection is kept from event to event and made anew when the broker has closed it; a broker that is
//! away, refuses the connection or does not acknowledge is another attempt. So a subscriber may see an event twice, as `QoS` 1 says. What
//! can be no topic (`+`, `#`) becomes a dead letter.
//!
//! Deliberately absent: pings (nothing runs between events, so the keep-alive is off and a connection that died quietly is noticed by the next
//! event), a stored session (the router keeps the events), TLS, `QoS` 0 and 2, and the event's headers, for which 3.1.1 has no room.

mod session;
mod topic;

use saf_channel::{Answer, Channel, Event, Failure};
use serde::Deserialize;

use session::{Login, Problem, Session};
use topic::Topic;

saf_channel::channel!(Mqtt);

/// The Channel's `config` table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Host and port of the broker, as in the grant.
    address: String,
    /// Where events go, such as `saf/{subject}`.
    #[serde(default)]
    topic: Topic,
    /// Whether the broker keeps the last message of each topic for those who subscribe later.
    #[serde(default)]
    retain: bool,
    /// The broker makes one up when there is none. A broker keeps one connection for a name, so a Channel with one needs `concurrency = 1`.
    #[serde(default)]
    client_id: String,
    user: Option<String>,
    password: Option<String>,
}

struct Mqtt {
    address: String,
    topic: Topic,
    retain: bool,
    login: Login,
    session: Option<Session>,
}

impl Channel for Mqtt {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        let Config { address, topic, retain, client_id, user, password } = config;
        let login = Login::new(client_id, user, password)?;
        Ok(Self { address, topic, retain, login, session: None })
    }

    fn handle(&mut self, event: Event) -> Answer {
        let topic = self.topic.of(&event.subject).map_err(Failure::reject)?;
        let published = self.publish(&topic, &event.data);
        published.map(|()| vec![]).map_err(|problem| match problem {
            Problem::Unfit(_) => Failure::reject(problem.to_string()),
            Problem::Connection(_) | Problem::Refused(_) | Problem::Protocol(_) => {
                Failure::retry(format!("{}: {problem}", self.address))
            }
        })
    }
}

impl Mqtt {
    fn publish(&mut self, topic: &str, data: &[u8]) -> Result<(), Problem> {
        // The broker may have closed a kept connection since; a failure on a new one is one.
        if let Some(mut kept) = self.session.take()
            && kept.publish(topic, data, self.retain).is_ok()
        {
            self.session = Some(kept);
            return Ok(());
        }
        let mut session = Session::open(&self.address, &self.login)?;
        session.publish(topic, data, self.retain)?;
        self.session = Some(session);
        Ok(())
    }
}

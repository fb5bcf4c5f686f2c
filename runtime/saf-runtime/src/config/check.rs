//! What one section cannot know by itself. Each problem names the section it is in and says what to change.

use saf_broker::Kind;

use super::Config;

/// A problem and the section to show.
pub(super) struct Problem {
    pub(super) section: String,
    pub(super) message: String,
}

impl Problem {
    fn new(section: impl Into<String>, message: impl std::fmt::Display) -> Self {
        Self { section: section.into(), message: message.to_string() }
    }
}

pub(super) fn check(config: &Config) -> Result<(), Problem> {
    config.http.check().map_err(|error| Problem::new("http", error))?;
    config.admin.check().map_err(|error| Problem::new("admin", error))?;
    broker(config)?;
    streams(config)?;
    if !config.streams.contains_key(&config.http.stream) {
        return Err(Problem::new("http", no_stream(config.http.stream.as_str())));
    }
    channels(config)
}

fn no_stream(name: &str) -> String {
    format!("there is no stream {name:?}: add a section [streams.{name}], or name another one")
}

/// A key that the chosen kind would ignore is a mistake.
fn broker(config: &Config) -> Result<(), Problem> {
    let broker = &config.broker;
    if broker.kind == Kind::Jetstream {
        let missing = broker
            .url
            .is_none()
            .then_some("`url` is missing: name the servers, such as \"nats://127.0.0.1:4222\"");
        return missing.map_or(Ok(()), |message| Err(Problem::new("broker", message)));
    }
    let given = [
        ("url", broker.url.is_some()),
        ("creds", broker.creds.is_some()),
        ("nkey", broker.nkey.is_some()),
        ("user", broker.user.is_some()),
        ("password", broker.password.is_some()),
        ("token", broker.token.is_some()),
        (
            "tls",
            broker.tls.required || broker.tls.first || broker.tls.ca.is_some() || broker.tls.cert.is_some(),
        ),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        Some((key, _)) => Err(Problem::new(
            "broker",
            format!("`{key}` means nothing to the embedded broker: set kind = \"jetstream\", or remove it"),
        )),
        None => Ok(()),
    }
}

fn streams(config: &Config) -> Result<(), Problem> {
    for (name, stream) in &config.streams {
        if stream.duplicate_window > stream.max_age {
            let (window, age) = (stream.duplicate_window, stream.max_age);
            let message = format!(
                "duplicate_window ({window}) is longer than max_age ({age}): lower it, or raise max_age"
            );
            return Err(Problem::new(format!("streams.{name}"), message));
        }
    }
    Ok(())
}

fn channels(config: &Config) -> Result<(), Problem> {
    for (name, channel) in &config.channels {
        let section = format!("channels.{name}");
        let Some(stream) = config.streams.get(&channel.stream) else {
            return Err(Problem::new(section, no_stream(channel.stream.as_str())));
        };
        channel.check().map_err(|error| Problem::new(&*section, error))?;
        channel.check_window(stream.duplicate_window).map_err(|error| Problem::new(&*section, error))?;
    }
    Ok(())
}

//! `saf-runtime check`: everything that can be said before running. Prints what it found; fails when something would not work.

use std::fmt::Write;

use saf_channel::Config as Channel;
use saf_event::ChannelName;
use saf_host::Host;

use super::{ConfigFile, print};
use crate::config::Config;
use crate::exit::Failure;
use crate::graph::Graph;

pub(crate) fn check(file: &ConfigFile) -> Result<(), Failure> {
    let config = file.load()?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::internal)?;
    let host = Host::new(&config.host).map_err(|error| Failure::Config(error.to_string()))?;
    let mut text = String::new();
    let mut broken = Vec::new();
    for (name, channel) in &config.channels {
        let loaded = runtime.block_on(host.load(&channel.component));
        if loaded.as_ref().map_or(true, |component| component.check_grants(&channel.grants).is_err()) {
            broken.push(name.as_str());
        }
        describe(&mut text, name, channel, loaded).map_err(Failure::internal)?;
    }
    flow(&mut text, &config).map_err(Failure::internal)?;
    print(&text)?;
    if broken.is_empty() {
        Ok(())
    } else {
        Err(Failure::Check(format!("cannot be run: {}", broken.join(", "))))
    }
}

fn describe(
    text: &mut String,
    name: &ChannelName,
    channel: &Channel,
    loaded: Result<saf_host::Component, saf_host::LoadError>,
) -> std::fmt::Result {
    writeln!(text, "{name}")?;
    writeln!(text, "  takes      {} of stream {}", list(&channel.subjects), channel.stream)?;
    writeln!(
        text,
        "  may emit   {}",
        if channel.emit.subjects.is_empty() { "nothing".into() } else { list(&channel.emit.subjects) }
    )?;
    if !channel.grants.http.is_empty() {
        let origins: Vec<_> = channel.grants.http.iter().map(ToString::to_string).collect();
        writeln!(text, "  requests   {}", origins.join(", "))?;
    }
    if !channel.grants.tcp.is_empty() {
        let endpoints: Vec<_> = channel.grants.tcp.iter().map(ToString::to_string).collect();
        writeln!(text, "  connects   {}", endpoints.join(", "))?;
    }
    if channel.grants.keyvalue {
        writeln!(text, "  remembers  up to {} of state", channel.limits.state_max)?;
    }
    let limits = &channel.limits;
    writeln!(text, "  an event   fuel {}, {}, {} of memory", limits.fuel, limits.timeout, limits.memory)?;
    match loaded {
        Err(error) => writeln!(text, "  component  {}: CANNOT BE RUN: {error}", channel.component.display()),
        Ok(component) => {
            let digest = component.digest().get(..12).unwrap_or_default().to_owned();
            writeln!(
                text,
                "  component  {} ({} bytes, {digest})",
                channel.component.display(),
                component.size()
            )?;
            writeln!(text, "  contract   {}", component.contract())?;
            if !component.ignored_exports().is_empty() {
                writeln!(text, "  ignored    exports {}", component.ignored_exports().join(", "))?;
            }
            for import in component.imports_under(&channel.grants) {
                write!(text, "  imports    {}: {}", import.name, import.access)?;
                match import.would_grant() {
                    Some(line) => writeln!(text, "; {line} would grant it")?,
                    None => writeln!(text)?,
                }
            }
            Ok(())
        }
    }
}

fn flow(text: &mut String, config: &Config) -> std::fmt::Result {
    let graph = Graph::new(&config.channels);
    writeln!(text, "\nflow")?;
    for name in config.channels.keys() {
        let fed: Vec<_> = graph.fed_by(name).iter().map(|name| name.as_str()).collect();
        writeln!(
            text,
            "  {name} -> {}",
            if fed.is_empty() { "(no Channel)".to_owned() } else { fed.join(", ") }
        )?;
    }
    for remark in graph.remarks() {
        writeln!(text, "  {remark}")?;
    }
    Ok(())
}

fn list(filters: &[saf_event::Filter]) -> String {
    filters.iter().map(saf_event::Filter::as_str).collect::<Vec<_>>().join(", ")
}

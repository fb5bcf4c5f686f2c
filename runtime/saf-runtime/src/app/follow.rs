//! What makes a running router reload: SIGHUP, and with `[reload] watch = true` a change of its file or of a component. What came
//! of it is said in the log.

use std::path::{Path, PathBuf};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::announce::DIGEST_CHARS;
use super::fleet::Fleet;
use super::reload::{Change, Reloaded, Succession};
use super::watch::{Target, Watch};
use crate::config::{Config, Report};
use crate::exit::Failure;

/// SIGHUP, from the moment this is called; before, it ends the process. Those that come during a reload make one more afterwards.
pub(crate) fn hangups() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// Reloads when it is due. Ends only with the process, or when the signal cannot be heard any more.
pub(crate) async fn follow(
    fleet: &Fleet,
    file: &Path,
    began_with: &Config,
    read: impl Fn() -> Result<Config, Report>,
    mut hangups: Signal,
) -> Failure {
    let mut watch = Watch::new(targets(file, began_with));
    loop {
        tokio::select! {
            hangup = hangups.recv() => {
                if hangup.is_none() {
                    return Failure::Internal("SIGHUP is not heard any more".to_owned());
                }
                tracing::info!("SIGHUP: reading the configuration again");
            }
            changed = watch.changed() => {
                let changed: Vec<_> = changed.iter().map(|path| path.display().to_string()).collect();
                tracing::info!(changed = changed.join(", "), "a file changed: reading the configuration again");
            }
        }
        // Before anything is read: what changes from here on is seen as a change.
        watch.mark();
        match read() {
            Err(report) => {
                tracing::error!("nothing is changed: {report}");
                fleet.refuse(report.to_string());
            }
            Ok(config) => {
                watch.retarget(targets(file, &config));
                match fleet.reload(config).await {
                    Ok(reloaded) => tell(&reloaded),
                    Err(reason) => tracing::error!("nothing is changed: {reason}"),
                }
            }
        }
    }
}

/// The file and every component; nothing unless the configuration wants it.
fn targets(file: &Path, config: &Config) -> Vec<Target> {
    if !config.reload.watch {
        return Vec::new();
    }
    let components = config.channels.values().map(|channel| channel.component.clone());
    std::iter::once(PathBuf::from(file)).chain(components).map(Target::File).collect()
}

fn tell(reloaded: &Reloaded) {
    for section in &reloaded.needs_restart {
        tracing::warn!(section, "changed; this takes effect at the next start of the router");
    }
    for (channel, change) in &reloaded.channels {
        match change {
            Change::Started { digest } => tracing::info!(%channel, digest = short(digest), "started"),
            Change::Replaced(succession) => tell_succession(channel.as_str(), "replaced", succession),
            Change::Restarted(succession) => tell_succession(channel.as_str(), "restarted", succession),
            Change::Stopped => {
                tracing::info!(%channel, "stopped: it is not configured any more; its place in the stream is kept");
            }
            Change::Refused(reason) => {
                tracing::error!(%channel, reason, "its new version is refused; the old one goes on");
            }
            Change::NotRunning(reason) => {
                tracing::error!(%channel, reason, "refused: it is not running");
            }
        }
    }
    let took_ms = reloaded.took.as_millis() as u64;
    tracing::info!(changed = reloaded.channels.len(), took_ms, "reloaded");
}

fn tell_succession(channel: &str, what: &str, succession: &Succession) {
    let Succession { from, to, waited, lost } = succession;
    tracing::info!(channel, from = short(from), to = short(to), waited, lost, "{what}");
}

fn short(digest: &str) -> &str {
    digest.get(..DIGEST_CHARS).unwrap_or(digest)
}

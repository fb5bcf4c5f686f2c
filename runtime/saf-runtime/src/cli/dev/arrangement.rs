//! What `dev` changes in a configuration, each time that it is read: the store, ports that are taken, the Channels that are meant.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use saf_event::ChannelName;
use tempfile::TempDir;

use super::lines::Addresses;
use crate::cli::ConfigFile;
use crate::config::Config;
use crate::exit::Failure;

/// Where the store is.
enum Store {
    /// Gone when this is.
    Temporary(TempDir),
    Kept(PathBuf),
}

/// The same for every reading, so that a reload finds nothing changed that was not.
pub(super) struct Arrangement {
    file: ConfigFile,
    store: Store,
    ingest: SocketAddr,
    admin: SocketAddr,
    only: Vec<ChannelName>,
}

impl Arrangement {
    /// Reads the configuration for the first time.
    pub(super) fn new(
        file: ConfigFile,
        only: &[String],
        keep: Option<PathBuf>,
    ) -> Result<(Self, Config), Failure> {
        let config = file.load()?;
        let name = |text: &String| {
            let name = ChannelName::parse(text).map_err(|error| Failure::Usage(error.to_string()))?;
            if config.channels.contains_key(&name) {
                return Ok(name);
            }
            let known: Vec<_> = config.channels.keys().map(ChannelName::as_str).collect();
            Err(Failure::Usage(format!("there is no Channel {name}; there are: {}", known.join(", "))))
        };
        let only = only.iter().map(name).collect::<Result<_, _>>()?;
        let store = if let Some(folder) = keep {
            Store::Kept(folder)
        } else {
            let folder = tempfile::Builder::new().prefix("saf-dev-").tempdir();
            Store::Temporary(folder.map_err(|error| {
                Failure::Config(format!("no temporary folder can be made ({error}): name one with --keep"))
            })?)
        };
        let (ingest, admin) = (free(config.http.listen), free(config.admin.listen));
        let arrangement = Self { file, store, ingest, admin, only };
        let config = arrangement.arrange(config);
        Ok((arrangement, config))
    }

    /// The configuration's file.
    pub(super) fn file(&self) -> &Path {
        self.file.path()
    }

    /// Reads the configuration again.
    pub(super) fn read(&self) -> Result<Config, Failure> {
        self.file.load().map(|config| self.arrange(config))
    }

    fn arrange(&self, mut config: Config) -> Config {
        config.broker = saf_broker::Config { path: self.store().to_owned(), ..saf_broker::Config::default() };
        (config.http.listen, config.admin.listen) = (self.ingest, self.admin);
        if !self.only.is_empty() {
            config.channels.retain(|name, _| self.only.contains(name));
        }
        config
    }

    fn store(&self) -> &Path {
        match &self.store {
            Store::Temporary(folder) => folder.path(),
            Store::Kept(folder) => folder,
        }
    }

    /// For the first line.
    pub(super) fn describe(&self, addresses: Addresses) -> String {
        let store = match &self.store {
            Store::Temporary(_) => "a store that is removed at the end".to_owned(),
            Store::Kept(folder) => format!("the store in {}", folder.display()),
        };
        format!("events at http://{}, admin at http://{}, {store}", addresses.ingest, addresses.admin)
    }
}

/// The address, or a free port of its host when another process has it.
fn free(address: SocketAddr) -> SocketAddr {
    match TcpListener::bind(address) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => SocketAddr::new(address.ip(), 0),
        Ok(_) | Err(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_exchanged_for_a_free_one() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a socket").local_addr().expect("bound");
        assert_eq!(free(taken), taken, "it is free again");
        let holder = TcpListener::bind(taken).expect("a socket");
        assert_eq!(free(taken).port(), 0);
        drop(holder);
    }
}

//! `saf-runtime health`: the health check of a container or a supervisor, without a shell or a client beside it.
//!
//! It asks the admin listener, which every role has. Deliberately absent: `/livez`, since a process that does not turn does not
//! answer `/readyz` either; a token, since health is open without one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::ConfigFile;
use super::client::{Client, Door, Query};
use crate::exit::Failure;

/// Ask a router whether it is ready: what /readyz says on standard output, exit code 0 when it is, else 1.
#[derive(Debug, clap::Args)]
pub(crate) struct Health {
    /// One of the router's listeners; where [admin] of the configuration listens when absent.
    #[arg(long, env = "SAF_URL", value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    file: ConfigFile,
}

impl Health {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let url = match &self.url {
            Some(url) => url.clone(),
            None => format!("http://{}", reached_at(self.file.load()?.admin.listen)),
        };
        let router = Client::new(Door::Admin, &url, None)?;
        match router.get::<serde_json::Value>("/readyz", &Query::default()) {
            Ok(report) => super::print(&format!("{report}\n")),
            // Container engines know 0 and 1.
            Err(Failure::Unreachable(reason)) => Err(Failure::Check(reason)),
            Err(failure) => Err(failure),
        }
    }
}

/// A listener on every address is asked on this machine's own.
fn reached_at(listen: SocketAddr) -> SocketAddr {
    let own = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        named => named,
    };
    SocketAddr::new(own, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_asked_where_it_can_be_reached() {
        for (listen, asked) in [
            ("0.0.0.0:1379", "127.0.0.1:1379"),
            ("[::]:1379", "[::1]:1379"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("10.0.0.7:80", "10.0.0.7:80"),
        ] {
            let listen = listen.parse().expect("an address");
            assert_eq!(reached_at(listen).to_string(), asked);
        }
    }
}

//! Whom a Channel talks to, as a grant or a guest writes it: an address, or a name of the DNS. One reading for all capabilities, so that
//! what was granted and what is asked for cannot be two different things.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// A host; a name is in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Written as an address: it is connected to as it stands.
    Address(IpAddr),
    /// Looked up.
    Name(String),
}

impl Peer {
    /// `None` for what is neither. IPv6 stands in brackets. Other notations of addresses (`127.1`, `0x7f.0.0.1`) are none, and no name has
    /// a last label that begins with a digit.
    pub(crate) fn parse(host: &str) -> Option<Self> {
        address(host).map(Self::Address).or_else(|| name(host).map(Self::Name))
    }
}

fn address(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(host) => host.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse().ok().filter(IpAddr::is_ipv4),
    }
}

/// A name of the DNS, in lower case.
pub(crate) fn name(host: &str) -> Option<String> {
    const MAX_NAME_BYTES: usize = 253;
    let valid = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let last = host.rsplit('.').next()?;
    let numeric = last.starts_with(|c: char| c.is_ascii_digit());
    let named = host.len() <= MAX_NAME_BYTES && host.split('.').all(valid) && !numeric;
    named.then(|| host.to_ascii_lowercase())
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

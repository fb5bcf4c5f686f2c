//! Which addresses a name may lead to. The allow-list holds names, and whoever runs a name's DNS decides what it means: without this
//! a name below a granted `*.example.com` could lead to a cloud's metadata service, or back into this machine.
//!
//! Private networks (10/8 and the like) are allowed: services in one's own network are what most grants are for. An address that is
//! itself written in a grant does not come here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Metadata services that are not in 169.254/16: Alibaba's, Oracle's, Azure's, and Amazon's over IPv6.
const METADATA: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// Tries where `name` leads to, in the resolver's order, without what it may not lead to. Empty when that is all of it.
pub(crate) fn permitted(name: &str, found: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let local = name == "localhost" || name.ends_with(".localhost");
    found.filter(|address| is_permitted(address.ip(), local)).collect()
}

fn is_permitted(address: IpAddr, local: bool) -> bool {
    let address = plain(address);
    let elsewhere = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast() || v4.octets()[0] == 0,
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_unspecified(),
    };
    !elsewhere && !address.is_multicast() && !METADATA.contains(&address) && (local || !address.is_loopback())
}

/// The IPv4 address inside of an IPv6 one: mapped, compatible, or translated (NAT64, 6to4).
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let four = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => address,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => four(high, low),
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_no_metadata_service_and_not_back_into_this_machine() {
        for (address, may) in [
            ("93.184.216.34", true),
            ("10.1.2.3", true),
            ("192.168.0.1", true),
            ("2606:4700::1", true),
            ("fd12::1", true),
            ("169.254.169.254", false),
            ("169.254.170.2", false),
            ("100.100.100.200", false),
            ("168.63.129.16", false),
            ("192.0.0.192", false),
            ("fd00:ec2::254", false),
            ("fe80::1", false),
            ("127.0.0.1", false),
            ("127.8.9.1", false),
            ("::1", false),
            ("0.0.0.0", false),
            ("0.1.2.3", false),
            ("::", false),
            ("255.255.255.255", false),
            ("224.0.0.1", false),
            ("ff02::1", false),
            ("::ffff:169.254.169.254", false),
            ("::ffff:127.0.0.1", false),
            ("::127.0.0.1", false),
            ("64:ff9b::a9fe:a9fe", false),
            ("2002:a9fe:a9fe::1", false),
            ("64:ff9b::5db8:d822", true),
        ] {
            let found = SocketAddr::new(address.parse().expect(address), 80);
            let left = permitted("api.example.com", [found].into_iter());
            assert_eq!(left.len(), usize::from(may), "{address}");
        }
    }

    #[test]
    fn localhost_leads_to_loopback_and_still_to_no_metadata_service() {
        let found = ["127.0.0.1:80", "[::1]:80", "169.254.169.254:80"].map(|text| text.parse().expect(text));
        assert_eq!(permitted("localhost", found.into_iter()).len(), 2);
        assert_eq!(permitted("a.localhost", found.into_iter()).len(), 2);
        assert_eq!(permitted("notlocalhost", found.into_iter()).len(), 0);
    }
}

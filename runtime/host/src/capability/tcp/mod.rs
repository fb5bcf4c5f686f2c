//! wasi:sockets 0.2 over TCP: connections to the endpoints of `grants.tcp`, and to nowhere else.
//!
//! The interface is always linked, because language runtimes import it, and refuses everything without a grant. With one, a guest may
//! look up the names of its grants and connect to them: an address counts when a grant writes it, or when a name of a grant led there in
//! this instance, past the addresses that no name may lead to. A connection may live from event to event, in its instance: that is
//! what brokers and databases want. Deliberately absent: listening, UDP, wildcards, and a count of bytes (there is no end of a message
//! to count at; time and fuel bound what an event can send).

mod endpoint;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::{
    self, HostResolveAddressStream, ResolveAddressStream,
};
use wasmtime_wasi::p2::bindings::sockets::network::{self, ErrorCode, IpAddress, IpAddressFamily, Network};
use wasmtime_wasi::p2::bindings::sockets::tcp_create_socket;
use wasmtime_wasi::p2::{DynPollable, SocketError, TcpSocket};
use wasmtime_wasi::sockets::{SocketAddrUse, WasiSocketsCtxView};

use crate::capability::address;
use crate::capability::peer::Peer;
use crate::console::Console;

pub use endpoint::{Endpoint, EndpointError};

/// Most sockets that an instance may hold: each is a file descriptor of the router.
const MAX_SOCKETS: usize = 16;
/// Most names that an event may have looked up: each look-up takes a thread until it is answered.
const MAX_LOOKUPS_AN_EVENT: u32 = 16;
/// Most addresses that an instance remembers names to have led to.
const MAX_KNOWN_ADDRESSES: usize = 256;

/// The owned context of an instance.
pub(crate) struct Tcp {
    list: Arc<List>,
    /// Look-ups that are out, by the handle that the guest holds.
    asked: HashMap<u32, String>,
    lookups: u32,
    /// The handles of sockets that were made; some may be gone.
    sockets: HashSet<u32>,
    console: Console,
}

/// The allow-list, and where its names have led so far.
struct List {
    endpoints: Arc<[Endpoint]>,
    known: Mutex<HashSet<(IpAddr, u16)>>,
}

impl List {
    fn known(&self) -> MutexGuard<'_, HashSet<(IpAddr, u16)>> {
        // Nothing panics under this lock.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn may(&self, address: SocketAddr, what: SocketAddrUse) -> bool {
        match what {
            SocketAddrUse::TcpConnect => {
                let (ip, port) = (address.ip(), address.port());
                let written = self
                    .endpoints
                    .iter()
                    .any(|it| it.port == port && it.peer == Peer::Address(ip.to_canonical()));
                written || self.known().contains(&(ip.to_canonical(), port))
            }
            // What the system does by itself when a socket connects.
            SocketAddrUse::TcpBind => address.ip().is_unspecified() && address.port() == 0,
            _ => false,
        }
    }

    /// Remembers that a name led here; `false` when it may not. What was learned long ago is forgotten when there is too much of it: a
    /// guest that connects anew has looked the name up anew.
    fn learn(&self, name: &str, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let mut known = self.known();
        for endpoint in
            self.endpoints.iter().filter(|it| matches!(&it.peer, Peer::Name(named) if named == name))
        {
            let found = SocketAddr::new(address, endpoint.port);
            if address::permitted(name, std::iter::once(found)).is_empty() {
                return false;
            }
            if known.len() >= MAX_KNOWN_ADDRESSES {
                known.clear();
            }
            known.insert((address, endpoint.port));
        }
        true
    }
}

impl Tcp {
    /// Sets what the sockets of `wasi` may do.
    pub(crate) fn new(endpoints: Arc<[Endpoint]>, wasi: &mut WasiCtxBuilder, console: Console) -> Self {
        let list = Arc::new(List { endpoints, known: Mutex::default() });
        let granted = !list.endpoints.is_empty();
        wasi.allow_udp(false).allow_tcp(granted).allow_ip_name_lookup(granted);
        if granted {
            let (list, console) = (Arc::clone(&list), console.clone());
            wasi.socket_addr_check(move |address, what| {
                let may = list.may(address, what);
                if !may {
                    console.note(&format!(
                        "… tcp: {address} was denied ({what:?}); what grants.tcp names may be connected to, and nothing else"
                    ));
                }
                Box::pin(std::future::ready(may))
            });
        }
        Self { list, asked: HashMap::new(), lookups: 0, sockets: HashSet::new(), console }
    }

    /// Gives the next event its look-ups; connections stay.
    pub(crate) fn end_event(&mut self) {
        self.lookups = 0;
    }
}

/// Borrowed for a call.
pub(crate) struct Sockets<'a> {
    pub(crate) tcp: &'a mut Tcp,
    pub(crate) wasi: WasiSocketsCtxView<'a>,
}

impl network::HostNetwork for Sockets<'_> {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        network::HostNetwork::drop(&mut self.wasi, network)
    }
}

impl network::Host for Sockets<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        network::Host::convert_error_code(&mut self.wasi, error)
    }

    fn network_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        network::Host::network_error_code(&mut self.wasi, error)
    }
}

impl ip_name_lookup::Host for Sockets<'_> {
    fn resolve_addresses(
        &mut self,
        network: Resource<Network>,
        name: String,
    ) -> Result<Resource<ResolveAddressStream>, SocketError> {
        let wanted = Peer::parse(&name);
        let granted =
            wanted.as_ref().is_some_and(|peer| self.tcp.list.endpoints.iter().any(|it| it.peer == *peer));
        let (Some(wanted), true) = (wanted, granted) else {
            self.tcp.console.note(&format!(
                "… tcp: the look-up of {name:?} was denied; name it in grants.tcp to allow it"
            ));
            return Err(ErrorCode::AccessDenied.into());
        };
        if self.tcp.lookups >= MAX_LOOKUPS_AN_EVENT {
            return Err(ErrorCode::NewSocketLimit.into());
        }
        self.tcp.lookups += 1;
        let stream = ip_name_lookup::Host::resolve_addresses(&mut self.wasi, network, name)?;
        if let Peer::Name(name) = wanted {
            self.tcp.asked.insert(stream.rep(), name);
        }
        Ok(stream)
    }
}

impl HostResolveAddressStream for Sockets<'_> {
    fn resolve_next_address(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> Result<Option<IpAddress>, SocketError> {
        let rep = stream.rep();
        loop {
            let next = self.wasi.resolve_next_address(Resource::new_borrow(rep))?;
            let Some(address) = next else { return Ok(None) };
            let plain = plain(address);
            // An address that was asked for as an address is on the list, or it would not have been looked up.
            if self.tcp.asked.get(&rep).is_none_or(|name| self.tcp.list.learn(name, plain)) {
                return Ok(Some(address));
            }
        }
    }

    fn subscribe(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        self.wasi.subscribe(stream)
    }

    fn drop(&mut self, stream: Resource<ResolveAddressStream>) -> wasmtime::Result<()> {
        self.tcp.asked.remove(&stream.rep());
        HostResolveAddressStream::drop(&mut self.wasi, stream)
    }
}

fn plain(address: IpAddress) -> IpAddr {
    match address {
        IpAddress::Ipv4(octets) => IpAddr::from(<[u8; 4]>::from(octets)),
        IpAddress::Ipv6(groups) => IpAddr::from(<[u16; 8]>::from(groups)),
    }
}

impl tcp_create_socket::Host for Sockets<'_> {
    fn create_tcp_socket(&mut self, family: IpAddressFamily) -> Result<Resource<TcpSocket>, SocketError> {
        let table = &self.wasi.table;
        self.tcp.sockets.retain(|rep| table.get(&Resource::<TcpSocket>::new_borrow(*rep)).is_ok());
        if self.tcp.sockets.len() >= MAX_SOCKETS {
            self.tcp.console.note(&format!("… tcp: a socket was denied; an instance may hold {MAX_SOCKETS}"));
            return Err(ErrorCode::NewSocketLimit.into());
        }
        if self.tcp.list.endpoints.is_empty() {
            let note = "… tcp: nothing may be connected to; name host and port in grants.tcp to allow it";
            self.tcp.console.note(note);
        }
        let socket = tcp_create_socket::Host::create_tcp_socket(&mut self.wasi, family)?;
        self.tcp.sockets.insert(socket.rep());
        Ok(socket)
    }
}

struct Granted;

impl HasData for Granted {
    type Data<'a> = Sockets<'a>;
}

/// Puts name look-ups and the making of sockets in the place of wasmtime-wasi's own.
pub(crate) fn add_to_linker<T: 'static>(
    linker: &mut Linker<T>,
    sockets: fn(&mut T) -> Sockets<'_>,
) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let added = ip_name_lookup::add_to_linker::<T, Granted>(linker, sockets)
        .and_then(|()| tcp_create_socket::add_to_linker::<T, Granted>(linker, sockets));
    linker.allow_shadowing(false);
    added
}

#[cfg(test)]
mod tests {
    use wasmtime::component::ResourceTable;
    use wasmtime_wasi::WasiCtx;
    use wasmtime_wasi::p2::bindings::sockets::instance_network;

    use super::ip_name_lookup::Host as _;
    use super::tcp_create_socket::Host as _;
    use super::*;
    use crate::console::Sink;

    fn tcp(endpoints: &[&str]) -> (Tcp, WasiCtx, Console) {
        let endpoints = endpoints.iter().map(|text| text.parse().expect("an endpoint")).collect();
        let console = Console::new(Sink::Kept(Vec::new()), 10_000);
        let mut wasi = WasiCtx::builder();
        let tcp = Tcp::new(endpoints, &mut wasi, console.clone());
        (tcp, wasi.build(), console)
    }

    #[test]
    fn what_is_written_may_be_connected_to_and_nothing_may_listen() {
        let (tcp, ..) = tcp(&["10.0.0.7:5432", "[fd12::1]:6379", "mqtt.example.com:1883"]);
        let may = |address: &str, what| tcp.list.may(address.parse().expect("an address"), what);
        for (address, allowed) in [
            ("10.0.0.7:5432", true),
            ("[::ffff:10.0.0.7]:5432", true),
            ("[fd12::1]:6379", true),
            ("10.0.0.7:5433", false),
            ("10.0.0.8:5432", false),
            ("127.0.0.1:1883", false),
        ] {
            assert_eq!(may(address, SocketAddrUse::TcpConnect), allowed, "{address}");
        }
        assert!(may("0.0.0.0:0", SocketAddrUse::TcpBind));
        assert!(!may("0.0.0.0:8080", SocketAddrUse::TcpBind));
        assert!(!may("127.0.0.1:0", SocketAddrUse::TcpBind));
        for what in [SocketAddrUse::TcpListen, SocketAddrUse::TcpAccept, SocketAddrUse::UdpBind] {
            assert!(!may("10.0.0.7:5432", what), "{what:?}");
        }
    }

    #[test]
    fn an_address_counts_when_a_granted_name_led_there_on_that_name_s_ports() {
        let (tcp, ..) = tcp(&["mqtt.example.com:1883", "mqtt.example.com:8883", "db.example.com:5432"]);
        let connect = |address: &str| tcp.list.may(address.parse().expect("one"), SocketAddrUse::TcpConnect);
        assert!(!connect("93.184.216.34:1883"));
        assert!(tcp.list.learn("mqtt.example.com", "93.184.216.34".parse().expect("one")));
        assert!(connect("93.184.216.34:1883") && connect("93.184.216.34:8883"));
        assert!(!connect("93.184.216.34:5432") && !connect("93.184.216.34:22"));
        for inside in ["127.0.0.1", "169.254.169.254", "::1", "::ffff:169.254.169.254"] {
            assert!(!tcp.list.learn("mqtt.example.com", inside.parse().expect("one")), "{inside}");
        }
        assert!(!connect("169.254.169.254:1883"));

        for n in 0..=u8::MAX {
            assert!(tcp.list.learn("db.example.com", IpAddr::from([10, 0, 0, n])));
        }
        assert!(connect("10.0.0.255:5432"), "the last is known");
        assert!(tcp.list.known().len() <= MAX_KNOWN_ADDRESSES);
    }

    #[tokio::test]
    async fn sockets_are_bounded_and_a_dropped_one_makes_room() {
        let (mut tcp, mut ctx, console) = tcp(&["127.0.0.1:1"]);
        let mut table = ResourceTable::new();
        let mut create = |tcp: &mut Tcp, table: &mut ResourceTable| {
            let wasi = WasiSocketsCtxView { ctx: ctx.sockets(), table };
            Sockets { tcp, wasi }.create_tcp_socket(IpAddressFamily::Ipv4)
        };
        let mut sockets: Vec<_> =
            (0..MAX_SOCKETS).map(|_| create(&mut tcp, &mut table).expect("room")).collect();
        assert!(create(&mut tcp, &mut table).is_err());
        assert!(console.take_lines()[0].text.contains("may hold 16"));
        table.delete(sockets.pop().expect("one")).expect("there");
        create(&mut tcp, &mut table).expect("room again");
    }

    #[tokio::test]
    async fn only_granted_names_are_looked_up_and_not_too_many() {
        let (mut tcp, mut ctx, console) = tcp(&["localhost:1883"]);
        let mut table = ResourceTable::new();
        let mut ask = |tcp: &mut Tcp, name: &str| {
            let mut wasi = WasiSocketsCtxView { ctx: ctx.sockets(), table: &mut table };
            let network = instance_network::Host::instance_network(&mut wasi).expect("room");
            Sockets { tcp, wasi }.resolve_addresses(network, name.to_owned())
        };
        for name in ["example.com", "localhost.example.com", "localhost.", "127.0.0.1", "169.254.169.254", ""]
        {
            assert!(ask(&mut tcp, name).is_err(), "{name}");
        }
        assert!(console.take_lines()[0].text.contains("name it in grants.tcp"));
        for _ in 0..MAX_LOOKUPS_AN_EVENT {
            ask(&mut tcp, "LOCALHOST").expect("granted");
        }
        assert!(ask(&mut tcp, "localhost").is_err(), "too many");
        tcp.end_event();
        ask(&mut tcp, "localhost").expect("the next event has its own");
    }
}

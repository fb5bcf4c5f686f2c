//! Listening sockets, one for each thread. `SO_REUSEPORT` lets the kernel spread connections over them without a lock; it would
//! also let a second router listen on the same port and take half of the events, so the port is tried without it first.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use crate::Error;

/// Connections that the kernel holds until they are accepted.
const BACKLOG_CONNECTIONS: i32 = 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Port {
    Own,
    Shared,
}

/// At least one socket; `key` is the configuration's name of the address.
pub(crate) fn bind(addr: SocketAddr, count: usize, key: &'static str) -> Result<Vec<TcpListener>, Error> {
    let listen = |addr, port| open(addr, port).map_err(|source| Error::Listen { addr, key, source });
    if count <= 1 {
        return Ok(vec![listen(addr, Port::Own)?]);
    }
    if addr.port() != 0 {
        drop(listen(addr, Port::Own)?);
    }
    let first = listen(addr, Port::Shared)?;
    let addr = first.local_addr().map_err(|source| Error::Listen { addr, key, source })?;
    let mut sockets = vec![first];
    for _ in 1..count {
        sockets.push(listen(addr, Port::Shared)?);
    }
    Ok(sockets)
}

fn open(addr: SocketAddr, port: Port) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for connections in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if port == Port::Shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG_CONNECTIONS)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_share_a_port_and_a_second_router_is_told_that_it_is_taken() {
        let any = "127.0.0.1:0".parse().expect("address");
        let sockets = bind(any, 3, "http.listen").expect("a free port");
        let addr = sockets[0].local_addr().expect("bound");
        assert_eq!(sockets.len(), 3);
        assert!(sockets.iter().all(|s| s.local_addr().is_ok_and(|a| a == addr)));
        for count in [1, 2] {
            let error = bind(addr, count, "http.listen").expect_err("taken").to_string();
            assert!(error.contains(&addr.to_string()) && error.contains("http.listen"), "{error}");
        }
        drop(sockets);
        assert!(bind(addr, 2, "http.listen").is_ok());
    }
}

//! Writes each event's data as one line to a TCP server (syslog, Graphite, `StatsD`, a socket input of any log collector), with nothing but
//! Rust's `std::net`. The Channel needs a grant for the address: `grants.tcp = ["logs.example.com:514"]`.
//!
//! The connection is kept from event to event. A line counts as delivered when it was written: the protocol has no answer, so what is on
//! its way when the server dies is lost. A connection that turns out to be closed is another attempt, on a new one; what could
//! not be looked up, connected or written is one too. Data with a line end in it is rejected: it would be two lines.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use saf_channel::{Answer, Channel, Event, Failure};
use serde::Deserialize;

saf_channel::channel!(TcpOut);

/// The Channel's `config` table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Host and port, as in the grant.
    address: String,
}

struct TcpOut {
    address: String,
    connection: Option<TcpStream>,
}

impl Channel for TcpOut {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        Ok(Self { address: config.address, connection: None })
    }

    fn handle(&mut self, event: Event) -> Answer {
        let line = line(event.data)?;
        match self.write(&line) {
            Ok(()) => Ok(vec![]),
            Err(error) => {
                self.connection = None;
                Err(Failure::retry(format!("{}: {error}", self.address)))
            }
        }
    }
}

impl TcpOut {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let mut connection = match self.connection.take().filter(is_open) {
            Some(connection) => connection,
            None => TcpStream::connect(&self.address)?,
        };
        connection.write_all(line)?;
        self.connection = Some(connection);
        Ok(())
    }
}

/// Whether the server has not closed it since; what it says is not listened to.
fn is_open(connection: &TcpStream) -> bool {
    let mut ignored = [0; 512];
    if connection.set_nonblocking(true).is_err() {
        return false;
    }
    let open = match (&*connection).read(&mut ignored) {
        Ok(0) => false,
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    };
    open && connection.set_nonblocking(false).is_ok()
}

fn line(mut data: Vec<u8>) -> Result<Vec<u8>, Failure> {
    if data.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return Err(Failure::reject("the data has a line end in it, and would be more than one line"));
    }
    data.push(b'\n');
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_one_line_or_rejected() {
        assert_eq!(line(b"cpu 3".to_vec()), Ok(b"cpu 3\n".to_vec()));
        assert_eq!(line(vec![]), Ok(b"\n".to_vec()));
        for data in ["a\nb", "a\r", "\n"] {
            assert!(matches!(line(data.into()), Err(Failure::Reject(_))), "{data:?}");
        }
    }
}

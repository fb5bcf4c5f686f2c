//! What it costs that the router says what it does: the same drain with nothing of it, with metrics pushed and a tenth of the traces
//! sent, and with history besides. The collector is a thread here that reads and answers, so its work counts, as a neighbour's would.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::bench::{Bench, Figure, Row, Unit};
use crate::drain::{Flow, drain_with};
use crate::payload::Size;
use crate::stage::Broker;

/// The guests: one that says nothing, one that gives the event back.
pub(crate) const GUESTS: [&str; 2] = ["sink", "echo"];

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Nothing,
    Telemetry,
    History,
    All,
}

impl Said {
    const ALL: [Self; 4] = [Self::Nothing, Self::Telemetry, Self::History, Self::All];

    /// In rows' names.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "off",
            Self::Telemetry => "telemetry",
            Self::History => "history",
            Self::All => "all",
        }
    }

    const fn what(self) -> &'static str {
        match self {
            Self::Nothing => "no history, no traces, no push",
            Self::Telemetry => "10 % of traces, metrics pushed each second",
            Self::History => "history",
            Self::All => "history, 10 % of traces, metrics pushed each second",
        }
    }

    /// Of the router's configuration.
    fn config(self, collector: &str) -> String {
        let history = matches!(self, Self::History | Self::All);
        let telemetry = match self {
            Self::Nothing | Self::History => String::new(),
            Self::Telemetry | Self::All => format!(
                "[telemetry]\nendpoint = \"http://{collector}\"\n[metrics]\ninterval = \"1s\"\n[traces]\nratio = 0.1\n"
            ),
        };
        format!("[history]\nenabled = {history}\n{telemetry}")
    }
}

pub(crate) fn name(broker: Broker, guest: &str, said: Said) -> String {
    format!("operate.{}.{guest}.{}", broker.name(), said.name())
}

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for broker in Broker::ALL {
        for guest in GUESTS {
            for said in Said::ALL {
                rows.push(Row::new(
                    name(broker, guest, said),
                    format!("stream through one Channel, {guest}: {}", said.what()),
                    Unit::EventsPerSecond,
                    move |bench| measure(bench, broker, guest, said),
                ));
            }
        }
    }
    rows
}

fn measure(bench: &Bench, broker: Broker, guest: &'static str, said: Said) -> anyhow::Result<Figure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let collector = listener.local_addr()?.to_string();
    // Ends with the process: a row takes a second, and nobody connects to it later.
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || take(stream));
        }
    });
    drain_with(bench, broker, Flow::of(guest, Size::Small), said.config(&collector)).map(|(figure, _)| figure)
}

/// Reads requests and answers each, until the sender leaves.
fn take(stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut body = Vec::new();
    loop {
        let (mut line, mut length) = (String::new(), 0);
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        body.resize(length, 0);
        reader.read_exact(&mut body)?;
        reader.get_mut().write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n",
        )?;
    }
}

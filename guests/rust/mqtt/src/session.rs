//! A connection to the broker: logged in, and one message at a time on it.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;

use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::Event;
use mqtt_protocol_core::mqtt::packet::v3_1_1::{Connect, Publish};
use mqtt_protocol_core::mqtt::packet::{Packet, Qos};
use mqtt_protocol_core::mqtt::prelude::*;
use mqtt_protocol_core::mqtt::result_code::{ConnectReturnCode, MqttError};
use mqtt_protocol_core::mqtt::role::Client;
use mqtt_protocol_core::mqtt::{Connection, Version};

/// What the broker says is a few bytes.
const READ_BYTES: usize = 512;

/// Who this is to the broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Login {
    client_id: String,
    user: Option<String>,
    password: Option<String>,
}

impl Login {
    /// An error says what no packet could hold.
    pub(crate) fn new(
        client_id: String,
        user: Option<String>,
        password: Option<String>,
    ) -> Result<Self, String> {
        if password.is_some() && user.is_none() {
            return Err("config.password needs config.user: MQTT has no password without a user".to_owned());
        }
        let login = Self { client_id, user, password };
        match login.packet() {
            Ok(_) => Ok(login),
            Err(error) => Err(format!("config.client_id, user or password: {error}")),
        }
    }

    fn packet(&self) -> Result<Connect, MqttError> {
        // The router keeps the events, the broker need not; without a keep-alive, because nothing runs between events.
        let mut connect = Connect::builder().client_id(&*self.client_id)?.clean_session(true).keep_alive(0);
        if let Some(user) = &self.user {
            connect = connect.user_name(&**user)?;
        }
        if let Some(password) = &self.password {
            connect = connect.password(password.as_str())?;
        }
        connect.build()
    }
}

/// Why a message is not with the broker, or not known to be.
#[derive(Debug)]
pub(crate) enum Problem {
    Connection(io::Error),
    /// The broker does not want us.
    Refused(ConnectReturnCode),
    /// Somebody broke the rules of MQTT.
    Protocol(MqttError),
    /// No packet can hold the message.
    Unfit(MqttError),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(error) => error.fmt(f),
            Self::Refused(code) => write!(f, "the broker refused the connection: {}", meaning(*code)),
            Self::Protocol(error) => write!(f, "not as MQTT 3.1.1 wants it: {error}"),
            Self::Unfit(error) => write!(f, "no MQTT message: {error}"),
        }
    }
}

fn meaning(code: ConnectReturnCode) -> &'static str {
    match code {
        ConnectReturnCode::Accepted => "accepted",
        ConnectReturnCode::UnacceptableProtocolVersion => "it does not speak MQTT 3.1.1",
        ConnectReturnCode::IdentifierRejected => "it does not want config.client_id",
        ConnectReturnCode::ServerUnavailable => "it is not available now",
        ConnectReturnCode::BadUserNameOrPassword => "config.user or config.password is wrong",
        ConnectReturnCode::NotAuthorized => "config.user may not connect, or there is none",
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Connection(error)
    }
}

/// A connection that the broker has accepted.
pub(crate) struct Session {
    stream: TcpStream,
    protocol: Connection<Client>,
}

impl Session {
    /// Connects and logs in; waits for the broker's yes.
    pub(crate) fn open(address: &str, login: &Login) -> Result<Self, Problem> {
        let connect = login.packet().map_err(Problem::Unfit)?;
        let stream = TcpStream::connect(address)?;
        let mut session = Self { stream, protocol: Connection::new(Version::V3_1_1) };
        let events = session.protocol.checked_send(connect);
        session.perform(events)?;
        match session.answer(|packet| match packet {
            Packet::V3_1_1Connack(connack) => Some(connack.return_code()),
            _ => None,
        })? {
            ConnectReturnCode::Accepted => Ok(session),
            refused => Err(Problem::Refused(refused)),
        }
    }

    /// Sends one message and waits until the broker has it.
    pub(crate) fn publish(&mut self, topic: &str, data: &[u8], retain: bool) -> Result<(), Problem> {
        let id = self.protocol.acquire_packet_id().map_err(Problem::Protocol)?;
        let message = Publish::builder().topic_name(topic).map_err(Problem::Unfit)?;
        let message = message.qos(Qos::AtLeastOnce).retain(retain).packet_id(id).payload(data);
        let events = self.protocol.checked_send(message.build().map_err(Problem::Unfit)?);
        self.perform(events)?;
        self.answer(|packet| match packet {
            Packet::V3_1_1Puback(puback) if puback.packet_id() == id => Some(()),
            _ => None,
        })
    }

    /// Reads until the packet comes that `wanted` knows.
    fn answer<T>(&mut self, wanted: impl Fn(&Packet) -> Option<T>) -> Result<T, Problem> {
        let mut buffer = [0; READ_BYTES];
        loop {
            let read = self.stream.read(&mut buffer)?;
            if read == 0 {
                let error = io::Error::new(io::ErrorKind::UnexpectedEof, "the broker closed the connection");
                return Err(error.into());
            }
            let mut unread = Cursor::new(&buffer[..read]);
            let mut found = None;
            // The protocol takes one packet at a time.
            while unread.position() < read as u64 {
                let events = self.protocol.recv(&mut unread);
                found = found.or_else(|| events.iter().find_map(|event| received(event).and_then(&wanted)));
                self.perform(events)?;
            }
            if let Some(found) = found {
                return Ok(found);
            }
        }
    }

    fn perform(&mut self, events: Vec<Event>) -> Result<(), Problem> {
        for event in events {
            match event {
                Event::RequestSendPacket { packet, .. } => {
                    self.stream.write_all(&packet.to_continuous_buffer())?;
                }
                Event::NotifyError(error) => return Err(Problem::Protocol(error)),
                // A refusal is read from its packet; otherwise an error follows, or the next read ends.
                Event::RequestClose
                | Event::NotifyPacketReceived(_)
                | Event::NotifyPacketIdReleased(_)
                // Without a keep-alive there are no timers.
                | Event::RequestTimerReset { .. }
                | Event::RequestTimerCancel(_) => {}
            }
        }
        Ok(())
    }
}

fn received(event: &Event) -> Option<&Packet> {
    match event {
        Event::NotifyPacketReceived(packet) => Some(packet),
        _ => None,
    }
}

#[cfg(test)]
mod tests;

//! What part of a router's work a process does. On NATS the work can be divided: producers take events in, consumers run Channels,
//! and each kind is scaled by itself. Both prepare the same streams.

use std::fmt;

use clap::ValueEnum;
use saf_broker::Kind;

use crate::config::Config;
use crate::exit::Failure;

/// `--role`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Takes events in and runs every Channel.
    #[default]
    All,
    /// Takes events in; runs no Channel, and needs no component.
    Producer,
    /// Runs every Channel; takes no events in.
    Consumer,
}

impl Role {
    /// Whether this role can be had on the configured broker.
    pub(crate) fn check(self, config: &Config) -> Result<(), Failure> {
        if self != Self::All && config.broker.kind == Kind::Embedded {
            return Err(Failure::Config(format!(
                "--role {self} needs a broker that processes share, and the embedded store has one process: set [broker] kind = \
                 \"jetstream\", or leave --role away"
            )));
        }
        Ok(())
    }

    /// The part of a configuration that this role has to do with: a producer knows no Channels, so their consumers and components are
    /// left alone.
    pub(crate) fn part_of(self, mut config: Config) -> Config {
        if self == Self::Producer {
            config.channels.clear();
        }
        config
    }

    /// Whether events come in here.
    pub(super) fn takes_events(self) -> bool {
        match self {
            Self::All | Self::Producer => true,
            Self::Consumer => false,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        })
    }
}

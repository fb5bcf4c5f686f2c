//! wasi:logging 0.1.0-draft: leveled log lines, always granted, and the only output that QuickJS guests have. Lines end in the
//! same place as stdout's, under the same cap and the same escaping. wasmCloud's components import the same without a version.

use wasmtime::component::{HasData, Linker};

use crate::console::{Console, Level};

mod bindings {
    #![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
    wasmtime::component::bindgen!({
        inline: "
            package wasi:logging@0.1.0-draft;
            interface logging {
                enum level { trace, debug, info, warn, error, critical }
                log: func(level: level, context: string, message: string);
            }
            world imports { import logging; }
        ",
        world: "imports",
    });
}

mod unversioned {
    #![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
    wasmtime::component::bindgen!({
        inline: "
            package wasi:logging;
            interface logging {
                enum level { trace, debug, info, warn, error, critical }
                log: func(level: level, context: string, message: string);
            }
            world imports { import logging; }
        ",
        world: "imports",
    });
}

use bindings::wasi::logging::logging as wit;
use unversioned::wasi::logging::logging as wit_unversioned;

struct Logging;

impl HasData for Logging {
    type Data<'a> = &'a mut Console;
}

impl wit::Host for &mut Console {
    fn log(&mut self, level: wit::Level, context: String, message: String) {
        let level = match level {
            wit::Level::Trace => Level::Trace,
            wit::Level::Debug => Level::Debug,
            wit::Level::Info => Level::Info,
            wit::Level::Warn => Level::Warn,
            wit::Level::Error => Level::Error,
            wit::Level::Critical => Level::Critical,
        };
        Console::log(self, level, &context, &message);
    }
}

impl wit_unversioned::Host for &mut Console {
    fn log(&mut self, level: wit_unversioned::Level, context: String, message: String) {
        let level = match level {
            wit_unversioned::Level::Trace => Level::Trace,
            wit_unversioned::Level::Debug => Level::Debug,
            wit_unversioned::Level::Info => Level::Info,
            wit_unversioned::Level::Warn => Level::Warn,
            wit_unversioned::Level::Error => Level::Error,
            wit_unversioned::Level::Critical => Level::Critical,
        };
        Console::log(self, level, &context, &message);
    }
}

/// Adds `wasi:logging/logging`, 0.1.0-draft and without a version.
pub(crate) fn add_to_linker<T: 'static>(
    linker: &mut Linker<T>,
    console: fn(&mut T) -> &mut Console,
) -> wasmtime::Result<()> {
    wit::add_to_linker::<T, Logging>(linker, console)?;
    wit_unversioned::add_to_linker::<T, Logging>(linker, console)
}

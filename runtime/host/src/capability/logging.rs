//! wasi:logging 0.1.0-draft: leveled log lines, always granted, and the only output that QuickJS guests have. Lines end in the
//! same place as stdout's, under the same cap and the same escaping.

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

use bindings::wasi::logging::logging as wit;

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

/// Adds `wasi:logging/logging`.
pub(crate) fn add_to_linker<T: 'static>(
    linker: &mut Linker<T>,
    console: fn(&mut T) -> &mut Console,
) -> wasmtime::Result<()> {
    wit::add_to_linker::<T, Logging>(linker, console)
}

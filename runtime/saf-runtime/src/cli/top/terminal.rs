//! The terminal while `top` has it: its own screen, keys as they are pressed. Whatever ends `top`, a panic and SIGTERM included, the
//! shell gets its terminal back.

use std::io::{BufWriter, Stdout, Write, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{poll, read};
use crossterm::style::Print;
use crossterm::terminal::{
    Clear, ClearType, DisableLineWrap, EnableLineWrap, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{execute, queue};

use super::keys::Press;
use crate::exit::Failure;
use crate::shutdown::Signals;

/// More than a large terminal full of coloured cells.
const SCREEN_BYTES: usize = 64 << 10;
/// What a terminal that does not tell its size has.
const DEFAULT_SIZE: (u16, u16) = (80, 24);

/// A terminal with `top` on it.
pub(super) struct Terminal {
    /// A screen goes out at once: one that is half drawn flickers.
    out: BufWriter<Stdout>,
    told: Arc<AtomicBool>,
}

impl Terminal {
    pub(super) fn open() -> Result<Self, Failure> {
        let told = told_to_end()?;
        enable_raw_mode().map_err(unusable)?;
        // From here on dropping it gives the terminal back.
        let mut terminal = Self { out: BufWriter::with_capacity(SCREEN_BYTES, stdout()), told };
        execute!(terminal.out, EnterAlternateScreen, Hide, DisableLineWrap).map_err(unusable)?;
        Ok(terminal)
    }

    /// Columns and lines.
    pub(super) fn size() -> (usize, usize) {
        let (columns, lines) =
            size().ok().filter(|(columns, lines)| *columns > 0 && *lines > 0).unwrap_or(DEFAULT_SIZE);
        (columns.into(), lines.into())
    }

    /// Replaces what is shown; lines must fit.
    pub(super) fn draw(&mut self, lines: &[String]) -> Result<(), Failure> {
        self.write(lines).map_err(unusable)
    }

    fn write(&mut self, lines: &[String]) -> std::io::Result<()> {
        for (n, line) in lines.iter().enumerate() {
            queue!(self.out, MoveTo(0, n as u16), Print(line), Clear(ClearType::UntilNewLine))?;
        }
        queue!(self.out, MoveTo(0, lines.len() as u16), Clear(ClearType::FromCursorDown))?;
        self.out.flush()
    }

    /// Waits at most so long for a key or another size.
    pub(super) fn press(&mut self, patience: Duration) -> Result<Option<Press>, Failure> {
        if poll(patience).map_err(unusable)? {
            return read().map(|event| Some(event.into())).map_err(unusable);
        }
        Ok(self.told.load(Ordering::Relaxed).then_some(Press::Quit))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        let _ = execute!(self.out, EnableLineWrap, Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn unusable(error: std::io::Error) -> Failure {
    Failure::Check(format!("the terminal cannot be used ({error}): try --once, or --format ndjson"))
}

/// True once SIGTERM or SIGINT came: they would end the process with the terminal in its hands.
fn told_to_end() -> Result<Arc<AtomicBool>, Failure> {
    let told = Arc::new(AtomicBool::new(false));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(Failure::internal)?;
    let mut signals = runtime.block_on(async { Signals::listen() }).map_err(Failure::internal)?;
    let tell = told.clone();
    let wait = move || {
        runtime.block_on(signals.next());
        tell.store(true, Ordering::Relaxed);
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait).map_err(Failure::internal)?;
    Ok(told)
}

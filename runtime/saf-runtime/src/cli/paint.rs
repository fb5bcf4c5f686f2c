//! Colour for terminals, and for nothing else: a pipe, a file, `NO_COLOR` or a dumb terminal get plain text. Colour only repeats
//! what the words say.

use std::io::IsTerminal;

/// Whether output is coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Paint {
    /// As it is.
    #[default]
    Plain,
    /// With the terminal's own colours.
    Coloured,
}

/// What a piece of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it should be.
    Good,
    /// Not as it should be.
    Bad,
    /// Needs an eye.
    Odd,
    /// Of less weight.
    Faint,
}

impl Paint {
    /// For standard output.
    pub(crate) fn of_stdout() -> Self {
        Self::of(std::io::stdout().is_terminal())
    }

    fn of(terminal: bool) -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if terminal && !set("NO_COLOR") && !dumb { Self::Coloured } else { Self::Plain }
    }

    /// `text`, coloured. Must already be fit for a terminal.
    pub(crate) fn tone(self, tone: Tone, text: &str) -> String {
        let code = match (self, tone) {
            (Self::Plain, _) => return text.to_owned(),
            (Self::Coloured, Tone::Good) => "32",
            (Self::Coloured, Tone::Bad) => "31",
            (Self::Coloured, Tone::Odd) => "33",
            (Self::Coloured, Tone::Faint) => "2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_terminal_is_coloured() {
        assert_eq!(Paint::of(false), Paint::Plain);
        assert_eq!(Paint::Plain.tone(Tone::Bad, "no"), "no");
        assert_eq!(Paint::Coloured.tone(Tone::Good, "yes"), "\u{1b}[32myes\u{1b}[0m");
    }
}

//! What keys mean.

use crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};

/// What a person asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Press {
    Quit,
    /// Sort by the column on the left.
    Left,
    Right,
    Reverse,
    Up,
    Down,
    PageUp,
    PageDown,
    Top,
    Bottom,
    /// Draw again: another size, or a key without a meaning.
    Nothing,
}

impl From<Event> for Press {
    fn from(event: Event) -> Self {
        let Event::Key(key) = event else { return Self::Nothing };
        if key.kind == KeyEventKind::Release {
            return Self::Nothing;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if matches!(key.code, KeyCode::Char('c' | 'd')) { Self::Quit } else { Self::Nothing };
        }
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => Self::Quit,
            KeyCode::Left | KeyCode::Char('h' | '<') => Self::Left,
            KeyCode::Right | KeyCode::Char('l' | '>') => Self::Right,
            KeyCode::Char('r') => Self::Reverse,
            KeyCode::Up | KeyCode::Char('k') => Self::Up,
            KeyCode::Down | KeyCode::Char('j') => Self::Down,
            KeyCode::PageUp => Self::PageUp,
            KeyCode::PageDown | KeyCode::Char(' ') => Self::PageDown,
            KeyCode::Home | KeyCode::Char('g') => Self::Top,
            KeyCode::End | KeyCode::Char('G') => Self::Bottom,
            _ => Self::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use crossterm::event::KeyEvent;

    use super::*;

    #[test]
    fn ctrl_c_ends_it_although_the_terminal_is_raw() {
        let key = |code, modifiers| Press::from(Event::Key(KeyEvent::new(code, modifiers)));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Press::Quit);
        assert_eq!(key(KeyCode::Char('q'), KeyModifiers::NONE), Press::Quit);
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::NONE), Press::Nothing);
        assert_eq!(Press::from(Event::Resize(80, 24)), Press::Nothing);
    }
}

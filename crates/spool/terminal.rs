//! What the terminal can do, if there is one: its width, and whether colours are wanted (no-color.org).

use std::io::IsTerminal;
use std::os::fd::AsFd;

/// The terminal on the other side of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    /// In cells; `None` when nobody looks at it, so that nothing is to be wrapped.
    pub width: Option<usize>,
    /// Whether colours are wanted.
    pub colour: bool,
}

impl Terminal {
    /// None at all: a file, a pipe, a test.
    #[cfg(test)]
    pub const NONE: Terminal = Terminal { width: None, colour: false };

    /// What stdout is.
    pub fn of_stdout() -> Terminal {
        let stdout = std::io::stdout();
        if !stdout.is_terminal() {
            return Terminal { width: None, colour: false };
        }
        let size = rustix::termios::tcgetwinsize(stdout.as_fd()).ok();
        let width = size.map(|size| usize::from(size.ws_col)).filter(|width| *width > 0);
        Terminal { width: Some(width.unwrap_or(80)), colour: wants_colour() }
    }

    /// The text in a colour of ECMA-48 (`31` red, `32` green, `33` yellow, `1` bold, `2` faint).
    pub fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Whether the environment lets a program use colours on a terminal.
pub fn wants_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|word| word.is_empty()) && !is_dumb()
}

/// Whether the terminal can do nothing but print.
pub fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty())
}

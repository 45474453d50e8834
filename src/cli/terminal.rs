//! What this process's terminal can do, if it has one: colours, a width, reading without showing.
//!
//! Where standard output is no terminal there is no colour and nothing is cut.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use rustix::termios::{self, LocalModes, OptionalActions, Termios};
use zeroize::Zeroize as _;

use super::failure::{Failure, Result};
use crate::base::secret::Secret;

/// A line of input that is longer is no key; whatever is piped in must not fill the memory.
const LINE_BYTES_MAX: u64 = 4 * 1024;

/// How standard output shows things.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Terminal {
    /// Columns; `None`: not a terminal.
    pub(super) width: Option<usize>,
    /// Whether colours may be used.
    pub(super) colours: bool,
}

impl Terminal {
    /// Looks at standard output.
    pub(super) fn of_stdout(no_color: bool) -> Self {
        let stdout = io::stdout();
        if !stdout.is_terminal() {
            return Self::default();
        }
        let columns = termios::tcgetwinsize(&stdout).map_or(0, |it| usize::from(it.ws_col));
        // Some terminals say 0 when they do not know.
        Self { width: Some(if columns == 0 { 80 } else { columns }), colours: !no_color }
    }
}

/// Writes a result to standard output, with a line end.
pub(super) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()) {
        // `chainhost sites | head -1` is not a failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Input(format!("Cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Says something beside the result, on standard error.
pub(super) fn note(text: &str) {
    // Whoever closed standard error does not want to know.
    drop(writeln!(io::stderr(), "{text}"));
}

/// Shows nothing of what is typed until dropped; does nothing where standard input is no terminal.
pub(super) struct Hidden {
    before: Option<Termios>,
}

impl Hidden {
    /// Asks for something, when there is a terminal to ask on.
    pub(super) fn ask(question: &str) -> Self {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Self { before: None };
        }
        let before = termios::tcgetattr(&stdin).ok();
        if let Some(before) = &before {
            let mut hidden = before.clone();
            hidden.local_modes.remove(LocalModes::ECHO);
            // The line end still shows, as a sign that Enter was taken.
            hidden.local_modes.insert(LocalModes::ECHONL);
            // A terminal that cannot hide still takes the answer.
            let _ = termios::tcsetattr(&stdin, OptionalActions::Flush, &hidden);
        }
        drop(write!(io::stderr(), "{question}"));
        Self { before }
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// The first line of standard input, without outer blanks.
pub(super) fn read_secret_line() -> io::Result<Secret> {
    let mut line = String::new();
    let read = io::Read::take(io::stdin().lock(), LINE_BYTES_MAX).read_line(&mut line);
    let secret = Secret::new(line.trim().to_owned());
    line.zeroize();
    read.map(|_| secret)
}

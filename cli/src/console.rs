//! Standard output: all that the command says goes through `say!`.
//!
//! Output that nobody reads is no reason to stop working. After the first failed write the rest is
//! dropped, and the work goes on to its files.
use std::{
    fmt,
    io::{self, ErrorKind, Write, stderr, stdout},
    sync::OnceLock,
};

/// Why output was lost, once it was.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// Says a line, with the arguments of `println!`.
macro_rules! say {
    ($($argument:tt)*) => { $crate::console::line(format_args!($($argument)*)) };
}
pub(crate) use say;

/// Says a line, unless output was lost before.
pub fn line(text: fmt::Arguments) {
    if !is_lost()
        && let Err(error) = writeln!(stdout(), "{text}")
    {
        // Only the first error counts.
        let _ = LOST.set(error);
    }
}

/// Whether output was lost: its reader went away, or there is no room for it.
pub fn is_lost() -> bool {
    LOST.get().is_some()
}

/// The error that lost output, unless its reader went away: that is no error.
pub fn fault() -> Option<&'static io::Error> {
    LOST.get().filter(|error| error.kind() != ErrorKind::BrokenPipe)
}

/// Says a line on standard error. Without a place to say it, the status says it.
pub fn complain(text: fmt::Arguments) {
    let _ = writeln!(stderr(), "{text}");
}

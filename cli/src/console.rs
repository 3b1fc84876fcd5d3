//! Standard output: all that the command says goes through `say!`.
//!
//! Output that nobody reads is no reason to stop working. After the first failed write the rest is
//! dropped, and the work goes on to its files.
use std::{
    borrow::Cow,
    fmt,
    io::{self, ErrorKind, Write, stderr, stdout},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

/// Why output was lost, once it was.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// Whether to say nothing but warnings and errors.
static QUIET: AtomicBool = AtomicBool::new(false);

/// From now on nothing is said but warnings and errors.
pub fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Whether nothing is said but warnings and errors.
pub fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Says a line, with the arguments of `println!`.
macro_rules! say {
    ($($argument:tt)*) => { $crate::console::line(format_args!($($argument)*)) };
}
pub(crate) use say;

/// Says a line, unless output was lost before or nobody wants to hear.
pub fn line(text: fmt::Arguments) {
    if !is_lost()
        && !is_quiet()
        && let Err(error) = writeln!(stdout(), "{}", printable(&text.to_string()))
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
    let _ = writeln!(stderr(), "{}", printable(&text.to_string()));
}

/// A text as a terminal may get it: names in files may hold what would move its cursor.
pub fn printable(text: &str) -> Cow<'_, str> {
    let acts = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
    if !text.contains(acts) {
        return text.into();
    }
    let letters = text.chars().map(|letter| match acts(letter) {
        true => letter.escape_default().to_string(),
        false => letter.to_string(),
    });
    letters.collect::<String>().into()
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_acts_on_a_terminal_is_escaped() {
        let text = "conv\u{1b}[2J\u{7}\u{9b}weight\tof\nmine";
        assert_eq!(super::printable(text), "conv\\u{1b}[2J\\u{7}\\u{9b}weight\tof\nmine");
        assert_eq!(super::printable("größer"), "größer");
    }
}

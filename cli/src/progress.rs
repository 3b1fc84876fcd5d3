//! A live bar where somebody looks, a line now and then where nobody does.
use crate::console::{self, say};
use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressStyle};
use std::{
    env,
    io::{IsTerminal, stderr},
    sync::{LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Where there is no terminal: time until the first line, and between two lines.
const FIRST: Duration = Duration::from_secs(5);
const BETWEEN: Duration = Duration::from_secs(15);

/// Columns of a terminal below which a bar shows the time that is left, but not the pace.
const NARROW: u16 = 80;

/// All bars, so that one does not write over another.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// The bar of the kernels that a driver compiles.
static COMPILING: Mutex<Option<Progress>> = Mutex::new(None);

/// How far a piece of work is.
pub struct Progress {
    bar: Option<ProgressBar>,
    what: &'static str,
    unit: &'static str,
    done: u64,
    total: u64,
    /// When and from where the pace is counted: after the first piece, in which drivers compile.
    since: (Instant, u64),
    paced: bool,
    /// When the next line is due.
    due: Instant,
}

impl Progress {
    /// Begins `what` at `done` of `total` units.
    pub fn new(what: &'static str, done: u64, total: u64, unit: &'static str) -> Self {
        let bar = shows_bars().then(|| {
            let bar = BARS.add(ProgressBar::new(total));
            let style =
                ProgressStyle::with_template("{prefix} {wide_bar:.cyan/black} {pos}/{len} {msg}");
            bar.set_style(style.expect("a constant template").progress_chars("━━─"));
            bar.set_prefix(what);
            bar.set_position(done);
            bar.set_message(unit);
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        let now = Instant::now();
        let (since, due) = ((now, done), now + FIRST);
        Self { bar, what, unit, done, total, since, paced: false, due }
    }

    /// Notes that `done` units are finished, and says so with `note`.
    pub fn update(&mut self, done: u64, note: &str) {
        self.done = self.done.max(done);
        if !self.paced && done > self.since.1 {
            self.paced = true;
            self.since = (Instant::now(), done);
        }
        let message = self.message(note);
        match &self.bar {
            Some(bar) => {
                bar.set_position(self.done);
                bar.set_message(message);
            }
            None if Instant::now() < self.due => {}
            None => {
                self.due = Instant::now() + BETWEEN;
                let Self { what, unit, done, total, .. } = self;
                say!("{what} {done}/{total} {unit}  {message}");
            }
        }
    }

    /// Says a line above the bars, on standard output as all lines.
    pub fn line(&self, text: &str) {
        BARS.suspend(|| say!("{text}"));
    }

    /// Units per second since the first piece; `None` before there are any.
    pub fn rate(&self) -> Option<f64> {
        let (start, first) = self.since;
        let seconds = start.elapsed().as_secs_f64();
        (self.done > first && seconds > 0.0).then(|| (self.done - first) as f64 / seconds)
    }

    /// The note, the pace and the time that is left.
    fn message(&self, note: &str) -> String {
        let Some(rate) = self.rate() else { return note.to_owned() };
        let left = clock((self.total.saturating_sub(self.done)) as f64 / rate);
        let pace = match self.bar {
            Some(_) if columns() < NARROW => String::new(),
            _ => format!("{rate:.1} {}/s", self.unit),
        };
        let parts = [note, &pace, &format!("{left} left")];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ")
    }
}

/// However the work ends, its bar goes away.
impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Shows that `done` of `of` kernels are compiled, as [`ddim::gpu::Gpu::on_compile`] tells it.
pub fn compiled(done: usize, of: usize) {
    let mut bar = COMPILING.lock().unwrap_or_else(PoisonError::into_inner);
    match &mut *bar {
        Some(bar) if done > 0 => bar.update(done as u64, ""),
        _ => *bar = Some(Progress::new("compiling", done as u64, of as u64, "kernels")),
    }
    if bar.as_ref().is_some_and(|bar| bar.done == bar.total) {
        *bar = None;
    }
}

/// Takes all bars away, for an error to stand alone.
pub fn clear() {
    *COMPILING.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

/// Columns of the terminal.
fn columns() -> u16 {
    terminal_size::terminal_size_of(stderr()).map_or(NARROW, |(width, _)| width.0)
}

/// Whether standard error is a terminal that moves its cursor, and wants to.
fn shows_bars() -> bool {
    let dumb = env::var_os("TERM").is_some_and(|name| name == "dumb");
    stderr().is_terminal() && !dumb && !console::is_quiet()
}

/// Seconds as `4:07` or `2:04:07`.
pub fn clock(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// A number of things: `1 step`, `12,000 steps`.
pub fn counted(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", thousands(number))
}

/// A number with commas between its thousands.
pub fn thousands(number: u64) -> String {
    HumanCount(number).to_string()
}

//! A live bar where somebody looks, a line now and then where nobody does.
use crate::console::say;
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    env,
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

/// Time between two lines where there is no terminal.
const QUIET: Duration = Duration::from_secs(15);

/// How far a piece of work is.
pub struct Progress {
    bar: Option<ProgressBar>,
    what: &'static str,
    unit: &'static str,
    done: u64,
    total: u64,
    /// When and from where the pace is counted: after the first piece, which compiles kernels.
    since: (Instant, u64),
    paced: bool,
    spoke: Instant,
}

impl Progress {
    /// Begins `what` at `done` of `total` units.
    pub fn new(what: &'static str, done: u64, total: u64, unit: &'static str) -> Self {
        let bar = shows_bars().then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let style =
                ProgressStyle::with_template("{prefix} {wide_bar:.cyan/black} {pos}/{len} {msg}");
            bar.set_style(style.expect("a constant template").progress_chars("━━─"));
            bar.set_prefix(what);
            bar.set_position(done);
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        let now = Instant::now();
        Self { bar, what, unit, done, total, since: (now, done), paced: false, spoke: now }
    }

    /// Notes that `done` units are finished, and says so with `note`.
    pub fn update(&mut self, done: u64, note: &str) {
        self.done = done;
        if !self.paced {
            self.paced = true;
            self.since = (Instant::now(), done);
        }
        let message = self.message(note);
        match &self.bar {
            Some(bar) => {
                bar.set_position(done);
                bar.set_message(message);
            }
            None if self.spoke.elapsed() < QUIET => {}
            None => {
                self.spoke = Instant::now();
                let Self { what, unit, total, .. } = self;
                say!("{what} {done}/{total} {unit}  {message}");
            }
        }
    }

    /// Says a line above the bar.
    pub fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => say!("{text}"),
        }
    }

    /// Units per second since the first piece; `None` before there are any.
    pub fn rate(&self) -> Option<f64> {
        let (start, first) = self.since;
        let seconds = start.elapsed().as_secs_f64();
        (self.done > first && seconds > 0.0).then(|| (self.done - first) as f64 / seconds)
    }

    fn message(&self, note: &str) -> String {
        let Some(rate) = self.rate() else { return note.to_owned() };
        let left = (self.total.saturating_sub(self.done)) as f64 / rate;
        format!("{note}  {rate:.1} {}/s  {} left", self.unit, clock(left)).trim_start().to_owned()
    }

    /// Takes the bar away.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Whether standard error is a terminal that moves its cursor.
fn shows_bars() -> bool {
    stderr().is_terminal() && env::var_os("TERM").is_none_or(|name| name != "dumb")
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

/// A number with commas between its thousands.
pub fn thousands(number: u64) -> String {
    HumanCount(number).to_string()
}

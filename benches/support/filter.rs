//! Criterion's filter, which it keeps to itself: what it excludes is neither built nor weighed.
use regex::Regex;
use std::{collections::HashSet, env};

/// Options that take a value in the next argument.
const WITH_VALUE: [&str; 19] = [
    "-c",
    "-s",
    "-b",
    "--color",
    "--colour",
    "--save-baseline",
    "--baseline",
    "--baseline-lenient",
    "--load-baseline",
    "--format",
    "--profile-time",
    "--sample-size",
    "--warm-up-time",
    "--measurement-time",
    "--nresamples",
    "--noise-threshold",
    "--confidence-level",
    "--significance-level",
    "--output-format",
];

/// Which benches run.
pub struct Filter {
    /// Whether they are to be listed only.
    pub lists: bool,
    exact: bool,
    wanted: Option<String>,
    pattern: Option<Regex>,
    /// What runs without a pattern.
    chosen: HashSet<String>,
}

impl Filter {
    /// As criterion reads the command line; `chosen` are the titles that run without a pattern.
    pub fn from_arguments(chosen: HashSet<String>) -> Self {
        let (mut wanted, mut before) = (None, String::new());
        for argument in env::args().skip(1) {
            let is_value = WITH_VALUE.contains(&before.as_str());
            if !argument.starts_with('-') && !is_value && wanted.is_none() {
                wanted = Some(argument.clone());
            }
            before = argument;
        }
        let given = |flag: &str| env::args().any(|argument| argument == flag);
        // Criterion itself says what is wrong with it.
        let pattern = wanted.as_deref().and_then(|pattern| Regex::new(pattern).ok());
        Self { lists: given("--list"), exact: given("--exact"), wanted, pattern, chosen }
    }

    /// Whether a bench of this name runs.
    pub fn matches(&self, title: &str) -> bool {
        match (&self.wanted, &self.pattern) {
            (Some(wanted), _) if self.exact => wanted == title,
            (Some(_), Some(pattern)) => pattern.is_match(title),
            (Some(_), None) => true,
            (None, _) => self.chosen.contains(title),
        }
    }
}

//! The rows of `results.csv`, as text.
use ddim::files::excerpt;
use std::str::FromStr;

/// The first line of the file.
pub const HEADER: &str = "experiment,setting,steps,value,images,seconds";

/// Largest file, in bytes: a row takes little, but many times its letters once it is read.
const LARGEST: usize = 1 << 20;

/// A measured number.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Which experiment.
    pub experiment: String,
    /// Which of its settings.
    pub setting: String,
    /// Sampling steps.
    pub steps: usize,
    /// The number.
    pub value: f64,
    /// Images that it was measured on.
    pub images: usize,
    /// Time on the device.
    pub seconds: f64,
}

impl Row {
    /// Reads the text of a file; a last line without an end is left out.
    pub fn parse(text: &str) -> Result<Vec<Self>, String> {
        if text.len() > LARGEST {
            return Err(format!("expected at most {LARGEST} bytes, found {}", text.len()));
        }
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut lines = whole.lines();
        let header = lines.next().unwrap_or(HEADER);
        if header != HEADER {
            return Err(format!("expected {HEADER:?}, found {}", excerpt(header)));
        }
        lines
            .zip(2..)
            .map(|(line, number)| {
                Self::of_line(line).map_err(|text| format!("line {number}: {text}"))
            })
            .collect()
    }

    fn of_line(line: &str) -> Result<Self, String> {
        let columns: Vec<&str> = line.split(',').collect();
        let [experiment, setting, steps, value, images, seconds] = columns[..] else {
            return Err(format!("expected {HEADER}, found {}", excerpt(line)));
        };
        fn number<T: FromStr>(name: &str, text: &str) -> Result<T, String> {
            text.parse().map_err(|_| format!("{name}: expected a number, found {}", excerpt(text)))
        }
        let row = Self {
            experiment: experiment.into(),
            setting: setting.into(),
            steps: number("steps", steps)?,
            value: number("value", value)?,
            images: number("images", images)?,
            seconds: number("seconds", seconds)?,
        };
        row.check()?;
        Ok(row)
    }

    /// Distances, errors, shares and times are finite, and none is below 0.
    pub fn check(&self) -> Result<(), String> {
        for (name, number) in [("value", self.value), ("seconds", self.seconds)] {
            if !(number >= 0.0 && number.is_finite()) {
                return Err(format!("{name}: expected a finite number from 0, found {number}"));
            }
        }
        Ok(())
    }

    /// Its line, with an end.
    pub fn line(&self) -> String {
        let Self { experiment, setting, steps, value, images, seconds } = self;
        format!("{experiment},{setting},{steps},{value},{images},{seconds:.3}\n")
    }
}

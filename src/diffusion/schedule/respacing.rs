//! The sub-sequences of guided-diffusion, written as its `timestep_respacing`.
use crate::error::ScheduleError;
use std::{fmt, str::FromStr};

use super::Schedule;

const KEY: &str = "timestep_respacing";

/// Which timesteps of a process are kept, as Nichol and Dhariwal's code writes it: `ddim50` or
/// `10,15,20`.
///
/// ```
/// use ddim::diffusion::schedule::Respacing;
///
/// let every: Respacing = "ddim50".parse()?;
/// assert_eq!(every.timesteps(1000)?[..3], [980, 960, 940]);
/// let sections: Respacing = "3,2".parse()?;
/// assert_eq!(sections.timesteps(10)?, [9, 5, 4, 2, 0]);
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Respacing {
    /// `ddimN`: every k-th timestep from 0 on, with the least k that leaves exactly N.
    Ddim(usize),
    /// So many of each of as many sections, as equal as possible, the longer ones first; in each
    /// from its first to its last timestep, at a fractional stride that is rounded.
    Sections(Vec<usize>),
}

impl fmt::Display for Respacing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ddim(count) => write!(f, "ddim{count}"),
            Self::Sections(counts) => {
                let counts: Vec<String> = counts.iter().map(usize::to_string).collect();
                f.write_str(&counts.join(","))
            }
        }
    }
}

impl FromStr for Respacing {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let refuse = |_| {
            let expected = "ddimN or counts like 10,15,20";
            ScheduleError::value(KEY, expected, format!("{text:?}"))
        };
        match text.strip_prefix("ddim") {
            Some(count) => count.parse().map(Self::Ddim).map_err(refuse),
            None => {
                let counts = text.split(',').map(|count| count.trim().parse());
                counts.collect::<Result<_, _>>().map(Self::Sections).map_err(refuse)
            }
        }
    }
}

impl Respacing {
    /// The timesteps kept of `train`, noisiest first.
    ///
    /// # Errors
    /// If `train` is 0 or above [`Schedule::MAX_TIMESTEPS`], no stride leaves exactly N timesteps, a
    /// section is shorter than its count, or nothing is kept.
    pub fn timesteps(&self, train: usize) -> Result<Vec<usize>, ScheduleError> {
        ScheduleError::check("num_train_timesteps", [1, Schedule::MAX_TIMESTEPS], train)?;
        let mut ascending = Vec::new();
        match self {
            &Self::Ddim(count) => {
                let stride = (1..train).find(|stride| train.div_ceil(*stride) == count);
                let Some(stride) = stride else {
                    let expected =
                        format!("a number of steps that an integer stride makes of {train}");
                    return Err(ScheduleError::value(KEY, expected, self));
                };
                ascending.extend((0..train).step_by(stride));
            }
            Self::Sections(counts) => {
                let sections = counts.len().max(1);
                let mut start = 0;
                for (index, &count) in counts.iter().enumerate() {
                    let length = train / sections + usize::from(index < train % sections);
                    if count > length {
                        let expected = format!("at most {length} of section {index}");
                        return Err(ScheduleError::value(KEY, expected, count));
                    }
                    let stride = match count {
                        0 | 1 => 1.0,
                        _ => (length - 1) as f64 / (count - 1) as f64,
                    };
                    // Added up as in their code: a product may round to another timestep.
                    let mut place = 0.0_f64;
                    for _ in 0..count {
                        ascending.push(start + place.round_ties_even() as usize);
                        place += stride;
                    }
                    start += length;
                }
            }
        }
        if ascending.is_empty() {
            return Err(ScheduleError::value(KEY, "at least one timestep", self));
        }
        ascending.reverse();
        Ok(ascending)
    }
}

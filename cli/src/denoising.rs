//! Moments on the way from noise to image, evenly spaced by signal: half of the timesteps are almost
//! all noise.
use ddim::diffusion::{samplers::Table, schedule::Schedule};

/// A moment of a sampling run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// Steps that are done.
    pub steps: usize,
    /// Timestep of the sample; `None` for the image after the last step.
    pub timestep: Option<usize>,
    /// Its share of the image: sqrt(alpha-bar).
    pub signal: f64,
}

/// At most `count` moments of a run along `schedule`, from its first sample to the image. Each is
/// the one nearest to a signal; the signals are evenly spaced.
pub fn moments(table: &Table, schedule: &Schedule, count: usize) -> Vec<Moment> {
    let alphas = schedule.alphas_cumprod();
    let taken = table.steps.iter().enumerate().map(|(steps, step)| {
        let timestep = (step.timestep.round() as usize).min(alphas.len() - 1);
        Moment { steps, timestep: Some(timestep), signal: alphas[timestep].sqrt() }
    });
    let image = Moment { steps: table.steps.len(), timestep: None, signal: 1.0 };
    let all: Vec<Moment> = taken.chain([image]).collect();
    let (first, last) = (all[0].signal, count.saturating_sub(1).max(1));
    let signals = (0..=last).map(|index| first + (1.0 - first) * index as f64 / last as f64);
    let off = |moment: &Moment, signal: f64| (moment.signal - signal).abs();
    let nearest = |signal: f64| {
        // The later of two that are equally near: the last is the image.
        all.iter().rev().copied().min_by(|a, b| off(a, signal).total_cmp(&off(b, signal)))
    };
    let mut moments: Vec<Moment> = signals.filter_map(nearest).collect();
    moments.dedup();
    moments
}

#[cfg(test)]
mod tests {
    use super::*;
    use ddim::diffusion::schedule::SchedulerConfig;

    fn along(steps: usize, count: usize) -> Vec<Moment> {
        let config = SchedulerConfig::default();
        let table = config.ddim(steps, 0.0).expect("a run");
        moments(&table, &config.schedule().expect("a schedule"), count)
    }

    #[test]
    fn moments_are_evenly_spaced_by_signal() {
        let moments = along(50, 11);
        assert_eq!(moments.len(), 11);
        assert_eq!((moments[0].steps, moments[0].timestep), (0, Some(980)));
        assert_eq!((moments[10].steps, moments[10].timestep), (50, None));
        for pair in moments.windows(2) {
            // Twenty timesteps lie between two steps, of at most 0.05 of signal: each moment is off
            // by at most half of that.
            let gap = pair[1].signal - pair[0].signal;
            assert!((gap - 0.1).abs() < 0.05, "{pair:?}");
            assert!(pair[0].steps < pair[1].steps);
        }
    }

    #[test]
    fn short_runs_have_each_moment_once() {
        let moments = along(3, 11);
        let steps: Vec<usize> = moments.iter().map(|moment| moment.steps).collect();
        assert_eq!(steps, [0, 1, 2, 3]);
    }
}

//! Sampling time against the number of steps: a straight line.
use super::{jobs::DISTANCE, record::Record};

/// Images that the time is told of, as many as a job of table 1 has.
pub const IMAGES: usize = 512;

/// The line through the measured times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// Seconds without any step.
    pub offset: f64,
    /// Seconds that a step adds.
    pub slope: f64,
    /// Share of the times' variance that it explains.
    pub r_squared: f64,
}

/// Steps and the seconds of [`IMAGES`] images, of every job of table 1.
pub fn points(record: &Record) -> Vec<(f64, f64)> {
    let seconds = |seconds: f64, images: usize| seconds * IMAGES as f64 / images as f64;
    let rows = record.of(DISTANCE);
    rows.map(|row| (row.steps as f64, seconds(row.seconds, row.images))).collect()
}

/// Least squares; `None` if the points have not two different numbers of steps.
pub fn fit(points: &[(f64, f64)]) -> Option<Line> {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let sum = |of: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>();
    let spread = sum(&|point| (point.0 - x).powi(2));
    if points.is_empty() || spread == 0.0 {
        return None;
    }
    let slope = sum(&|point| (point.0 - x) * (point.1 - y)) / spread;
    let offset = y - slope * x;
    let missed = sum(&|point| (point.1 - offset - slope * point.0).powi(2));
    let r_squared = 1.0 - missed / sum(&|point| (point.1 - y).powi(2));
    Some(Line { offset, slope, r_squared })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_and_what_is_none_is_seen() {
        let straight = |steps: f64| (steps, 3.0 + 0.5 * steps);
        let line = fit(&[10.0, 20.0, 100.0].map(straight)).expect("three points");
        assert!((line.offset - 3.0).abs() < 1e-9 && (line.slope - 0.5).abs() < 1e-12, "{line:?}");
        assert!((line.r_squared - 1.0).abs() < 1e-12, "{line:?}");
        let square = |steps: f64| (steps, steps * steps);
        let line = fit(&[1.0, 2.0, 3.0].map(square)).expect("three points");
        // 1, 4, 9 about 4x - 10/3: what is missed is 1/9 + 4/9 + 1/9, the variance 98/3.
        assert!((line.r_squared - (1.0 - (2.0 / 3.0) / (98.0 / 3.0))).abs() < 1e-12, "{line:?}");
        assert_eq!(fit(&[(10.0, 1.0), (10.0, 2.0)]), None);
        assert_eq!(fit(&[]), None);
    }
}

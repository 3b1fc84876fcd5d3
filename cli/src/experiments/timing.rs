//! Sampling time against the number of steps: a straight line.
use super::{cells::DISTANCE, record::Record};
use crate::failure::Failure;
use plotters::prelude::*;

/// Images that the time is told of, as many as a cell of table 1 has.
pub const IMAGES: usize = 1024;

const DARK: RGBColor = RGBColor(20, 82, 140);
const WARM: RGBColor = RGBColor(214, 96, 38);

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

/// Steps and the seconds of [`IMAGES`] images, of every cell of table 1.
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

/// An SVG of the points and the line, both axes logarithmic.
pub fn chart(points: &[(f64, f64)], line: Line) -> Result<String, Failure> {
    draw(points, line)
        .map_err(|error| Failure::Drawing { what: "the times", message: error.to_string() })
}

fn draw(points: &[(f64, f64)], line: Line) -> Result<String, Box<dyn std::error::Error>> {
    let range = |of: fn(&(f64, f64)) -> f64| {
        let numbers = points.iter().map(of).filter(|number| *number > 0.0);
        let (low, high) = numbers
            .fold((f64::MAX, f64::MIN), |(low, high), number| (low.min(number), high.max(number)));
        if low > high { 1.0..2.0 } else { low / 1.3..high * 1.3 }
    };
    let (steps, seconds) = (range(|point| point.0), range(|point| point.1));
    let at = |steps: f64| (steps, (line.offset + line.slope * steps).max(seconds.start));
    let ends = (0..=50).map(|i| steps.start * (steps.end / steps.start).powf(f64::from(i) / 50.0));
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (860, 380)).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(14)
            .x_label_area_size(42)
            .y_label_area_size(62)
            .build_cartesian_2d(steps.clone().log_scale(), seconds.clone().log_scale())?;
        chart
            .configure_mesh()
            .x_desc("sampling steps S")
            .y_desc(format!("seconds for {IMAGES} images"))
            .label_style(("sans-serif", 14))
            .axis_desc_style(("sans-serif", 15))
            .light_line_style(WHITE.mix(0.0))
            .bold_line_style(BLACK.mix(0.08))
            .x_label_formatter(&|steps| format!("{steps:.0}"))
            .y_label_formatter(&|seconds| format!("{seconds}"))
            .draw()?;
        chart.draw_series(LineSeries::new(ends.map(at), DARK.stroke_width(2)))?;
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 4, WARM.filled())))?;
        area.present()?;
    }
    Ok(svg)
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

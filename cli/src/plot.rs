//! Curves as SVG: the losses of a run, the terms of the variational bound, times against steps.
use crate::failure::Failure;
use ddim::training::Losses;
use plotters::{
    coord::{
        Shift,
        ranged1d::{AsRangedCoord, ValueFormatter},
    },
    prelude::*,
};

/// More points than the plot has pixels say nothing.
const POINTS: usize = 1200;

/// Share of a step in the smoothed line.
const SMOOTHING: f64 = 0.02;

const PALE: RGBColor = RGBColor(178, 200, 220);
const DARK: RGBColor = RGBColor(20, 82, 140);
const WARM: RGBColor = RGBColor(214, 96, 38);

type Plotted<T> = Result<T, Box<dyn std::error::Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Coordinate<R> = <R as AsRangedCoord>::CoordDescType;
type Axes<'a, X, Y> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<Coordinate<X>, Coordinate<Y>>>;
type Points = Vec<(f64, f64)>;

/// An axis: its range, its name, and how its numbers are written.
struct Axis<'a, R>(R, &'a str, &'a dyn Fn(&f64) -> String);

/// An SVG of this height that `plot` fills.
fn svg(
    what: &'static str,
    height: u32,
    plot: impl FnOnce(&Area) -> Plotted<()>,
) -> Result<String, Failure> {
    let mut text = String::new();
    let filled = || -> Plotted<()> {
        let area = SVGBackend::with_string(&mut text, (860, height)).into_drawing_area();
        area.fill(&WHITE)?;
        plot(&area)?;
        Ok(area.present()?)
    };
    filled().map_err(|error| Failure::Plot { what, message: error.to_string() })?;
    Ok(text)
}

/// Axes with room of `left` pixels for the numbers of the second.
fn axes<'a, X, Y>(
    area: &Area<'a>,
    left: u32,
    Axis(x, x_name, x_text): Axis<X>,
    Axis(y, y_name, y_text): Axis<Y>,
) -> Plotted<Axes<'a, X, Y>>
where
    X: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let mut chart = ChartBuilder::on(area)
        .margin(14)
        .x_label_area_size(42)
        .y_label_area_size(left)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .x_desc(x_name)
        .y_desc(y_name)
        .label_style(("sans-serif", 14))
        .axis_desc_style(("sans-serif", 15))
        .light_line_style(WHITE.mix(0.0))
        .bold_line_style(BLACK.mix(0.08))
        .x_label_formatter(&x_text)
        .y_label_formatter(&y_text)
        .draw()?;
    Ok(chart)
}

/// The least and the largest number, or these if there are none.
fn ends(numbers: impl Iterator<Item = f64>, none: (f64, f64)) -> (f64, f64) {
    let (low, high) =
        numbers.fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
    if low > high { none } else { (low, high) }
}

/// The losses of steps, pale with a smoothed line over them, and the losses on held-out images.
pub fn losses(losses: &Losses) -> Result<String, Failure> {
    let steps: Vec<_> = losses.steps.iter().map(|of| (of.step, of.loss)).collect();
    svg("the losses", 400, |area| {
        let visible = |&(step, loss): &(u64, f32)| (step as f64, f64::from(loss.max(1e-6)));
        let all = steps.iter().chain(&losses.held_out).map(|point| visible(point).1);
        let (low, high) = ends(all, (0.01, 1.0));
        let last = steps.last().map_or(1, |(step, _)| *step).max(2) as f64;
        let first = steps.first().map_or(1, |(step, _)| *step) as f64;
        let x = Axis(first.min(last - 1.0)..last, "training step", &|step| format!("{step:.0}"));
        let y = Axis((low * 0.9..high * 1.1).log_scale(), "loss (mean squared error)", &|loss| {
            ((loss * 1e4).round() / 1e4).to_string()
        });
        let mut chart = axes(area, 62, x, y)?;
        let every = steps.len().div_ceil(POINTS).max(1);
        let some = |steps: &[(u64, f32)]| steps.iter().step_by(every).map(visible).collect();
        let held_out: Points = losses.held_out.iter().map(visible).collect();
        let curves: [(&str, RGBColor, u32, Points); 3] = [
            ("each step", PALE, 1, some(&steps)),
            ("smoothed", DARK, 2, some(&smoothed(&steps))),
            ("held out", WARM, 2, held_out),
        ];
        for (name, color, width, points) in curves {
            if points.is_empty() && name == "held out" {
                continue;
            }
            chart
                .draw_series(LineSeries::new(points, color.stroke_width(width)))?
                .label(name)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2))
                });
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .label_font(("sans-serif", 14))
            .border_style(BLACK.mix(0.2))
            .background_style(WHITE.mix(0.85))
            .draw()?;
        Ok(())
    })
}

/// The terms of the bound, `(t, bits per dimension)`.
pub fn terms(terms: &[(f64, f64)]) -> Result<String, Failure> {
    // A logarithm shows them all; what vanishes lies on the lower edge.
    const LEAST: f64 = 1e-9;
    let finite = terms.iter().filter(|(_, bits)| bits.is_finite());
    let visible: Vec<_> = finite.map(|&(t, bits)| (t, bits.max(LEAST))).collect();
    let bits = || visible.iter().map(|(_, bits)| *bits);
    let (low, high) = (bits().fold(1.0, f64::min), bits().fold(LEAST, f64::max));
    let last = terms.last().map_or(1.0, |(t, _)| t.max(1.0));
    svg("the terms of the bound", 400, |area| {
        let x = Axis(0.0..last, "t", &|t| format!("{t:.0}"));
        let y = Axis((low * 0.8..high * 1.25).log_scale(), "L_t (bits per dimension)", &|bits| {
            format!("{bits:.0e}")
        });
        axes(area, 72, x, y)?.draw_series(LineSeries::new(visible, DARK.stroke_width(2)))?;
        Ok(())
    })
}

/// Seconds of so many images against sampling steps, and the line `offset + slope * steps`.
pub fn times(
    points: &[(f64, f64)],
    (offset, slope): (f64, f64),
    images: usize,
) -> Result<String, Failure> {
    let range = |of: fn(&(f64, f64)) -> f64| {
        let numbers = points.iter().map(of).filter(|number| *number > 0.0);
        let (low, high) = ends(numbers, (1.3, 2.0 / 1.3));
        low / 1.3..high * 1.3
    };
    let (steps, seconds) = (range(|point| point.0), range(|point| point.1));
    let at = |steps: f64| (steps, (offset + slope * steps).max(seconds.start));
    let ends = (0..=50).map(|i| steps.start * (steps.end / steps.start).powf(f64::from(i) / 50.0));
    svg("the times", 380, |area| {
        let name = format!("seconds for {images} images");
        let x = Axis(steps.clone().log_scale(), "sampling steps S", &|steps| format!("{steps:.0}"));
        let y = Axis(seconds.clone().log_scale(), &name, &|seconds| format!("{seconds}"));
        let mut chart = axes(area, 62, x, y)?;
        chart.draw_series(LineSeries::new(ends.map(at), DARK.stroke_width(2)))?;
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 4, WARM.filled())))?;
        Ok(())
    })
}

/// The moving average of the losses, without the bias of its beginning.
fn smoothed(steps: &[(u64, f32)]) -> Vec<(u64, f32)> {
    let (mut sum, mut weight) = (0.0, 0.0);
    let smooth = |&(step, loss): &(u64, f32)| {
        sum += SMOOTHING * (f64::from(loss) - sum);
        weight += SMOOTHING * (1.0 - weight);
        (step, (sum / weight) as f32)
    };
    steps.iter().map(smooth).collect()
}

//! Curves as SVG: the losses of a run, the terms of the variational bound, times against steps.
use crate::{failure::Failure, smoothing::smoothed};
use ddim::training::{Losses, Metrics};
use plotters::{
    coord::{
        Shift,
        combinators::WithKeyPoints,
        ranged1d::{AsRangedCoord, ValueFormatter},
    },
    prelude::*,
};
use std::ops::Range;

/// A size of chart.
pub struct Form {
    width: u32,
    height: u32,
    /// Size of the letters.
    font: u32,
    /// About so many numbers at an axis.
    labels: usize,
    /// More points than the chart has pixels say nothing.
    points: usize,
}

/// For a file, and a page on a desk.
pub const WIDE: Form = Form { width: 860, height: 400, font: 15, labels: 8, points: 1200 };

/// For a page on a phone.
pub const NARROW: Form = Form { width: 360, height: 300, font: 17, labels: 5, points: 400 };

const PAPER: RGBColor = RGBColor(255, 255, 255);
const INK: RGBColor = RGBColor(27, 39, 51);
const PALE: RGBColor = RGBColor(150, 178, 204);
const DARK: RGBColor = RGBColor(20, 82, 140);
const WARM: RGBColor = RGBColor(196, 80, 24);

/// What the colors become on a dark page.
const DARK_STYLE: &str = "<style>@media (prefers-color-scheme: dark) {
[fill=\"#FFFFFF\"] { fill: #18212b } [fill=\"#1B2733\"] { fill: #e4eaf0 } [stroke=\"#1B2733\"] { stroke: #e4eaf0 }
[stroke=\"#96B2CC\"] { stroke: #6286a9 } [stroke=\"#14528C\"] { stroke: #74b4ee } [stroke=\"#C45018\"] { stroke: #f29766 }
[fill=\"#C45018\"] { fill: #f29766 }
}</style>
";

type Plotted<T> = Result<T, Box<dyn std::error::Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Coordinate<R> = <R as AsRangedCoord>::CoordDescType;
type Axes<'a, X, Y> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<Coordinate<X>, Coordinate<Y>>>;
type Points = Vec<(f64, f64)>;

/// An axis: its range, its name, and how its numbers are written.
struct Axis<'a, R>(R, &'a str, &'a dyn Fn(&f64) -> String);

/// An SVG that `plot` fills.
fn svg(
    what: &'static str,
    form: &Form,
    plot: impl FnOnce(&Area) -> Plotted<()>,
) -> Result<String, Failure> {
    let mut text = String::new();
    let filled = || -> Plotted<()> {
        let size = (form.width, form.height);
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        area.fill(&PAPER)?;
        plot(&area)?;
        Ok(area.present()?)
    };
    filled().map_err(|error| Failure::Plot { what, message: error.to_string() })?;
    // Behind the first tag.
    Ok(text.replacen(">\n", &format!(">\n{DARK_STYLE}"), 1))
}

/// Axes with room for the numbers of the second.
fn axes<'a, X, Y>(
    area: &Area<'a>,
    form: &Form,
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
        .margin(form.font)
        .x_label_area_size(3 * form.font)
        .y_label_area_size(9 * form.font / 2)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .x_desc(x_name)
        .y_desc(y_name)
        .x_labels(form.labels)
        .axis_style(INK.mix(0.6))
        .label_style(("sans-serif", form.font, &INK))
        .axis_desc_style(("sans-serif", form.font, &INK))
        .light_line_style(PAPER.mix(0.0))
        .bold_line_style(INK.mix(0.12))
        .x_label_formatter(&x_text)
        .y_label_formatter(&y_text)
        .draw()?;
    Ok(chart)
}

/// A logarithmic axis with numbers at the finest of some round steps that make at most `most`.
fn logarithmic(range: Range<f64>, most: usize) -> WithKeyPoints<LogCoord<f64>> {
    const STEPS: [(&[u32], i32); 7] = [
        (&[1, 2, 3, 4, 5, 6, 7, 8, 9], 1),
        (&[1, 2, 5], 1),
        (&[1, 3], 1),
        (&[1], 1),
        (&[1], 2),
        (&[1], 3),
        (&[1], 10),
    ];
    let exponent = |number: f64| number.log10().floor() as i32;
    let exponents = exponent(range.start)..=exponent(range.end);
    // As text, so that 3e-1 is 0.3.
    let number = |(digits, exponent): (u32, i32)| format!("{digits}e{exponent}").parse().ok();
    let steps = STEPS.iter().map(|(digits, every)| -> Vec<f64> {
        let exponents = exponents.clone().filter(|exponent| exponent % every == 0);
        let marks = exponents.flat_map(|of| digits.iter().map(move |digits| (*digits, of)));
        marks.filter_map(number).filter(|mark| range.contains(mark)).collect()
    });
    let marks = steps.into_iter().find(|marks| marks.len() <= most).unwrap_or_default();
    let marks = if marks.len() < 2 { vec![range.start, range.end] } else { marks };
    range.log_scale().with_key_points(marks)
}

/// The least and the largest number, or these if there are none.
fn ends(numbers: impl Iterator<Item = f64>, none: (f64, f64)) -> (f64, f64) {
    let (low, high) =
        numbers.fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
    if low > high { none } else { (low, high) }
}

/// The losses of steps, pale with the smoothed ones over them, and the losses on held-out images.
pub fn losses(losses: &Losses, form: &Form) -> Result<String, Failure> {
    let steps = &losses.steps;
    let visible = |step: u64, loss: f32| (step as f64, f64::from(loss.max(1e-6)));
    let held_out: Points = losses.held_out.iter().map(|&(at, loss)| visible(at, loss)).collect();
    let each = |of: &Metrics| visible(of.step, of.loss);
    let all = steps.iter().map(each).chain(held_out.iter().copied());
    let (low, high) = ends(all.map(|(_, loss)| loss), (0.01, 1.0));
    let last = steps.last().map_or(1, |of| of.step).max(2) as f64;
    let first = steps.first().map_or(1, |of| of.step) as f64;
    // Steps so many apart, and the last.
    let every = steps.len().div_ceil(form.points).max(1);
    let shown: Vec<usize> = (0..steps.len()).rev().step_by(every).collect();
    let after =
        |index: &usize| smoothed(&steps[..=*index]).map(|loss| visible(steps[*index].step, loss));
    let curves: [(&str, RGBColor, u32, Points); 3] = [
        ("each step", PALE, 1, shown.iter().map(|index| each(&steps[*index])).collect()),
        ("smoothed", DARK, 2, shown.iter().filter_map(after).collect()),
        ("held out", WARM, 2, held_out),
    ];
    svg("the losses", form, |area| {
        let x = Axis(first.min(last - 1.0)..last, "training step", &|step| format!("{step:.0}"));
        let range = logarithmic(low * 0.9..high * 1.1, form.labels);
        let y = Axis(range, "loss (mean squared error)", &rounded);
        let mut chart = axes(area, form, x, y)?;
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
            .label_font(("sans-serif", form.font, &INK))
            .border_style(INK.mix(0.2))
            .background_style(PAPER.mix(0.85))
            .draw()?;
        Ok(())
    })
}

/// A number with at most four decimals.
fn rounded(number: &f64) -> String {
    ((number * 1e4).round() / 1e4).to_string()
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
    svg("the terms of the bound", &WIDE, |area| {
        let x = Axis(0.0..last, "t", &|t| format!("{t:.0}"));
        let range = logarithmic(low * 0.8..high * 1.25, WIDE.labels);
        let y = Axis(range, "L_t (bits per dimension)", &|bits| format!("{bits:.0e}"));
        let mut chart = axes(area, &WIDE, x, y)?;
        chart.draw_series(LineSeries::new(visible, DARK.stroke_width(2)))?;
        Ok(())
    })
}

/// Seconds of so many images against sampling steps, and the line `offset + slope * steps`.
pub fn times(
    points: &[(f64, f64)],
    (offset, slope): (f64, f64),
    images: usize,
    form: &Form,
) -> Result<String, Failure> {
    let range = |of: fn(&(f64, f64)) -> f64| {
        let numbers = points.iter().map(of).filter(|number| *number > 0.0);
        let (low, high) = ends(numbers, (1.3, 2.0 / 1.3));
        low / 1.3..high * 1.3
    };
    let (steps, seconds) = (range(|point| point.0), range(|point| point.1));
    let at = |steps: f64| (steps, (offset + slope * steps).max(seconds.start));
    let ends = (0..=50).map(|i| steps.start * (steps.end / steps.start).powf(f64::from(i) / 50.0));
    svg("the times", form, |area| {
        let name = format!("seconds for {images} images");
        let x = logarithmic(steps.clone(), form.labels);
        let y = logarithmic(seconds.clone(), form.labels);
        let x = Axis(x, "sampling steps S", &|steps| format!("{steps:.0}"));
        let mut chart = axes(area, form, x, Axis(y, &name, &rounded))?;
        chart.draw_series(LineSeries::new(ends.map(at), DARK.stroke_width(2)))?;
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 4, WARM.filled())))?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn falling(steps: u64) -> Losses {
        let of = |step: u64| {
            let loss = 1.0 / step as f32;
            Metrics { step, loss, gradient_norm: 1.0, loss_scale: None }
        };
        Losses { steps: (1..=steps).map(of).collect(), held_out: vec![(steps, 0.3)] }
    }

    #[test]
    fn a_logarithmic_axis_has_round_numbers() {
        for (range, most, expected) in [
            (0.24..1.2, 10, &[0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0][..]),
            (0.24..1.2, 5, &[0.5, 1.0]),
            (0.02..1.4, 10, &[0.02, 0.05, 0.1, 0.2, 0.5, 1.0]),
            (0.02..1.4, 5, &[0.03, 0.1, 0.3, 1.0]),
            (1e-9..2.0, 5, &[1e-8, 1e-6, 1e-4, 1e-2, 1.0]),
            // Between two round ones.
            (1.02..1.9, 10, &[1.02, 1.9]),
        ] {
            let range = logarithmic(range, most);
            assert_eq!(range.bold_points(), expected);
        }
    }

    #[test]
    fn charts_of_both_forms_name_their_curves_and_turn_dark() {
        for form in [WIDE, NARROW] {
            let svg = losses(&falling(3000), &form).expect("a chart");
            for text in ["each step", "smoothed", "held out", "training step", "\n0.01\n"] {
                assert!(svg.contains(text), "{text}");
            }
            assert!(svg.contains(&format!("<svg width=\"{}\"", form.width)));
            // Each color has another for dark pages.
            let drawn = svg.replace(DARK_STYLE, "");
            for color in drawn.split("=\"#").skip(1).map(|rest| &rest[..6]) {
                assert!(DARK_STYLE.contains(&format!("\"#{color}\"]")), "{color}");
            }
        }
    }

    #[test]
    fn curves_end_with_the_last_step() {
        let svg = losses(&falling(1777), &WIDE).expect("a chart");
        let line = svg.lines().find(|line| line.contains("#14528C") && line.contains("points"));
        let points = line.and_then(|line| line.split("points=\"").nth(1)).expect("a curve");
        let end: u32 = points.split(',').next().and_then(|x| x.parse().ok()).expect("a place");
        // The last pixel before the margin.
        assert!((1..=2).contains(&(WIDE.width - WIDE.font + 1 - end)), "{end}");
    }
}

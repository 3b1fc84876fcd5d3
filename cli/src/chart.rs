//! Curves of a run as pictures: its losses, and the terms of the variational bound.
use crate::failure::Failure;
use plotters::prelude::*;

/// More points than the chart has pixels say nothing.
const POINTS: usize = 1200;

/// Share of a step in the smoothed line.
const SMOOTHING: f64 = 0.02;

const PALE: RGBColor = RGBColor(178, 200, 220);
const DARK: RGBColor = RGBColor(20, 82, 140);
const WARM: RGBColor = RGBColor(214, 96, 38);

/// An SVG of the losses of steps, pale with a smoothed line over them, and of the losses on held
/// out images, if any.
pub fn losses(steps: &[(u64, f32)], held_out: &[(u64, f32)]) -> Result<String, Failure> {
    draw(steps, held_out)
        .map_err(|error| Failure::Drawing { what: "the losses", message: error.to_string() })
}

fn draw(
    steps: &[(u64, f32)],
    held_out: &[(u64, f32)],
) -> Result<String, Box<dyn std::error::Error>> {
    let visible = |&(step, loss): &(u64, f32)| (step as f64, f64::from(loss.max(1e-6)));
    let smooth = smoothed(steps);
    let all = steps.iter().chain(held_out).map(visible);
    let (mut low, mut high) = (f64::MAX, f64::MIN);
    for (_, loss) in all {
        (low, high) = (low.min(loss), high.max(loss));
    }
    if low > high {
        (low, high) = (0.01, 1.0);
    }
    let last = steps.last().map_or(1, |(step, _)| *step).max(2) as f64;
    let first = steps.first().map_or(1, |(step, _)| *step) as f64;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (860, 400)).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(14)
            .x_label_area_size(42)
            .y_label_area_size(62)
            .build_cartesian_2d(first.min(last - 1.0)..last, (low * 0.9..high * 1.1).log_scale())?;
        chart
            .configure_mesh()
            .x_desc("training step")
            .y_desc("loss (mean squared error)")
            .label_style(("sans-serif", 14))
            .axis_desc_style(("sans-serif", 15))
            .light_line_style(WHITE.mix(0.0))
            .bold_line_style(BLACK.mix(0.08))
            .x_label_formatter(&|step| format!("{step:.0}"))
            .y_label_formatter(&|loss| ((loss * 1e4).round() / 1e4).to_string())
            .draw()?;
        let every = steps.len().div_ceil(POINTS).max(1);
        chart
            .draw_series(LineSeries::new(steps.iter().step_by(every).map(visible), &PALE))?
            .label("each step")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], PALE.stroke_width(2)));
        let line = smooth.iter().step_by(every).map(visible);
        chart
            .draw_series(LineSeries::new(line, DARK.stroke_width(2)))?
            .label("smoothed")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], DARK.stroke_width(2)));
        if !held_out.is_empty() {
            chart
                .draw_series(LineSeries::new(held_out.iter().map(visible), WARM.stroke_width(2)))?
                .label("held out")
                .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], WARM.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .label_font(("sans-serif", 14))
            .border_style(BLACK.mix(0.2))
            .background_style(WHITE.mix(0.85))
            .draw()?;
        area.present()?;
    }
    Ok(svg)
}

/// An SVG of the terms of the bound, `(t, bits per dimension)`.
pub fn terms(terms: &[(f64, f64)]) -> Result<String, Failure> {
    draw_terms(terms).map_err(|error| Failure::Drawing {
        what: "the terms of the bound",
        message: error.to_string(),
    })
}

fn draw_terms(terms: &[(f64, f64)]) -> Result<String, Box<dyn std::error::Error>> {
    // A logarithm shows them all; what vanishes lies on the lower edge.
    const LEAST: f64 = 1e-9;
    let finite = terms.iter().filter(|(_, bits)| bits.is_finite());
    let visible: Vec<_> = finite.map(|&(t, bits)| (t, bits.max(LEAST))).collect();
    let bits = || visible.iter().map(|(_, bits)| *bits);
    let (low, high) = (bits().fold(1.0, f64::min), bits().fold(LEAST, f64::max));
    let last = terms.last().map_or(1.0, |(t, _)| t.max(1.0));
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (860, 400)).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(14)
            .x_label_area_size(42)
            .y_label_area_size(72)
            .build_cartesian_2d(0.0..last, (low * 0.8..high * 1.25).log_scale())?;
        chart
            .configure_mesh()
            .x_desc("t")
            .y_desc("L_t (bits per dimension)")
            .label_style(("sans-serif", 14))
            .axis_desc_style(("sans-serif", 15))
            .light_line_style(WHITE.mix(0.0))
            .bold_line_style(BLACK.mix(0.08))
            .x_label_formatter(&|t| format!("{t:.0}"))
            .y_label_formatter(&|bits| format!("{bits:.0e}"))
            .draw()?;
        chart.draw_series(LineSeries::new(visible, DARK.stroke_width(2)))?;
        area.present()?;
    }
    Ok(svg)
}

/// The moving average of the losses, without the bias of its beginning.
pub fn smoothed(steps: &[(u64, f32)]) -> Vec<(u64, f32)> {
    let (mut sum, mut weight) = (0.0, 0.0);
    let smooth = |&(step, loss): &(u64, f32)| {
        sum += SMOOTHING * (f64::from(loss) - sum);
        weight += SMOOTHING * (1.0 - weight);
        (step, (sum / weight) as f32)
    };
    steps.iter().map(smooth).collect()
}

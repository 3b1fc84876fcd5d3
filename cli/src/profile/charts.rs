//! Charts of a profile: roofline, flame graph, memory.
use super::results::{Group, Results};
use crate::{
    failure::Failure,
    plot::{Axis, DARK, Form, WARM, axes, logarithmic, rounded, svg},
    report::escape,
};
use plotters::prelude::*;
use std::fmt::Write;

/// A dot for each kernel under the two ceilings of the device, the larger the more time it takes.
pub fn roofline(of: &Results, form: &Form) -> Result<String, Failure> {
    let all: f64 = of.kernels.iter().map(|of| of.milliseconds.median).sum();
    let dot = |of: &Group| {
        let seconds = of.milliseconds.median / 1e3;
        let known = of.flops > 0 && of.bytes > 0 && seconds > 0.0;
        let at = (of.flops as f64 / of.bytes.max(1) as f64, of.flops as f64 / seconds / 1e9);
        let radius = 3.0 + 12.0 * (of.milliseconds.median / all).sqrt();
        known.then_some((at, radius as i32))
    };
    let dots: Vec<((f64, f64), i32)> = of.kernels.iter().filter_map(dot).collect();
    let (peak, bandwidth) = (of.flops_per_second / 1e9, of.bytes_per_second / 1e9);
    // The two ceilings meet here.
    let ridge = peak / bandwidth;
    let intensities = dots.iter().map(|((x, _), _)| *x).chain([ridge]);
    let (left, right) =
        intensities.fold((f64::MAX, 0.0_f64), |(low, high), x| (low.min(x), high.max(x)));
    let (left, right) = (left / 2.0, right * 4.0);
    let lowest = dots.iter().map(|((_, y), _)| *y).fold(left * bandwidth, f64::min);
    svg("the roofline", form, |area| {
        let x = logarithmic(left..right, form.labels);
        let y = logarithmic(lowest / 2.0..peak * 2.0, form.labels);
        let x = Axis(x, "operations a byte", &rounded);
        let mut chart = axes(area, form, x, Axis(y, "GFLOP/s", &rounded))?;
        let ceiling = [(left, left * bandwidth), (ridge, peak), (right, peak)];
        chart.draw_series(LineSeries::new(ceiling, DARK.stroke_width(2)))?;
        let circle =
            |(at, radius): &((f64, f64), i32)| Circle::new(*at, *radius, WARM.mix(0.6).filled());
        chart.draw_series(dots.iter().map(circle))?;
        Ok(())
    })
}

/// The memory that tensors take during each launch.
pub fn memory(of: &Results, form: &Form) -> Result<String, Failure> {
    let mib = |(launch, bytes): (usize, &u64)| (launch as f64, *bytes as f64 / f64::from(1 << 20));
    let points: Vec<(f64, f64)> = of.memory.iter().enumerate().map(mib).collect();
    let highest = points.iter().fold(0.0_f64, |highest, (_, y)| highest.max(*y));
    let last = points.len().saturating_sub(1).max(1) as f64;
    svg("the memory", form, |area| {
        let x = Axis(0.0..last, "launch", &|launch| format!("{launch:.0}"));
        let y = Axis(0.0..highest.max(1e-3) * 1.1, "MiB", &rounded);
        let mut chart = axes(area, form, x, y)?;
        chart.draw_series(LineSeries::new(points, DARK.stroke_width(2)))?;
        Ok(())
    })
}

/// Width of the flame graph, and height of a row, in pixels.
const WIDTH: f64 = 1100.0;
const ROW: f64 = 22.0;

/// A part of the model with the time of all that lies in it.
#[derive(Default)]
struct Node {
    milliseconds: f64,
    children: Vec<(String, Node)>,
}

impl Node {
    fn add(&mut self, path: &[&str], milliseconds: f64) {
        self.milliseconds += milliseconds;
        let Some((first, rest)) = path.split_first() else { return };
        let at = self.children.iter().position(|(name, _)| name == first);
        let at = at.unwrap_or_else(|| {
            self.children.push(((*first).to_owned(), Self::default()));
            self.children.len() - 1
        });
        self.children[at].1.add(rest, milliseconds);
    }

    fn depth(&self) -> usize {
        1 + self.children.iter().map(|(_, node)| node.depth()).max().unwrap_or(0)
    }

    /// Draws the node from `x` on, `scale` pixels a millisecond, and what lies in it below.
    fn draw(&self, name: &str, (x, row): (f64, usize), scale: f64, svg: &mut String) {
        let (width, y) = (self.milliseconds * scale, row as f64 * ROW);
        if width < 0.5 {
            return;
        }
        let name = escape(name);
        // As many letters as fit.
        let fitting = (width / 7.0) as usize;
        let label: String =
            if fitting > 2 { name.chars().take(fitting).collect() } else { String::new() };
        let shade = 30 + 12 * (row % 3);
        // Writing to a string does not fail.
        let _ = write!(
            svg,
            "<g><title>{name}: {:.3} ms</title><rect x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\" \
             fill=\"hsl({shade} 70% 60%)\" stroke=\"#fff\" stroke-width=\"0.5\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" font-size=\"12\" font-family=\"sans-serif\" fill=\"#1b2733\">{label}</text></g>",
            self.milliseconds,
            ROW - 1.0,
            x + 3.0,
            y + 15.0,
        );
        let mut x = x;
        for (name, child) in &self.children {
            child.draw(name, (x, row + 1), scale, svg);
            x += child.milliseconds * scale;
        }
    }
}

/// Time by part of the model: a part lies below the one that it belongs to, as wide as its time.
pub fn flame(of: &Results) -> String {
    let mut root = Node::default();
    for Group { name, milliseconds, .. } in &of.scopes {
        // A prime marks backward.
        let (path, side) = match name.strip_suffix('\'') {
            Some(path) => (path, "backward"),
            None => (name.as_str(), "forward"),
        };
        let parts: Vec<&str> = [side].into_iter().chain(path.split('/')).collect();
        root.add(&parts, milliseconds.median);
    }
    let height = root.depth() as f64 * ROW;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" width=\"100%\" role=\"img\" \
         aria-label=\"Time by part of the model\">"
    );
    root.draw("a step", (0.0, 0), WIDTH / root.milliseconds.max(1e-9), &mut svg);
    svg + "</svg>"
}

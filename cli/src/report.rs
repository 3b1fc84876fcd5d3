//! The demo's report: one page that needs nothing beside it, and the same numbers for programs.
use crate::{
    denoising::Moment,
    failure::Failure,
    plot::{self, Form},
    progress::{clock, thousands},
    shell::Next,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use ddim::training::TrainingOptions;
use serde::Serialize;

/// The page with holes like `{{samples}}`.
const TEMPLATE: &str = include_str!("report.html");

/// What pages look like.
const STYLE: &str = include_str!("style.css");

/// Frechet distances in pixel space, to the real digits.
#[derive(Serialize)]
pub struct Distances {
    /// Of the samples.
    pub samples: f64,
    /// Between two random halves of the real digits.
    pub halves: f64,
    /// Of the noise that sampling starts from.
    pub noise: f64,
}

impl Distances {
    /// Each with its name.
    pub fn rows(&self) -> [(&'static str, f64); 3] {
        [
            ("the digits that the model sampled", self.samples),
            ("two random halves of the real digits, to each other", self.halves),
            ("the noise that sampling starts from", self.noise),
        ]
    }
}

/// Settings and results.
#[derive(Serialize)]
pub struct Numbers {
    /// What made them.
    pub software: &'static str,
    pub version: &'static str,
    pub device: String,
    pub parameters: usize,
    pub options: TrainingOptions,
    pub steps: u64,
    pub sampling_steps: usize,
    pub samples: usize,
    pub plan: String,
    pub plan_hash: String,
    pub loss: f32,
    pub training_seconds: f64,
    pub steps_per_second: f64,
    pub sampling_seconds: f64,
    pub seconds: f64,
    pub frechet_distance: Distances,
}

impl Numbers {
    /// As JSON.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and strings are JSON") + "\n"
    }
}

/// What the page shows.
pub struct Pictures {
    /// PNG of samples.
    pub samples: Vec<u8>,
    /// PNG of as many real digits.
    pub real: Vec<u8>,
    /// PNG of x_t from noise to image, a row an image, a column a moment.
    pub denoising: Vec<u8>,
    /// The moments.
    pub moments: Vec<Moment>,
    /// Chart of the loss.
    pub loss: Chart,
}

/// A chart as SVG in two forms.
pub struct Chart {
    /// For a file, and a page on a desk.
    pub wide: String,
    /// For a page on a phone.
    pub narrow: String,
}

impl Chart {
    /// Both forms of a chart.
    pub fn new(plot: impl Fn(&Form) -> Result<String, Failure>) -> Result<Self, Failure> {
        Ok(Self { wide: plot(&plot::WIDE)?, narrow: plot(&plot::NARROW)? })
    }

    /// The form that fits the page.
    pub fn picture(&self, what: &str) -> String {
        let [wide, narrow] =
            [&self.wide, &self.narrow].map(|svg| data_uri("image/svg+xml", svg.as_bytes()));
        format!(
            "<picture><source media=\"(max-width: 640px)\" srcset=\"{narrow}\">\
             <img src=\"{wide}\" alt=\"{what}\"></picture>"
        )
    }
}

/// The page, with the commands that come next.
pub fn page(numbers: &Numbers, pictures: &Pictures, next: &Next) -> String {
    let options = &numbers.options;
    let clip = options.clip.map_or("none".to_owned(), |norm| norm.to_string());
    let settings = [
        ("Device", numbers.device.clone()),
        ("Model", format!("U-Net, {} parameters", thousands(numbers.parameters as u64))),
        ("Channels", "32 at 8x8 pixels, 64 at 4x4 with attention".to_owned()),
        ("Data", "1,797 handwritten digits (UCI, CC BY 4.0)".to_owned()),
        ("Training", format!("{} steps of {} digits", thousands(numbers.steps), options.batch)),
        ("Optimizer", format!("Adam, learning rate {}, clip {clip}", options.learning_rate)),
        ("Moving average", format!("min({}, (1 + i) / (10 + i))", options.ema_decay)),
        ("Noise", "1,000 timesteps, linear schedule".to_owned()),
        ("Sampling", format!("DDIM, {} steps, eta 0", numbers.sampling_steps)),
        ("Seed", options.seed.to_string()),
        ("Training step", numbers.plan.clone()),
        ("Plan hash", numbers.plan_hash.clone()),
        ("Made by", format!("ddim {}", numbers.version)),
    ];
    let sampling = format!("sampling {} digits", thousands(numbers.samples as u64));
    let figures = [
        ("loss at the end", format!("{:.4}", numbers.loss)),
        ("training", clock(numbers.training_seconds)),
        ("steps a second", format!("{:.1}", numbers.steps_per_second)),
        (&sampling[..], clock(numbers.sampling_seconds)),
    ];
    let holes = [
        ("distance", format!("{:.2}", numbers.frechet_distance.samples)),
        ("count", thousands(numbers.samples as u64)),
        ("bars", bars(&numbers.frechet_distance.rows())),
        ("figures", figures.iter().map(|(name, value)| figure(name, value)).collect()),
        ("settings", settings.iter().map(|(name, value)| row(name, [escape(value)])).collect()),
        ("samples", data_uri("image/png", &pictures.samples)),
        ("real", data_uri("image/png", &pictures.real)),
        ("denoising", denoising(pictures)),
        ("loss", pictures.loss.picture("Loss of every training step")),
        ("next", next.iter().map(command).collect()),
    ];
    fill(TEMPLATE, &holes)
}

/// The page with its holes filled, and that of the style.
pub fn fill(template: &str, holes: &[(&str, String)]) -> String {
    let styled = template.replace("{{style}}", STYLE);
    holes.iter().fold(styled, |page, (name, value)| page.replace(&format!("{{{{{name}}}}}"), value))
}

/// A row of a table.
pub fn row(name: &str, cells: impl IntoIterator<Item = String>) -> String {
    let cells: String = cells.into_iter().map(|cell| format!("<td>{cell}</td>")).collect();
    format!("<tr><th>{}</th>{cells}</tr>", escape(name))
}

/// A figure with its name.
pub fn figure(name: &str, value: &str) -> String {
    format!("<div><b>{}</b><span>{}</span></div>", escape(value), escape(name))
}

/// The picture of denoising, with the timestep of each column under it.
fn denoising(pictures: &Pictures) -> String {
    let label = |moment: &Moment| match moment.timestep {
        Some(timestep) => format!("<li>{timestep}</li>"),
        None => "<li>x<sub>0</sub></li>".to_owned(),
    };
    format!(
        "<img class=\"pixels\" src=\"{}\" alt=\"Eight digits emerging from noise\">\
         <ol class=\"under\">{}</ol>",
        data_uri("image/png", &pictures.denoising),
        pictures.moments.iter().map(label).collect::<String>(),
    )
}

/// What a command does, and its line.
fn command((what, line): &(&str, String)) -> String {
    format!("<h3>{}</h3><pre>{}</pre>", escape(what), escape(line))
}

/// Distances as bars over a logarithmic scale of whole decades.
fn bars(rows: &[(&str, f64)]) -> String {
    let known =
        || rows.iter().map(|row| row.1).filter(|distance| *distance > 0.0 && distance.is_finite());
    let least = known().fold(1.0, f64::min).log10().floor();
    let decades = known().fold(1.0, f64::max).log10().ceil().max(least + 1.0) - least;
    let bar = |(name, distance): &(&str, f64)| {
        let share = (distance.max(f64::MIN_POSITIVE).log10() - least) / decades;
        let share = share.clamp(0.005, 1.0) * 100.0;
        format!(
            "<div class=\"bar\"><span>{name}</span><div class=\"track\">\
             <i style=\"width:{share:.1}%\"></i></div><b>{distance:.3}</b></div>"
        )
    };
    let mark = |decade: i32| {
        let (at, number) =
            (100.0 * f64::from(decade) / decades, 10f64.powf(least + f64::from(decade)));
        format!("<em style=\"left:{at:.1}%\">{}</em>", (number * 1e9).round() / 1e9)
    };
    format!(
        "<div style=\"--decades:{decades}\">{}\
         <div class=\"bar scale\"><span></span><div>{}</div></div></div>",
        rows.iter().map(bar).collect::<String>(),
        (0..=decades as i32).map(mark).collect::<String>(),
    )
}

/// A picture inside the page.
pub fn data_uri(kind: &str, bytes: &[u8]) -> String {
    format!("data:{kind};base64,{}", STANDARD.encode(bytes))
}

/// Text that is no markup, and no hole.
pub fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;").replace('{', "&#123;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The luminance of a color of the style, in the first or the second of its themes.
    fn luminance(name: &str, theme: usize) -> f64 {
        let hex = STYLE.split(&format!("--{name}: #")).nth(1 + theme).expect("a color");
        let number = u32::from_str_radix(&hex[..6], 16).expect("six digits");
        let linear = |shift: u32| {
            let share = f64::from(number >> shift & 255) / 255.0;
            if share <= 0.04045 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(16) + 0.7152 * linear(8) + 0.0722 * linear(0)
    }

    #[test]
    fn colors_stand_out_from_their_ground_in_both_themes() {
        // WCAG 2, level AA: 4.5 for text, 3 for bars.
        let pairs = [
            ("ink", "paper", 4.5),
            ("ink", "ground", 4.5),
            ("soft", "paper", 4.5),
            ("soft", "ground", 4.5),
            ("accent", "paper", 3.0),
            ("muted", "paper", 3.0),
        ];
        for (name, ground, least) in pairs {
            for theme in [0, 1] {
                let [one, other] = [name, ground].map(|name| luminance(name, theme) + 0.05);
                let contrast = one.max(other) / one.min(other);
                assert!(contrast >= least, "{name} on {ground}, theme {theme}: {contrast}");
            }
        }
    }

    #[test]
    fn bars_have_a_scale_of_whole_decades_that_holds_them() {
        let bars = bars(&[("a", 0.05), ("b", 500.0)]);
        for text in ["0.0%\">0.01<", "100.0%\">1000<", "width:14.0%", "width:94.0%", "--decades:5"]
        {
            assert!(bars.contains(text), "{text}: {bars}");
        }
        // No number, and none that a logarithm has.
        for distance in [f64::NAN, f64::INFINITY, 0.0, -1e-9, 1.0] {
            let bars = super::bars(&[("a", distance)]);
            assert!(bars.contains("--decades:1\""), "{bars}");
        }
    }

    #[test]
    fn text_fills_no_hole() {
        let page = fill("{{a}}{{b}}", &[("a", escape("<{{b}}>")), ("b", "x".into())]);
        assert_eq!(page, "&lt;&#123;&#123;b}}&gt;x");
    }
}

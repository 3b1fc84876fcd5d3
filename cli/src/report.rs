//! The demo's report: one page that needs nothing beside it, and the same numbers for programs.
use crate::progress::{clock, thousands};
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
    /// PNG of x_t from noise to image, a row an image.
    pub denoising: Vec<u8>,
    /// SVG of the loss.
    pub loss: String,
}

/// The page.
pub fn page(numbers: &Numbers, pictures: &Pictures) -> String {
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
        ("bars", numbers.frechet_distance.rows().map(bar).concat()),
        ("figures", figures.iter().map(|(name, value)| figure(name, value)).collect()),
        ("settings", settings.iter().map(|(name, value)| row(name, [escape(value)])).collect()),
        ("samples", data_uri("image/png", &pictures.samples)),
        ("real", data_uri("image/png", &pictures.real)),
        ("denoising", data_uri("image/png", &pictures.denoising)),
        ("loss", data_uri("image/svg+xml", pictures.loss.as_bytes())),
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

/// A distance as a bar, on a logarithmic scale from 0.03 to 30.
fn bar((name, distance): (&'static str, f64)) -> String {
    let share = ((distance / 0.03).log10() / 3.0).clamp(0.01, 1.0) * 100.0;
    format!(
        "<div class=\"bar\"><span>{name}</span><i style=\"width:{share:.1}%\"></i>\
         <b>{distance:.3}</b></div>"
    )
}

/// A picture inside the page.
pub fn data_uri(kind: &str, bytes: &[u8]) -> String {
    format!("data:{kind};base64,{}", STANDARD.encode(bytes))
}

/// Text that is no markup.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

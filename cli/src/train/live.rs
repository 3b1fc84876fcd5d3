//! The page of a run on its way: it asks for itself again while the run goes on.
use super::run::Run;
use crate::{
    devices::describe,
    failure::Failure,
    plan::summary,
    plot,
    progress::{clock, thousands},
    report::{Chart, escape, figure, fill, row},
    smoothing::smoothed,
};
use ddim::{nn::Model, training::Losses};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where the page is written, below the run's folder.
pub const PAGE: &str = "report.html";

/// By which a page is known.
pub const SIGN: &str = "<title>ddim: a run</title>";

/// The page with holes like `{{samples}}`.
const TEMPLATE: &str = include_str!("live.html");

/// Seconds after which a page of a run that goes on asks for itself.
const REFRESH: u32 = 10;

/// Pictures of samples that are shown at most: the last ones.
const PICTURES: usize = 12;

/// What a page shows that does not change on the way.
pub struct Shown {
    out: PathBuf,
    total: u64,
    batch: usize,
    settings: Vec<(&'static str, String)>,
}

impl Shown {
    /// What is known of a run at its beginning.
    pub fn new(run: &Run, out: &Path) -> Self {
        let (trainer, options) = (&run.trainer, run.trainer.options());
        let [height, width, channels] = run.data.shape();
        let count = thousands(run.data.len() as u64);
        let parameters = thousands(trainer.arenas().elements() as u64);
        let widths = &trainer.model().config().block_out_channels;
        let (beta1, beta2) = options.betas;
        let settings = vec![
            ("Data", format!("{}: {count} of {height}x{width}x{channels}", run.data.name())),
            ("Model", format!("U-Net, {parameters} parameters, channels {widths:?}")),
            ("Classes", trainer.model().classes().map_or("none".into(), |of| of.to_string())),
            ("Batch", options.images().to_string()),
            ("Weights and activations in", options.precision.to_string()),
            ("Optimizer", format!("Adam, betas {beta1} and {beta2}, epsilon {}", options.epsilon)),
            ("Learning rate", options.learning_rate.to_string()),
            ("Moving average", options.ema_decay.to_string()),
            ("Seed", options.seed.to_string()),
            ("Device", describe(trainer.gpu())),
            ("Training step", summary(trainer.plan())),
            ("Made by", format!("ddim {}", env!("CARGO_PKG_VERSION"))),
        ];
        let total = run.notes.steps.into();
        Self { out: out.to_owned(), total, batch: options.images(), settings }
    }

    /// The pictures of samples, by the steps after which they were drawn.
    fn samples(&self) -> String {
        let entries = fs::read_dir(self.out.join("samples")).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let step = |name: String| name.strip_prefix("step-")?.strip_suffix(".png")?.parse().ok();
        let mut steps: Vec<u64> = names.filter_map(step).collect();
        steps.sort_unstable();
        let figure = |step: &u64| {
            format!(
                "<figure><img class=\"pixels\" src=\"samples/step-{step:07}.png\" alt=\"Samples\">\
                 <figcaption>after step {}</figcaption></figure>",
                thousands(*step)
            )
        };
        steps.iter().rev().take(PICTURES).map(figure).collect()
    }
}

/// The page after the steps whose losses are known.
pub fn page(
    shown: &Shown,
    losses: &Losses,
    speed: Option<f64>,
    ended: Option<&str>,
) -> Result<String, Failure> {
    let done = losses.steps.last().map_or(0, |of| of.step);
    let number =
        |number: Option<f32>| number.map_or("none yet".to_owned(), |of| format!("{of:.4}"));
    let left = speed
        .map(|speed| (shown.total - done.min(shown.total)) as f64 * shown.batch as f64 / speed);
    let figures = [
        ("steps", format!("{} of {}", thousands(done), thousands(shown.total))),
        ("smoothed loss", number(smoothed(&losses.steps))),
        ("held-out loss", number(losses.held_out.last().map(|(_, loss)| *loss))),
        ("images a second", speed.map_or("none yet".to_owned(), |of| format!("{of:.1}"))),
        ("left", left.filter(|_| ended.is_none()).map_or("nothing".to_owned(), clock)),
    ];
    let refresh = format!("<meta http-equiv=\"refresh\" content=\"{REFRESH}\">");
    let chart = match losses.steps.is_empty() {
        true => String::new(),
        false => {
            Chart::new(|form| plot::losses(losses, form))?.picture("Loss of every training step")
        }
    };
    let settings = shown.settings.iter().map(|(name, value)| row(name, [escape(value)]));
    let samples = shown.samples();
    let holes = [
        ("refresh", if ended.is_none() { refresh } else { String::new() }),
        ("state", escape(ended.unwrap_or("The run goes on; this page follows it."))),
        ("figures", figures.iter().map(|(name, value)| figure(name, value)).collect()),
        ("loss", chart),
        ("samples", if samples.is_empty() { "<p>None yet.</p>".into() } else { samples }),
        ("settings", settings.collect()),
    ];
    Ok(fill(TEMPLATE, &holes))
}

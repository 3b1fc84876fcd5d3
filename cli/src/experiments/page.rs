//! The page: tables, findings and pictures, as far as they are there.
use super::{
    classifier::{ACCURACY, CLASSIFIER},
    findings,
    jobs::{DISTANCE, ENCODED, Figure, JUDGEMENT, Noise, RECONSTRUCTION, SURE, Sizes, class},
    model::{Provenance, Source},
    record::Record,
    timing,
};
use crate::{
    failure::Failure,
    files, plot,
    progress::{clock, thousands},
    report::{self, Chart, data_uri, escape, fill, row},
};
use ddim::files::read;
use std::path::Path;

/// The page with holes like `{{samples}}`.
const TEMPLATE: &str = include_str!("page.html");

/// Largest picture that the page takes in, in bytes.
const LARGEST_PICTURE: u64 = 64 << 20;

/// What stands where nothing was measured.
const NOTHING: &str = "–";

/// What the page says beside the numbers.
pub struct Page<'a> {
    /// The folder of it all.
    pub folder: &'a Path,
    /// How many images and steps.
    pub sizes: &'a Sizes,
    /// Where the model is from.
    pub source: &'a Source,
    /// How it was trained.
    pub provenance: Provenance,
    /// What computed.
    pub device: String,
    /// Classes of the classifier.
    pub classes: usize,
    /// Images that the samples are compared with.
    pub real: usize,
    /// Settings of the folder, for the last table.
    pub settings: Vec<(String, String)>,
}

impl Page<'_> {
    /// Writes `experiments.html` with all that the record holds.
    pub fn write(&self, record: &Record) -> Result<(), Failure> {
        let sizes = self.sizes;
        let findings = findings::all(record, sizes, self.classes);
        let finding = |of: &findings::Finding| {
            let found = of.found.as_ref().map_or(NOTHING, |(_, found)| found);
            row(of.verdict(), [escape(&of.claim), escape(found)])
        };
        let setting = |(name, value): &(String, String)| row(name, [escape(value)]);
        let (said, times) = times(record)?;
        let losses = match self.source.losses() {
            None => String::new(),
            Some(losses) => {
                let chart = Chart::new(|form| plot::losses(&losses, form))?.picture("losses");
                format!("<section><h2>Training</h2>{chart}</section>")
            }
        };
        let steps: Vec<String> = sizes.consistency.iter().map(usize::to_string).collect();
        let mut holes = vec![
            ("trained", escape(&self.trained())),
            ("figures", self.figures(record)),
            ("findings", findings.iter().map(finding).collect()),
            ("real", thousands(self.real as u64)),
            ("distances", self.distances(record)),
            ("reconstructed", sizes.reconstructed.to_string()),
            ("errors", self.errors(record)),
            ("timed", thousands(timing::IMAGES as u64)),
            ("line", said),
            ("times", times),
            ("shown", sizes.shown_steps.to_string()),
            ("judged", format!("{} samples in {}", sizes.judged.1, sizes.judged.0)),
            ("judgement", self.judgement(record)),
            ("consistency_steps", steps.join(", ")),
            ("losses", losses),
            ("settings", self.settings.iter().map(setting).collect()),
        ];
        for figure in Figure::ALL {
            let file = figure.file();
            let picture = match read(&self.folder.join(file), LARGEST_PICTURE) {
                Ok(bytes) => image(&bytes, file.trim_end_matches(".png")),
                Err(_) => NOTHING.to_owned(),
            };
            holes.push((file.trim_end_matches(".png"), picture));
        }
        files::write(&self.folder.join("experiments.html"), fill(TEMPLATE, &holes))
    }

    /// How long the model was trained.
    fn trained(&self) -> String {
        let steps = self.provenance.steps.map(thousands);
        let model = match (self.source, steps) {
            (Source::Trained { preset, .. }, Some(steps)) => {
                format!("The model was trained here for {steps} steps of {}", preset.options.batch)
            }
            (_, Some(steps)) => format!("The model was taken; it was trained for {steps} steps"),
            (_, None) => "The model was taken; how long it was trained is not known".to_owned(),
        };
        let took =
            self.provenance.seconds.map_or(String::new(), |taken| format!(", in {}", clock(taken)));
        format!("{model}{took}. Device: {}.", self.device)
    }

    fn figures(&self, record: &Record) -> String {
        let best = record.of(DISTANCE).map(|row| row.value).reduce(f64::min);
        let steps = self.sizes.distances.iter().map(|column| column.0).max().unwrap_or(0);
        let sure = record.value(JUDGEMENT, SURE, self.sizes.judged.0);
        let figures = [
            ("samples that the classifier is sure of", percent(sure)),
            ("accuracy of the classifier", percent(record.value(CLASSIFIER, ACCURACY, 0))),
            ("least distance of table 1", number(best, 2)),
            ("sampling steps at most", steps.to_string()),
        ];
        figures.iter().map(|(name, value)| report::figure(name, value)).collect()
    }

    fn distances(&self, record: &Record) -> String {
        let columns = &self.sizes.distances;
        let rows = Noise::ALL.map(|noise| {
            let setting = noise.to_string();
            let value = |(steps, _): &(usize, usize)| record.value(DISTANCE, &setting, *steps);
            row(&setting, columns.iter().map(|column| number(value(column), 2)))
        });
        let images = columns.iter().map(|(_, images)| thousands(*images as u64));
        header(columns.iter().map(|(steps, _)| *steps)) + &rows.concat() + &row("images", images)
    }

    fn errors(&self, record: &Record) -> String {
        let columns = &self.sizes.reconstructions;
        let cells =
            columns.iter().map(|steps| number(record.value(RECONSTRUCTION, ENCODED, *steps), 6));
        header(columns.iter().copied()) + &row("error", cells)
    }

    fn judgement(&self, record: &Record) -> String {
        let share = |setting: &str| {
            row(setting, [percent(record.value(JUDGEMENT, setting, self.sizes.judged.0))])
        };
        share(SURE) + &(0..self.classes).map(|number| share(&class(number))).collect::<String>()
    }
}

/// What is said of the line through the measured times, and their plot.
fn times(record: &Record) -> Result<(String, String), Failure> {
    let points = timing::points(record);
    let Some(line) = timing::fit(&points) else {
        return Ok((String::new(), NOTHING.to_owned()));
    };
    let said = format!(
        "It explains {:.3}% of their variance: R² is {:.5}. A step of an image takes {:.3} ms.",
        100.0 * line.r_squared,
        line.r_squared,
        1e3 * line.slope / timing::IMAGES as f64,
    );
    let plot = |form: &_| plot::times(&points, (line.offset, line.slope), timing::IMAGES, form);
    Ok((said, Chart::new(plot)?.picture("times")))
}

fn header(steps: impl Iterator<Item = usize>) -> String {
    let cells: String = steps.map(|steps| format!("<th>S = {steps}</th>")).collect();
    format!("<tr><th></th>{cells}</tr>")
}

fn number(number: Option<f64>, digits: usize) -> String {
    number.map_or(NOTHING.to_owned(), |number| format!("{number:.digits$}"))
}

fn percent(share: Option<f64>) -> String {
    share.map_or(NOTHING.to_owned(), |share| format!("{:.1}%", 100.0 * share))
}

fn image(png: &[u8], what: &str) -> String {
    format!("<img class=\"pixels\" src=\"{}\" alt=\"{what}\">", data_uri("image/png", png))
}

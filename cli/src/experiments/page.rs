//! The page: tables, findings and pictures, as far as they are there.
use super::{
    cells::{DISTANCE, ENCODED, JUDGEMENT, Noise, RECONSTRUCTION, SURE, Show, Sizes, class},
    findings,
    model::{Source, Story},
    record::{Record, Row},
    timing,
};
use crate::{
    failure::Failure,
    files,
    progress::{clock, thousands},
    report::{data_uri, escape, fill},
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
    pub story: Story,
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
            format!(
                "<tr><th>{}</th><td>{}</td><td>{}</td></tr>",
                of.verdict(),
                escape(&of.claim),
                escape(found)
            )
        };
        let setting = |(name, value): &(String, String)| {
            format!("<tr><th>{name}</th><td>{}</td></tr>", escape(value))
        };
        let points = timing::points(record);
        let line = timing::fit(&points);
        let (said, times) = match line {
            None => (String::new(), NOTHING.to_owned()),
            Some(line) => {
                let step = 1e3 * line.slope / timing::IMAGES as f64;
                let said = format!(
                    "It explains {:.3}% of their variance: R² is {:.5}. A step of an image takes {step:.3} ms.",
                    100.0 * line.r_squared,
                    line.r_squared
                );
                (said, image("image/svg+xml", timing::chart(&points, line)?.as_bytes(), "times"))
            }
        };
        let losses = self.source.losses().map_or(String::new(), |svg| {
            let chart = image("image/svg+xml", svg.as_bytes(), "losses");
            format!("<section><h2>Training</h2>{chart}</section>")
        });
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
        for show in Show::ALL {
            let file = show.file();
            let picture = match read(&self.folder.join(file), LARGEST_PICTURE) {
                Ok(bytes) => image("image/png", &bytes, file),
                Err(_) => NOTHING.to_owned(),
            };
            holes.push((file.trim_end_matches(".png"), picture));
        }
        files::write(&self.folder.join("experiments.html"), fill(TEMPLATE, &holes))
    }

    /// How long the model was trained.
    fn trained(&self) -> String {
        let steps = self.story.steps.map(thousands);
        let model = match (self.source, steps) {
            (Source::Trained { preset, .. }, Some(steps)) => {
                format!("The model was trained here for {steps} steps of {}", preset.options.batch)
            }
            (_, Some(steps)) => format!("The model was taken; it was trained for {steps} steps"),
            (_, None) => "The model was taken; how long it was trained is not known".to_owned(),
        };
        let took =
            self.story.seconds.map_or(String::new(), |taken| format!(", in {}", clock(taken)));
        format!("{model}{took}. Device: {}.", self.device)
    }

    fn figures(&self, record: &Record) -> String {
        let percent = |row: Option<&Row>| {
            row.map_or(NOTHING.to_owned(), |row| format!("{:.1}%", 100.0 * row.value))
        };
        let (judged, accuracy) = (self.sizes.judged.0, super::judge::ACCURACY);
        let columns = &self.sizes.distances;
        let best = record.of(DISTANCE).map(|row| row.value).fold(f64::INFINITY, f64::min);
        let best = if best.is_finite() { format!("{best:.2}") } else { NOTHING.into() };
        let steps = columns.iter().map(|column| column.0).max().unwrap_or(0);
        let figures = [
            (
                "samples that the classifier is sure of",
                percent(record.find(JUDGEMENT, SURE, judged)),
            ),
            (
                "accuracy of the classifier",
                percent(record.find(super::judge::CLASSIFIER, accuracy, 0)),
            ),
            ("least distance of table 1", best),
            ("sampling steps at most", steps.to_string()),
        ];
        let figure = |(name, value): &(&str, String)| {
            format!("<div><b>{value}</b><span>{name}</span></div>")
        };
        figures.iter().map(figure).collect()
    }

    fn distances(&self, record: &Record) -> String {
        let columns = &self.sizes.distances;
        let head = columns.iter().map(|(steps, _)| format!("S = {steps}"));
        let rows = Noise::ALL.map(|noise| {
            let setting = noise.to_string();
            let cells =
                columns.iter().map(|(steps, _)| number(record.find(DISTANCE, &setting, *steps), 2));
            row(&setting, cells)
        });
        let images = columns.iter().map(|(_, images)| thousands(*images as u64));
        header(head) + &rows.concat() + &row("images", images)
    }

    fn errors(&self, record: &Record) -> String {
        let columns = &self.sizes.reconstructions;
        let cells =
            columns.iter().map(|steps| number(record.find(RECONSTRUCTION, ENCODED, *steps), 6));
        header(columns.iter().map(|steps| format!("S = {steps}"))) + &row("error", cells)
    }

    fn judgement(&self, record: &Record) -> String {
        let share = |setting: &str| {
            let found = record.find(JUDGEMENT, setting, self.sizes.judged.0);
            let text = found.map_or(NOTHING.to_owned(), |row| format!("{:.1}%", 100.0 * row.value));
            row(setting, [text].into_iter())
        };
        share(SURE) + &(0..self.classes).map(|number| share(&class(number))).collect::<String>()
    }
}

fn header(cells: impl Iterator<Item = String>) -> String {
    let cells: String = cells.map(|cell| format!("<th>{cell}</th>")).collect();
    format!("<tr><th></th>{cells}</tr>")
}

fn row(name: &str, cells: impl Iterator<Item = String>) -> String {
    let cells: String = cells.map(|cell| format!("<td>{cell}</td>")).collect();
    format!("<tr><th>{name}</th>{cells}</tr>")
}

fn number(row: Option<&Row>, digits: usize) -> String {
    row.map_or(NOTHING.to_owned(), |row| format!("{:.digits$}", row.value))
}

fn image(kind: &str, bytes: &[u8], what: &str) -> String {
    let pixels = if kind == "image/png" { " class=\"pixels\"" } else { "" };
    format!("<img{pixels} src=\"{}\" alt=\"{what}\">", data_uri(kind, bytes))
}

//! What is measured: jobs of the paper's tables, and pictures.
use serde::Serialize;
use std::fmt;

/// How much noise the sampler adds: a row of table 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Noise {
    /// That share of DDPM's, equation 16.
    Eta(f64),
    /// sigma-hat, appendix D.3: more than DDPM's posterior has.
    SigmaHat,
}

impl Noise {
    /// The rows of table 1.
    pub const ALL: [Self; 5] =
        [Self::Eta(0.0), Self::Eta(0.2), Self::Eta(0.5), Self::Eta(1.0), Self::SigmaHat];
}

impl fmt::Display for Noise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Eta(eta) => write!(f, "eta {eta}"),
            Self::SigmaHat => f.write_str("sigma-hat"),
        }
    }
}

/// A picture of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Samples.
    Samples,
    /// The same x_T with fewer and more steps.
    Consistency,
    /// Between two x_T.
    Interpolation,
    /// The same x_T with more and more noise added on the way.
    Eta,
    /// Real images, encoded and decoded again.
    Reconstruction,
}

impl Figure {
    /// All of them, in the order of the page.
    pub const ALL: [Self; 5] =
        [Self::Samples, Self::Consistency, Self::Interpolation, Self::Eta, Self::Reconstruction];

    /// Its file.
    pub fn file(self) -> &'static str {
        match self {
            Self::Samples => "samples.png",
            Self::Consistency => "consistency.png",
            Self::Interpolation => "interpolation.png",
            Self::Eta => "eta.png",
            Self::Reconstruction => "reconstruction.png",
        }
    }
}

/// How many images and steps; part of the settings that a folder is bound to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sizes {
    /// Columns of table 1: steps and images.
    pub distances: Vec<(usize, usize)>,
    /// Columns of table 2.
    pub reconstructions: Vec<usize>,
    /// Images of each of its jobs.
    pub reconstructed: usize,
    /// Steps and images of what the classifier judges.
    pub judged: (usize, usize),
    /// Steps of the picture of consistency.
    pub consistency: Vec<usize>,
    /// Steps of the other pictures.
    pub shown_steps: usize,
    /// Training steps of the classifier.
    pub classifier_steps: u64,
}

impl Sizes {
    /// Those of the paper, with fewer images: 1.87 million steps of an image.
    pub fn of_the_paper() -> Self {
        Self {
            distances: vec![(10, 512), (20, 512), (50, 512), (100, 512), (1000, 256)],
            reconstructions: vec![10, 20, 50, 100, 200, 500, 1000],
            reconstructed: 32,
            judged: (20, 256),
            consistency: vec![10, 20, 50, 100],
            shown_steps: 50,
            classifier_steps: 940,
        }
    }
}

/// A piece of work that is done whole or not at all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Job {
    pub experiment: Experiment,
    /// Steps of its longest run.
    pub steps: usize,
    /// Images that it measures.
    pub images: usize,
    /// Sampling steps of all its images together.
    pub work: usize,
}

/// What a job finds out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Experiment {
    /// Table 1.
    Distance(Noise),
    /// Table 2.
    Reconstruction,
    /// What the classifier says of samples.
    Judged,
    Picture(Figure),
}

/// The experiments by their names in the CSV.
pub const DISTANCE: &str = "distance";
pub const RECONSTRUCTION: &str = "reconstruction";
pub const JUDGEMENT: &str = "judgement";

/// Settings of rows of the CSV that belong to no noise.
pub const ENCODED: &str = "encoded and decoded";
pub const SURE: &str = "over 0.9 sure";

/// The setting of a class's share.
pub fn class(number: usize) -> String {
    format!("class {number}")
}

impl Job {
    /// All jobs of at most `limit` steps, the quickest first.
    pub fn all(sizes: &Sizes, limit: usize) -> Vec<Self> {
        let job = |experiment, steps, images, work| Self { experiment, steps, images, work };
        let distances = sizes.distances.iter().flat_map(|&(steps, images)| {
            let of = |noise| job(Experiment::Distance(noise), steps, images, steps * images);
            Noise::ALL.map(of)
        });
        let images = sizes.reconstructed;
        let there_and_back =
            |&steps: &usize| job(Experiment::Reconstruction, steps, images, 2 * steps * images);
        let (steps, images) = sizes.judged;
        let judged = job(Experiment::Judged, steps, images, steps * images);
        let pictures = Figure::ALL.map(|figure| {
            let (steps, work) = figure.work(sizes);
            job(Experiment::Picture(figure), steps, 0, work)
        });
        let tables = distances.chain(sizes.reconstructions.iter().map(there_and_back));
        let all = tables.chain([judged]).chain(pictures);
        let mut jobs: Vec<Self> = all.filter(|job| job.steps <= limit).collect();
        jobs.sort_by_key(|job| job.work);
        jobs
    }

    /// Experiment and settings of the rows that it writes to the CSV.
    pub fn rows(&self, classes: usize) -> (&'static str, Vec<String>) {
        match self.experiment {
            Experiment::Distance(noise) => (DISTANCE, vec![noise.to_string()]),
            Experiment::Reconstruction => (RECONSTRUCTION, vec![ENCODED.into()]),
            Experiment::Judged => {
                let shares = (0..classes).map(class);
                (JUDGEMENT, [SURE.to_owned()].into_iter().chain(shares).collect())
            }
            Experiment::Picture(_) => ("picture", Vec::new()),
        }
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.rows(0).0;
        match self.experiment {
            Experiment::Distance(noise) => write!(f, "{name}, {noise}, S = {}", self.steps),
            Experiment::Picture(figure) => f.write_str(figure.file()),
            _ => write!(f, "{name}, S = {}", self.steps),
        }
    }
}

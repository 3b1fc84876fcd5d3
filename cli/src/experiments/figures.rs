//! The pictures of the page.
use super::{
    jobs::{Figure, Noise, Sizes},
    runner::Runner,
};
use crate::{encode::arc, failure::Failure};
use ddim::pictures::{Picture, columns, comfortable_scale};

/// Samples in their picture.
const SAMPLES: usize = 64;

/// Images side by side in the others.
const COLUMNS: usize = 12;

/// Pairs of noise between which is interpolated.
const PAIRS: usize = 4;

/// Rows of the picture of eta.
const ETAS: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];

impl Figure {
    /// Steps of its longest run, and the sampling steps of all its images together.
    pub fn work(self, sizes: &Sizes) -> (usize, usize) {
        let steps = sizes.shown_steps;
        match self {
            Self::Samples => (steps, steps * SAMPLES),
            Self::Consistency => {
                let most = sizes.consistency.iter().copied().max().unwrap_or(0);
                (most, sizes.consistency.iter().sum::<usize>() * COLUMNS)
            }
            Self::Interpolation => (steps, steps * PAIRS * COLUMNS),
            Self::Eta => (steps, steps * ETAS.len() * COLUMNS),
            Self::Reconstruction => (steps, 2 * steps * COLUMNS),
        }
    }

    /// Makes it, as the bytes of a PNG.
    pub fn make(self, runner: &mut Runner) -> Result<Vec<u8>, Failure> {
        let steps = runner.sizes.shown_steps;
        let shape @ [height, width, channels] = runner.shape();
        let still = runner.table(Noise::Eta(0.0), steps)?;
        let mut across = COLUMNS;
        let mut images = Vec::new();
        match self {
            Self::Samples => {
                across = columns(SAMPLES);
                images = runner.sample(&still, SAMPLES)?;
            }
            Self::Consistency => {
                for &steps in &runner.sizes.consistency {
                    let table = runner.table(Noise::Eta(0.0), steps)?;
                    images.extend(runner.sample(&table, COLUMNS)?);
                }
            }
            Self::Interpolation => {
                let noise = runner.noise(&still, 2 * PAIRS)?;
                let pairs = noise.chunks_exact(2 * height * width * channels);
                let points: Vec<f32> = pairs.flat_map(|pair| arc(pair, COLUMNS)).collect();
                images = runner.sample_from(&still, &points)?;
            }
            Self::Eta => {
                for eta in ETAS {
                    let table = runner.table(Noise::Eta(eta), steps)?;
                    images.extend(runner.sample(&table, COLUMNS)?);
                }
            }
            Self::Reconstruction => {
                images = runner.some_real(COLUMNS);
                let (again, _) = runner.there_and_back(&images, steps)?;
                images.extend(again);
            }
        }
        Ok(Picture::grid(&images, shape, across, comfortable_scale(height, width))?.png()?)
    }
}

//! The pictures of the page.
use super::{
    cells::{Noise, Show, Sizes},
    laboratory::Laboratory,
};
use crate::{
    encode::arc,
    failure::Failure,
    pictures::{Picture, columns, comfortable_scale},
};

/// Samples in their picture.
const SAMPLES: usize = 64;

/// Images side by side in the others.
const COLUMNS: usize = 12;

/// Pairs of noise between which is interpolated.
const PAIRS: usize = 4;

/// Rows of the picture of eta.
const ETAS: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];

impl Show {
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

    /// Draws it, as the bytes of a PNG.
    pub fn draw(self, laboratory: &mut Laboratory) -> Result<Vec<u8>, Failure> {
        let steps = laboratory.sizes.shown_steps;
        let shape @ [height, width, channels] = laboratory.shape();
        let still = laboratory.drawing(Noise::Eta(0.0), steps)?;
        let mut across = COLUMNS;
        let mut images = Vec::new();
        match self {
            Self::Samples => {
                across = columns(SAMPLES);
                images = laboratory.draw(&still, SAMPLES, None)?.0;
            }
            Self::Consistency => {
                for &steps in &laboratory.sizes.consistency {
                    let table = laboratory.drawing(Noise::Eta(0.0), steps)?;
                    images.extend(laboratory.draw(&table, COLUMNS, None)?.0);
                }
            }
            Self::Interpolation => {
                let noise = laboratory.noise(&still, 2 * PAIRS)?;
                let points: Vec<f32> = noise
                    .chunks_exact(2 * height * width * channels)
                    .flat_map(|pair| arc(pair, COLUMNS))
                    .collect();
                images = laboratory.draw(&still, PAIRS * COLUMNS, Some(&points))?.0;
            }
            Self::Eta => {
                for eta in ETAS {
                    let table = laboratory.drawing(Noise::Eta(eta), steps)?;
                    images.extend(laboratory.draw(&table, COLUMNS, None)?.0);
                }
            }
            Self::Reconstruction => {
                images = laboratory.some_real(COLUMNS);
                let (again, _) = laboratory.there_and_back(&images, steps)?;
                images.extend(again);
            }
        }
        Picture::grid(&images, shape, across, comfortable_scale(height, width))?.png()
    }
}

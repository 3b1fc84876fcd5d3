//! What an image is encoded to: a normal distribution of latents.

/// The bounds of a logarithm of a variance.
const LEAST: f32 = -30.0;
const LARGEST: f32 = 20.0;

/// Independent normal distributions of the elements of latents.
///
/// Example: [`crate::models::autoencoder_kl`].
#[derive(Clone, Debug, PartialEq)]
pub struct Posterior {
    /// Their means, `[batch, height, width, channels]`.
    pub mean: Vec<f32>,
    /// The logarithms of their variances, -30 to 20.
    pub logvar: Vec<f32>,
}

impl Posterior {
    /// From an encoder's result `[.., 2 channels]`: means, then logarithms of variances.
    pub fn of(moments: &[f32], channels: usize) -> Self {
        let (mut mean, mut logvar) = (Vec::new(), Vec::new());
        for pixel in moments.chunks_exact(2 * channels) {
            mean.extend(&pixel[..channels]);
            logvar.extend(pixel[channels..].iter().map(|x| x.clamp(LEAST, LARGEST)));
        }
        Self { mean, logvar }
    }

    /// The latents that standard normal `noise` draws.
    pub fn sample(&self, noise: &[f32]) -> Vec<f32> {
        let distributions = self.mean.iter().zip(&self.logvar);
        let draw = |((mean, logvar), noise): ((&f32, &f32), &f32)| {
            (f64::from(*mean) + (0.5 * f64::from(*logvar)).exp() * f64::from(*noise)) as f32
        };
        distributions.zip(noise).map(draw).collect()
    }
}

//! Runs that begin at a picture: Meng et al. 2022 (SDEdit), and Lugmayr et al. 2022 (RePaint) without its jumps back.
use crate::{
    diffusion::{samplers::Table, schedule::Level},
    error::{ScheduleError, Unexpected},
};

/// The last steps of a run, a share `strength` of them, rounded down: what is left to do for a picture that is
/// not all noise.
///
/// # Errors
/// If the share is none of at least one step, or steps read what earlier ones kept.
///
/// ```
/// use ddim::{diffusion::schedule::SchedulerConfig, latent::partial};
///
/// let table = SchedulerConfig::default().ddim(50, 0.0)?;
/// let rest = partial(table, 0.5)?;
/// assert_eq!((rest.steps.len(), rest.steps[0].timestep), (25, 480.0));
/// # Ok::<(), ddim::Error>(())
/// ```
pub fn partial(mut table: Table, strength: f64) -> Result<Table, ScheduleError> {
    let steps = table.steps.len();
    let run = ((steps as f64 * strength) as usize).min(steps);
    let expected = format!("at most 1, and at least one of {steps} steps");
    let fits = strength <= 1.0 && run > 0;
    Unexpected::check(fits, "strength", expected, strength)?;
    if run < steps && table.memories() > 0 {
        let expected = "1 for a sampler whose steps read earlier ones: choose ddim or ddpm";
        return Err(ScheduleError::value("strength", expected, strength));
    }
    table.steps.drain(..steps - run);
    Ok(table)
}

/// Latents with standard normal noise at a level: `alpha latent + sigma noise`.
///
/// Example: [`KeptPart`].
pub fn noised(level: &Level, latent: &[f32], noise: &[f32]) -> Vec<f32> {
    let mix = |(z, noise): (&f32, &f32)| {
        (level.alpha * f64::from(*z) + level.sigma * f64::from(*noise)) as f32
    };
    latent.iter().zip(noise).map(mix).collect()
}

/// The mask `[batch, height / factor, width / factor]` of latents: 1 where the mask `[batch, height, width]` of
/// the pictures is 0.5 or more at the first pixel of a block, else 0.
///
/// Example: [`KeptPart`].
pub fn latent_mask(mask: &[f32], [batch, height, width]: [usize; 3], factor: usize) -> Vec<f32> {
    let mut pixels = Vec::new();
    for image in 0..batch {
        for row in (0..height).step_by(factor) {
            let start = (image * height + row) * width;
            let row = mask[start..start + width].iter().step_by(factor);
            pixels.extend(row.map(|&of| if of >= 0.5 { 1.0 } else { 0.0 }));
        }
    }
    pixels
}

/// A part of a picture that a run keeps: after each step it is put back, with the noise of that level.
///
/// ```
/// use ddim::{diffusion::schedule::Level, latent::{KeptPart, latent_mask, noised}};
///
/// // The right half of a picture of 2x4 is painted anew; it has two pixels of latents.
/// let mask = latent_mask(&[0.0_f32, 0.0, 1.0, 1.0].repeat(2), [1, 2, 4], 2);
/// assert_eq!(mask, [0.0, 1.0]);
/// let (latent, noise, level) = ([0.5, 0.5], [1.0, -1.0], Level::flow(250.0, 0.25));
/// let kept = KeptPart { latent: &latent, noise: &noise, mask: &mask };
/// let mut x = [9.0, 9.0];
/// kept.put_back(&mut x, Some(&level));
/// assert_eq!(x, [noised(&level, &latent, &noise)[0], 9.0]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct KeptPart<'a> {
    /// The picture's latents, `[batch, height, width, channels]`.
    pub latent: &'a [f32],
    /// The noise on them, the same in every step.
    pub noise: &'a [f32],
    /// [`latent_mask`]: 1 is painted anew, 0 is kept.
    pub mask: &'a [f32],
}

impl KeptPart<'_> {
    /// Puts the kept part into `x`, at the level of the next step, or without noise after the last.
    pub fn put_back(&self, x: &mut [f32], next: Option<&Level>) {
        let kept = noised(next.unwrap_or(&Level::CLEAN), self.latent, self.noise);
        let channels = x.len() / self.mask.len().max(1);
        let pixels = x.chunks_mut(channels.max(1)).zip(kept.chunks(channels.max(1)));
        for ((x, kept), mask) in pixels.zip(self.mask) {
            x.iter_mut().zip(kept).for_each(|(x, kept)| *x = (1.0 - mask) * kept + mask * *x);
        }
    }
}

//! Tables of the variational bound.
use super::{Level, Prediction, Schedule, Spacing, Variance};
use crate::error::{ScheduleError, Unexpected};

/// Timesteps at which the bound is evaluated, from 0 on, and how many each stands for: all of
/// `train`, or `count` for an estimate, in which 0 stands for itself and each other for a run of
/// neighbours around it. The runs grow with the timestep, as the terms change less there.
///
/// # Errors
/// If `count` is not 2 to `train`, or `train` is above
/// [`Schedule::MAX_TIMESTEPS`].
///
/// ```
/// use ddim::diffusion::schedule::vlb_levels;
///
/// assert_eq!(vlb_levels(3, 3)?, [(0, 1), (1, 1), (2, 1)]);
/// let estimate = vlb_levels(1000, 20)?;
/// assert_eq!(estimate.iter().map(|(_, stands_for)| stands_for).sum::<usize>(), 1000);
/// # Ok::<(), ddim::Error>(())
/// ```
pub fn vlb_levels(train: usize, count: usize) -> Result<Vec<(usize, usize)>, ScheduleError> {
    ScheduleError::check("timesteps", [2, train], count)?;
    let mut levels = vec![(0, 1)];
    let mut end = 0;
    for last in Spacing::Quadratic.timesteps(train - 1, count - 1, 0)?.into_iter().rev() {
        let next = last + 1;
        levels.push((end + (next - end).div_ceil(2), next - end));
        end = next;
    }
    Ok(levels)
}

impl Schedule {
    /// Weights of image and noise at each timestep, `[timesteps, 2]`: `sqrt(alphas_cumprod)` and
    /// `sqrt(1 - alphas_cumprod)`.
    pub fn level_rows(&self) -> Vec<f32> {
        let levels = self.alphas_cumprod.iter();
        levels.flat_map(|alpha| [alpha.sqrt() as f32, (1.0 - alpha).sqrt() as f32]).collect()
    }

    /// The table of [`VariationalBound`](crate::ops::VariationalBound), a row of five numbers for
    /// each timestep: how the network's output gives the image, the weight of its squared error,
    /// where the model's variance lies, and how narrow the decoder is.
    ///
    /// The posterior's variance is 0 at timestep 0, where that of timestep 1 stands for it, also
    /// where the model's is fixed and large, as in the code released with DDPM.
    ///
    /// # Errors
    /// If there are fewer than two timesteps, the predicted image is thresholded by its own
    /// magnitudes, or a model that predicts epsilon has no signal left at one of them.
    pub fn vlb_rows(
        &self,
        prediction: &Prediction,
        variance: Variance,
    ) -> Result<Vec<f32>, ScheduleError> {
        let count = self.timesteps();
        Unexpected::check(count >= 2, "num_train_timesteps", "2 or more", count)?;
        let expected = "false, where the bound is evaluated";
        Unexpected::check(prediction.threshold.is_none(), "thresholding", expected, true)?;
        let smallest = self.posterior_log_variance_clipped();
        let mut rows = Vec::new();
        for (timestep, (beta, smallest)) in self.betas.iter().zip(smallest).enumerate() {
            let weights = prediction.image(&Level::of(self, timestep)?)?;
            let (alpha, before) = (self.alphas_cumprod[timestep], self.alpha_before(timestep));
            let span = match variance {
                Variance::FixedSmall => 0.0,
                Variance::FixedLarge if timestep == 0 => 0.0,
                Variance::FixedLarge | Variance::LearnedRange => beta.ln() - smallest,
            };
            let weight = match timestep {
                0 => 0.0,
                _ => beta * before / (2.0 * (1.0 - alpha) * (1.0 - before)),
            };
            let sharpness = (-0.5 * smallest).exp();
            let row = [weights.x, weights.output, weight, span, sharpness];
            rows.extend(row.map(|number| number as f32));
        }
        Ok(rows)
    }

    /// `L_T`, the KL divergence of `q(x_T | x_0)` from the standard normal, in nats per dimension,
    /// of an image whose mean square is `mean_square`: Ho et al. 2020, equation 5.
    pub fn prior_nats(&self, mean_square: f64) -> f64 {
        let alpha = self.alphas_cumprod.last().copied().unwrap_or(1.0);
        0.5 * (alpha * mean_square - alpha - (-alpha).ln_1p())
    }
}

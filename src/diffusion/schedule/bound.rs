//! What the terms of the variational bound are made of, at every timestep.
use super::{Level, Output, Schedule, ScheduleError, Variance};

impl Schedule {
    /// The table `[timesteps, 8]` that [`VariationalBound`](crate::ops::VariationalBound) reads, for
    /// a network with this output and steps of this variance. A row holds the weights of `x_t` and
    /// of the output in the predicted image; those of that image and of `x_t` in the mean of a step;
    /// the log variance of the posterior; the smaller and the larger one of the model; a zero.
    ///
    /// As in the released code of both papers, the posterior's log variance at timestep 0, which is
    /// that of 0, is replaced by the next one, and so is the large variance of
    /// [`Variance::FixedLarge`].
    ///
    /// # Errors
    /// If there are fewer than two timesteps, or one has no signal left for a network that predicts
    /// noise.
    pub fn bound_table(
        &self,
        output: &Output,
        variance: Variance,
    ) -> Result<Vec<f32>, ScheduleError> {
        if self.timesteps() < 2 {
            return Err(ScheduleError::value("timesteps", "at least 2", self.timesteps()));
        }
        let posterior = self.posterior_log_variance_clipped();
        let means = self.posterior_mean_coefficients();
        let mut table = Vec::with_capacity(8 * self.timesteps());
        for (t, (of_image, of_x)) in means.into_iter().enumerate() {
            let image = output.image(&Level::of(self, t)?)?;
            let beta = self.betas()[t].ln();
            let (low, high) = match variance {
                Variance::FixedSmall => (posterior[t], posterior[t]),
                Variance::FixedLarge if t == 0 => (posterior[1], posterior[1]),
                Variance::FixedLarge => (beta, beta),
                Variance::LearnedRange => (posterior[t], beta),
            };
            let row = [image.x, image.output, of_image, of_x, posterior[t], low, high, 0.0];
            table.extend(row.map(|number| number as f32));
        }
        Ok(table)
    }
}

//! The coefficients of every step of a sampling run, made once in f64 and read by the fused step
//! kernel.
use crate::{
    diffusion::schedule::{Level, Prediction, StepWeights, Threshold},
    error::ScheduleError,
    shaders::shared::coefficients::Coefficients,
};

/// One evaluation of the network, and the update of the sample that follows:
///
/// ```text
/// x0 = clip(image.x x + image.output output)
/// x' = next.x0 x0 + next.output output + next.x x + memory memory + sigma noise
/// memory' = kept.x0 x0 + kept.output output + kept.x x
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Step {
    /// The network's timestep.
    pub timestep: f64,
    /// The predicted image.
    pub image: StepWeights,
    /// The next sample.
    pub next: StepWeights,
    /// Weight of what an earlier step kept, in the next sample.
    pub memory: f64,
    /// The tensor that this step keeps for later ones.
    pub kept: StepWeights,
    /// Deviation of the new noise.
    pub sigma: f64,
    /// With learned variances: the least and the largest logarithm of a factor of `sigma`, between
    /// which the second half of the output's channels chooses.
    pub log_deviations: [f64; 2],
    /// Whether the weight of the output is multiplied by `|noise|^2 / |output|^2` of each image,
    /// and `sigma` by the root of that.
    pub adaptive: bool,
}

impl Step {
    /// The predicted image at the level that a step leaves; the rest is zero.
    ///
    /// # Errors
    /// As [`Prediction::image`].
    pub(super) fn at(level: &Level, prediction: &Prediction) -> Result<Self, ScheduleError> {
        let image = prediction.image(level)?;
        Ok(Self { timestep: level.timestep, image, ..Self::default() })
    }

    /// One element of a step without memory and learned variance: the predicted image, clipped to
    /// `clip`, and the next sample.
    pub fn apply(&self, clip: Option<f64>, x: f64, output: f64, noise: f64) -> (f64, f64) {
        let x0 = self.image.x * x + self.image.output * output;
        let x0 = clip.map_or(x0, |range| x0.clamp(-range, range));
        let StepWeights { x0: of_x0, output: of_output, x: of_x } = self.next;
        (x0, of_x0 * x0 + of_output * output + of_x * x + self.sigma * noise)
    }
}

/// All steps of a sampling run, in the order in which they are taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// The steps.
    pub steps: Vec<Step>,
    /// Largest magnitude of the predicted image, if it is clipped.
    pub clip: Option<f64>,
    /// Its dynamic thresholding, if there is any; then nothing else is clipped.
    pub threshold: Option<Threshold>,
    /// Deviation of the noise that the run starts from.
    pub start: f64,
}

impl Table {
    /// Numbers in a row of [`Table::rows`].
    pub const COLUMNS: usize = Coefficients::<f32>::NUMBERS;

    /// The most steps that a table may have.
    pub const MAX_STEPS: usize = 1_000_000;

    /// A run of these steps that starts from standard normal noise.
    pub fn new(steps: Vec<Step>, prediction: &Prediction) -> Self {
        let Prediction { clip, threshold, .. } = *prediction;
        Self { steps, clip: clip.filter(|_| threshold.is_none()), threshold, start: 1.0 }
    }

    /// Whether a step uses a tensor that an earlier one kept.
    pub fn has_memory(&self) -> bool {
        self.steps.iter().any(|step| step.memory != 0.0)
    }

    /// Whether a step is adaptive.
    pub fn is_adaptive(&self) -> bool {
        self.steps.iter().any(|step| step.adaptive)
    }

    /// Refuses what would make every sample NaN.
    ///
    /// # Errors
    /// [`ScheduleError::Coefficient`] if a number of a step is not finite in f32.
    pub fn check(&self) -> Result<(), ScheduleError> {
        let rows = self.rows();
        let mut steps = rows.chunks(Self::COLUMNS).zip(&self.steps).enumerate();
        let bad = steps.find(|(_, (row, _))| !row.iter().all(|number| number.is_finite()));
        bad.map_or(Ok(()), |(index, (_, step))| {
            Err(ScheduleError::Coefficient { step: index + 1, timestep: step.timestep })
        })
    }

    /// The table as [`SamplingStep`](crate::ops::SamplingStep) reads it, `[steps, 16]`.
    pub fn rows(&self) -> Vec<f32> {
        let most = f64::from(f32::MAX);
        let clip = self.clip.map_or(most, |clip| clip.min(most));
        let row = |step: &Step| {
            let Step { timestep, image, next, memory, kept, sigma, log_deviations, adaptive } =
                *step;
            let [least_log_deviation, largest_log_deviation] = log_deviations;
            let row = Coefficients {
                timestep,
                image_x: image.x,
                image_output: image.output,
                clip,
                next_x0: next.x0,
                next_output: next.output,
                next_x: next.x,
                sigma,
                kept_x0: kept.x0,
                kept_output: kept.output,
                kept_x: kept.x,
                memory,
                least_log_deviation,
                largest_log_deviation,
                adaptive: f64::from(u8::from(adaptive)),
                zero: 0.0,
            };
            row.write()
        };
        self.steps.iter().flat_map(row).map(|number| number as f32).collect()
    }
}

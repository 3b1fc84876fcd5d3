//! The coefficients of every step of a sampling run, made once in f64 and read by the fused step
//! kernel.
use crate::{
    diffusion::schedule::{Level, Prediction, Schedule, StepWeights, Threshold},
    error::{ScheduleError, Unexpected},
    ops::SamplingStep,
    shaders::shared::coefficients::Coefficients,
};

/// Tensors that steps may keep for later ones.
const MEMORIES: usize = SamplingStep::MOST_MEMORIES;

/// Weights of what a step adds up: what it has at hand, and what earlier steps kept.
///
/// Example: [`Table`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepSum {
    /// Of image, output and sample.
    pub now: StepWeights,
    /// Of the tensors that earlier steps kept.
    pub memory: [f64; MEMORIES],
}

impl StepSum {
    /// One memory.
    pub(super) fn memory(slot: usize) -> Self {
        let mut sum = Self::default();
        sum.memory[slot] = 1.0;
        sum
    }

    /// The predicted image.
    pub(super) fn image() -> Self {
        StepWeights { x0: 1.0, ..StepWeights::default() }.into()
    }

    /// The network's output.
    pub(super) fn output() -> Self {
        StepWeights { output: 1.0, ..StepWeights::default() }.into()
    }

    /// The sample.
    pub(super) fn sample() -> Self {
        StepWeights { x: 1.0, ..StepWeights::default() }.into()
    }

    /// All of them times `factor`; times 0 nothing is left, not even of an infinite weight.
    pub(super) fn times(self, factor: f64) -> Self {
        if factor == 0.0 {
            return Self::default();
        }
        Self { now: self.now.times(factor), memory: self.memory.map(|weight| weight * factor) }
    }

    /// The sums of both.
    pub(super) fn plus(self, other: Self) -> Self {
        let memory = std::array::from_fn(|slot| self.memory[slot] + other.memory[slot]);
        Self { now: self.now.plus(other.now), memory }
    }
}

impl From<StepWeights> for StepSum {
    fn from(now: StepWeights) -> Self {
        Self { now, ..Self::default() }
    }
}

/// One evaluation of the network, and the update of the sample that follows:
///
/// ```text
/// x0 = clip(image.x x + image.output output)
/// x' = next + sigma noise, next = now.x0 x0 + now.output output + now.x x + sum_k memory_k m_k
/// m_slot' = kept, a sum of the same terms
/// ```
///
/// Example: [`Table`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Step {
    /// The network's timestep.
    pub timestep: f64,
    /// The predicted image.
    pub image: StepWeights,
    /// The next sample.
    pub next: StepSum,
    /// The tensor that this step keeps for later ones, if any, and its place among these.
    pub kept: Option<(usize, StepSum)>,
    /// Deviation of the new noise.
    pub sigma: f64,
    /// With learned variances: the least and the largest logarithm of a factor of `sigma`, between
    /// which the second half of the output's channels chooses.
    pub log_deviations: [f64; 2],
    /// Whether the weight of the output is multiplied by `|noise|^2 / |output|^2` of each image,
    /// and `sigma` by the root of that.
    pub adaptive: bool,
    /// Weight of a classifier's gradient at `x`, added to the next sample where a classifier guides; with
    /// learned variances it is that of a deviation of 1.
    pub gradient: f64,
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
        let StepWeights { x0: of_x0, output: of_output, x: of_x } = self.next.now;
        (x0, of_x0 * x0 + of_output * output + of_x * x + self.sigma * noise)
    }
}

/// All steps of a sampling run, in the order in which they are taken.
///
/// ```
/// use ddim::diffusion::{samplers::{Step, StepSum, Table}, schedule::*};
///
/// // A run of one step: the image that is predicted at timestep 999.
/// let (level, prediction) = (Level::variance_preserving(999.0, 0.25), Prediction::default());
/// let next = StepSum::from(StepWeights { x0: 1.0, ..StepWeights::default() });
/// let image = prediction.image(&level)?;
/// let step = Step { timestep: level.timestep, image, next, ..Step::default() };
/// let table = Table::new(vec![step], &prediction);
/// assert_eq!((table.adds_noise(), table.rows().len()), (false, Table::COLUMNS));
/// # Ok::<(), ddim::Error>(())
/// ```
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

    /// How many tensors steps keep for later ones.
    pub fn memories(&self) -> usize {
        let kept = self.steps.iter().filter_map(|step| step.kept);
        kept.map(|(slot, _)| slot + 1).max().unwrap_or(0)
    }

    /// Whether a step adds noise.
    pub fn adds_noise(&self) -> bool {
        self.steps.iter().any(|step| step.sigma != 0.0)
    }

    /// Whether a step has a weight for a classifier's gradient.
    pub fn takes_classifier(&self) -> bool {
        self.steps.iter().any(|step| step.gradient != 0.0)
    }

    /// Whether a step is adaptive.
    pub fn is_adaptive(&self) -> bool {
        self.steps.iter().any(|step| step.adaptive)
    }

    /// The level that each step leaves, of a run along the schedule's own timesteps.
    ///
    /// # Errors
    /// If a timestep is none of these.
    pub fn levels(&self, schedule: &Schedule) -> Result<Vec<Level>, ScheduleError> {
        let level = |step: &Step| {
            let whole = step.timestep as usize;
            let is_whole = whole as f64 == step.timestep;
            Unexpected::check(is_whole, "timestep", "a whole number", step.timestep)?;
            Level::of(schedule, whole)
        };
        self.steps.iter().map(level).collect()
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

    /// The table as [`SamplingStep`](crate::ops::SamplingStep) reads it, `[steps, 24]`.
    pub fn rows(&self) -> Vec<f32> {
        let most = f64::from(f32::MAX);
        let clip = self.clip.map_or(most, |clip| clip.min(most));
        let row = |step: &Step| {
            let Step { timestep, image, next, kept, sigma, log_deviations, adaptive, gradient } =
                *step;
            let (slot, kept) =
                kept.map_or((-1.0, StepSum::default()), |(slot, kept)| (slot as f64, kept));
            let [recalled_0, recalled_1, recalled_2, recalled_3] = next.memory;
            let [carried_0, carried_1, carried_2, carried_3] = kept.memory;
            let [least_log_deviation, largest_log_deviation] = log_deviations;
            let row = Coefficients {
                timestep,
                image_x: image.x,
                image_output: image.output,
                clip,
                next_x0: next.now.x0,
                next_output: next.now.output,
                next_x: next.now.x,
                sigma,
                kept_x0: kept.now.x0,
                kept_output: kept.now.output,
                kept_x: kept.now.x,
                slot,
                least_log_deviation,
                largest_log_deviation,
                adaptive: f64::from(u8::from(adaptive)),
                gradient,
                recalled_0,
                recalled_1,
                recalled_2,
                recalled_3,
                carried_0,
                carried_1,
                carried_2,
                carried_3,
            };
            row.write()
        };
        self.steps.iter().flat_map(row).map(|number| number as f32).collect()
    }
}

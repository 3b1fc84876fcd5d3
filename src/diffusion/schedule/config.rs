//! diffusers' `scheduler_config.json`.
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value as Json;

use super::{
    BetaSchedule, Prediction, PredictionType, Process, Schedule, SolverConfig, Spacing, Threshold,
    Variance, classes,
};
use crate::error::{ScheduleError, Unexpected};

/// The settings of a noise schedule and its sampler, as diffusers' schedulers keep them. A missing key
/// means the default of the class. Unknown classes are refused.
///
/// ```
/// use ddim::diffusion::schedule::{BetaSchedule, PredictionType, Process, SchedulerConfig};
///
/// let config = SchedulerConfig::parse(r#"{
///     "_class_name": "DDIMScheduler",
///     "beta_schedule": "scaled_linear", "prediction_type": "v_prediction"
/// }"#)?;
/// assert_eq!(config.beta_schedule, BetaSchedule::ScaledLinear);
/// assert_eq!(config.prediction_type, PredictionType::VPrediction);
/// assert_eq!(config.process(), Process::Betas);
/// assert_eq!(config.timesteps(4)?, [750, 500, 250, 0]);
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SchedulerConfig {
    /// The class that opens the file in diffusers.
    #[serde(rename = "_class_name")]
    pub class_name: String,
    /// The version of diffusers whose keys these are.
    #[serde(rename = "_diffusers_version")]
    pub diffusers_version: String,
    /// Number of timesteps of the forward process.
    pub num_train_timesteps: usize,
    /// The first beta, where the schedule has a choice.
    pub beta_start: f64,
    /// The last beta, where the schedule has a choice; the only one of the constant schedule.
    pub beta_end: f64,
    /// Shape of the betas.
    pub beta_schedule: BetaSchedule,
    /// Betas given one by one, instead.
    pub trained_betas: Option<Vec<f64>>,
    /// Variance of DDPM's steps.
    pub variance_type: Variance,
    /// Is the predicted image clipped in each step?
    pub clip_sample: bool,
    /// To which magnitude.
    #[serde(deserialize_with = "bound")]
    pub clip_sample_range: f64,
    /// Parametrisation of the prediction.
    pub prediction_type: PredictionType,
    /// Is the predicted image thresholded dynamically, and not clipped?
    pub thresholding: bool,
    /// Share of its magnitudes that lie below the threshold.
    pub dynamic_thresholding_ratio: f64,
    /// The largest threshold.
    #[serde(deserialize_with = "bound")]
    pub sample_max_value: f64,
    /// Timesteps of a shortened run.
    pub timestep_spacing: Spacing,
    /// Offset of the timesteps of the leading spacing.
    pub steps_offset: usize,
    /// Is the schedule stretched to end at alpha 0?
    pub rescale_betas_zero_snr: bool,
    /// Is the level after DDIM's last step the clean image, or timestep 0?
    #[serde(skip_serializing_if = "is_true")]
    pub set_alpha_to_one: bool,
    /// The settings of other classes' ways of sampling.
    #[serde(skip)]
    pub solver: SolverConfig,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            class_name: "DDPMScheduler".into(),
            diffusers_version: "0.42.1".into(),
            num_train_timesteps: 1000,
            beta_start: 1e-4,
            beta_end: 0.02,
            beta_schedule: BetaSchedule::Linear,
            trained_betas: None,
            variance_type: Variance::FixedSmall,
            clip_sample: true,
            clip_sample_range: 1.0,
            prediction_type: PredictionType::Epsilon,
            thresholding: false,
            dynamic_thresholding_ratio: 0.995,
            sample_max_value: 1.0,
            timestep_spacing: Spacing::Leading,
            steps_offset: 0,
            rescale_betas_zero_snr: false,
            set_alpha_to_one: true,
            solver: SolverConfig::default(),
        }
    }
}

impl SchedulerConfig {
    /// Refuses a class of diffusers that is not known here.
    ///
    /// # Errors
    /// If it is one; the error names it.
    pub fn check_class(class: &str) -> Result<(), ScheduleError> {
        classes::process(class).map(|_| ())
    }

    /// The process that the model belongs to.
    pub fn process(&self) -> Process {
        match classes::process(&self.class_name) {
            Ok(Process::Betas) if self.solver.use_flow_sigmas => Process::Flow,
            Ok(process) => process,
            // Only a caller's own name: what is read is known.
            Err(_) => Process::Betas,
        }
    }

    /// Whether a network of exploding sigmas is told sigma, not the number of its level.
    pub(crate) fn tells_sigma(&self) -> bool {
        classes::tells_sigma(&self.class_name)
    }

    /// The text of a `scheduler_config.json`.
    pub fn to_json(&self) -> String {
        let json = |value: Result<Json, serde_json::Error>| match value {
            Ok(Json::Object(keys)) => keys,
            _ => unreachable!("plain fields with string keys are an object"),
        };
        let mut keys = json(serde_json::to_value(self));
        let own: &[&str] = match classes::process(&self.class_name) {
            Ok(Process::Flow) => &[],
            Ok(Process::Edm | Process::Exploding) => &["prediction_type"],
            Ok(Process::SubVp) => &["prediction_type", "beta_start", "beta_end"],
            Ok(Process::Betas) | Err(_) => &["*"],
        };
        if *own != ["*"] {
            let general = ["_class_name", "_diffusers_version", "num_train_timesteps"];
            keys.retain(|key, _| general.contains(&&key[..]) || own.contains(&&key[..]));
        }
        let usual = json(serde_json::to_value(SolverConfig::default()));
        let own = json(serde_json::to_value(&self.solver));
        keys.extend(own.into_iter().filter(|(key, value)| usual.get(key) != Some(value)));
        format!("{:#}\n", Json::Object(keys))
    }

    pub(super) fn check(&self) -> Result<(), ScheduleError> {
        let count = self.num_train_timesteps;
        let fewest = if self.rescale_betas_zero_snr { 2 } else { 1 };
        ScheduleError::check("num_train_timesteps", [fewest, Schedule::MAX_TIMESTEPS], count)?;
        for (key, beta) in [("beta_start", self.beta_start), ("beta_end", self.beta_end)] {
            Unexpected::check(beta > 0.0 && beta < 1.0, key, "between 0 and 1", beta)?;
        }
        if let Some(betas) = &self.trained_betas {
            let (fits, expected) = (betas.len() == count, format!("{count} numbers"));
            Unexpected::check(fits, "trained_betas", expected, betas.len())?;
            Schedule::from_betas(betas.clone())?;
        }
        let (range, ratio) = (self.clip_sample_range, self.dynamic_thresholding_ratio);
        Unexpected::check(range > 0.0 || !self.clip_sample, "clip_sample_range", "above 0", range)?;
        let fits = (0.0..=1.0).contains(&ratio);
        Unexpected::check(fits, "dynamic_thresholding_ratio", "0 to 1", ratio)?;
        let most = self.sample_max_value;
        Unexpected::check(most >= 1.0, "sample_max_value", "1 or above", most)?;
        self.solver.check()
    }

    /// The schedule that these settings describe.
    ///
    /// # Errors
    /// If a setting is out of its range.
    pub fn schedule(&self) -> Result<Schedule, ScheduleError> {
        self.check()?;
        if self.process() != Process::Betas {
            let expected = "a scheduler with betas";
            return Err(ScheduleError::value("_class_name", expected, &self.class_name));
        }
        let (count, start, end) = (self.num_train_timesteps, self.beta_start, self.beta_end);
        let schedule = match (&self.trained_betas, self.beta_schedule) {
            (Some(betas), _) => Schedule::from_betas(betas.clone())?,
            (None, BetaSchedule::Linear) => Schedule::linear(count, start, end),
            (None, BetaSchedule::ScaledLinear) => Schedule::scaled_linear(count, start, end),
            (None, BetaSchedule::Cosine) => Schedule::cosine(count),
            (None, BetaSchedule::Constant) => Schedule::constant(count, end),
            (None, BetaSchedule::Reciprocal) => Schedule::reciprocal(count),
            (None, BetaSchedule::Sigmoid) => Schedule::sigmoid(count, start, end),
        };
        Ok(if self.rescale_betas_zero_snr { schedule.with_zero_terminal_snr() } else { schedule })
    }

    /// The clip range of the predicted image, if it is clipped.
    pub fn clip(&self) -> Option<f64> {
        self.clip_sample.then_some(self.clip_sample_range)
    }

    /// The timesteps of a run of `steps` steps, noisiest first.
    ///
    /// # Errors
    /// If there are more steps than timesteps, or none.
    pub fn timesteps(&self, steps: usize) -> Result<Vec<usize>, ScheduleError> {
        self.timestep_spacing.timesteps(self.num_train_timesteps, steps, self.steps_offset)
    }

    /// Parametrisation and clipping of the prediction.
    pub fn prediction(&self) -> Prediction {
        let (ratio, limit) = (self.dynamic_thresholding_ratio, self.sample_max_value);
        let threshold = self.thresholding.then_some(Threshold { ratio, limit });
        let sigma_data = (self.process() == Process::Edm).then_some(self.solver.sigma_data);
        Prediction { kind: self.prediction_type, clip: self.clip(), threshold, sigma_data }
    }

    /// `alphas_cumprod` after the last step of DDIM, or before the first of its encoding.
    ///
    /// # Errors
    /// As [`SchedulerConfig::schedule`].
    pub fn final_alpha(&self) -> Result<f64, ScheduleError> {
        Ok(if self.set_alpha_to_one { 1.0 } else { self.schedule()?.alphas_cumprod()[0] })
    }
}

/// A number, or Python's infinity.
fn bound<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    #[derive(Deserialize)]
    enum Word {
        Infinity,
    }
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a number or Infinity")]
    enum Bound {
        Number(f64),
        Word(Word),
    }
    Ok(match Bound::deserialize(from)? {
        Bound::Number(number) => number,
        Bound::Word(Word::Infinity) => f64::INFINITY,
    })
}

/// A DDPM scheduler knows no `set_alpha_to_one`: it is written only where it matters.
fn is_true(flag: &bool) -> bool {
    *flag
}

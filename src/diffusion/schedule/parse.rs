//! Reading of diffusers' `scheduler_config.json`.
use std::path::Path;

use serde::{Deserialize, de::IgnoredAny};

use super::{
    BetaSchedule, PredictionType, Process, SchedulerConfig, Spacing,
    classes::{
        self, CLIPS, CONSISTENCY, COSINE, EXPLODING, LATENT, LINSPACE, MAY_CLIP, MAY_THRESHOLD,
        NCSN,
    },
};
use crate::{
    error::{FileError, ScheduleError},
    files::{parse_config, parse_object, read_json, warn_of_unknown},
};

impl SchedulerConfig {
    /// Reads a `scheduler_config.json`; warns of keys that no scheduler of diffusers has.
    ///
    /// # Errors
    /// If the file cannot be read, or as [`SchedulerConfig::parse`]; both name the file.
    pub fn read(path: &Path) -> Result<Self, ScheduleError> {
        let text = read_json(path).map_err(FileError::at(path))?;
        let (config, keys) = Self::with_keys(&text)
            .map_err(|source| ScheduleError::File { path: path.into(), source: source.into() })?;
        warn_of_unknown(path, &keys, &classes::KEYS.split(' ').collect::<Vec<_>>());
        Ok(config)
    }

    /// Reads the text of a `scheduler_config.json`.
    ///
    /// # Errors
    /// If it is not JSON, a value has the wrong type or is out of its range, or a setting is not
    /// supported; the error names the key.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        Ok(Self::with_keys(text)?.0)
    }

    /// The configuration of a text, and the keys that stand there.
    fn with_keys(text: &str) -> Result<(Self, Vec<String>), ScheduleError> {
        let (mut config, keys): (Self, _) = parse_config(text, &[])?;
        classes::process(&config.class_name)?;
        (config.solver, _) = parse_config(text, &[])?;
        let rest: Rest = parse_object(text)?;
        rest.check()?;
        rest.complete(&mut config);
        config.prediction_type = rest.prediction_of_2022().unwrap_or(config.prediction_type);
        // An infinite range clips nothing, and no image reaches an infinite threshold.
        if config.clip_sample_range == f64::INFINITY {
            (config.clip_sample, config.clip_sample_range) = (false, 1.0);
        }
        config.sample_max_value = config.sample_max_value.min(f32::MAX.into());
        config.check()?;
        Ok((config, keys))
    }
}

/// Keys of a config beside its settings: which betas are there, and what turns a class of betas into
/// another process.
#[derive(Deserialize)]
struct Rest {
    beta_start: Option<IgnoredAny>,
    beta_end: Option<IgnoredAny>,
    beta_schedule: Option<IgnoredAny>,
    #[serde(default)]
    timestep_type: Option<String>,
    #[serde(default)]
    interpolation_type: Option<String>,
    #[serde(default)]
    use_dynamic_shifting: Option<bool>,
    solver_p: Option<IgnoredAny>,
    timestep_spacing: Option<IgnoredAny>,
    clip_sample: Option<IgnoredAny>,
    set_alpha_to_one: Option<IgnoredAny>,
    /// What the prediction is, by the key of 2022.
    #[serde(default)]
    predict_epsilon: Option<bool>,
    prediction_type: Option<IgnoredAny>,
}

impl Rest {
    /// What the model predicts, where the key of 2022 alone says it.
    fn prediction_of_2022(&self) -> Option<PredictionType> {
        let image = self.predict_epsilon == Some(false) && self.prediction_type.is_none();
        image.then_some(PredictionType::Sample)
    }

    /// Gives the keys that are not there the defaults of the class, and takes back those that the
    /// class does not know.
    fn complete(&self, config: &mut SchedulerConfig) {
        let class = config.class_name.as_str();
        if LATENT.contains(&class) || class == CONSISTENCY {
            config.beta_start = self.beta_start.map_or(0.00085, |_| config.beta_start);
            config.beta_end = self.beta_end.map_or(0.012, |_| config.beta_end);
        }
        if self.beta_schedule.is_none() {
            config.beta_schedule = match class {
                COSINE => BetaSchedule::Cosine,
                CONSISTENCY => BetaSchedule::ScaledLinear,
                _ => config.beta_schedule,
            };
        }
        if self.timestep_spacing.is_none() && LINSPACE.contains(&class) {
            config.timestep_spacing = Spacing::Linspace;
        }
        config.clip_sample &=
            CLIPS.contains(&class) || MAY_CLIP.contains(&class) && self.clip_sample.is_some();
        config.thresholding &= MAY_THRESHOLD.contains(&class);
        if class == "PNDMScheduler" && self.set_alpha_to_one.is_none() {
            config.set_alpha_to_one = false;
        }
        if self.prediction_type.is_none() {
            config.prediction_type = match (config.process(), config.class_name.as_str()) {
                (Process::Flow, _) => PredictionType::Flow,
                (_, NCSN) => PredictionType::ScaledScore,
                (_, EXPLODING) => PredictionType::Score,
                _ => config.prediction_type,
            };
        }
    }

    /// Refuses settings that this crate does not follow.
    fn check(&self) -> Result<(), ScheduleError> {
        for (key, expected, found) in [
            ("timestep_type", "discrete", &self.timestep_type),
            ("interpolation_type", "linear", &self.interpolation_type),
        ] {
            if let Some(found) = found.as_ref().filter(|found| *found != expected) {
                return Err(ScheduleError::value(key, expected, found));
            }
        }
        if self.use_dynamic_shifting == Some(true) {
            return Err(ScheduleError::value("use_dynamic_shifting", false, true));
        }
        match self.solver_p {
            Some(_) => Err(ScheduleError::value("solver_p", "null", "a solver")),
            None => Ok(()),
        }
    }
}

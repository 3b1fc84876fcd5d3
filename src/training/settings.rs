//! Settings of a run: `training/settings.json`.
use super::TrainingOptions;
use crate::{
    error::{Error, FileError, TrainingError},
    files,
    gpu::Executor,
    plan::Tuning,
};
use serde::{Deserialize, Serialize, Serializer, ser::Error as _};
use serde_json::Value as Json;
use std::path::Path;

/// Everything recorded of a run beside its tensors: `training/settings.json`.
///
/// ```
/// use ddim::training::Settings;
///
/// let text = r#"{ "options": { "batch": 32 }, "size": [8, 8], "plan": "0f", "device": "a GPU" }"#;
/// let settings = Settings::parse("settings.json".as_ref(), text)?;
/// assert_eq!((settings.options.batch, settings.size), (32, [8, 8]));
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The training options.
    #[serde(serialize_with = "written")]
    pub options: TrainingOptions,
    /// Image height and width.
    pub size: [usize; 2],
    /// Hash of the training plan: same hash, device, driver and build, same bits.
    pub plan: String,
    /// The adapter.
    pub device: String,
    /// Its driver.
    #[serde(default)]
    pub driver: String,
    /// This crate's version.
    #[serde(default)]
    pub version: String,
    /// What was measured on the device before the run began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuning: Option<Tuning>,
    /// Notes of the caller: data set, command.
    #[serde(default)]
    pub notes: Json,
    /// Settings of earlier steps, if any has changed since the run began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Past>,
}

/// Settings of earlier steps of a run.
///
/// Example: [`crate::training::Resumed`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Past {
    /// The last of these steps.
    pub until: u64,
    /// The settings.
    pub settings: Box<Settings>,
}

impl Settings {
    /// Reads the file.
    ///
    /// # Errors
    /// If there is none, or it is no such file; the error names the key.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = files::read_json(path).map_err(FileError::at(path))?;
        Ok(Self::parse(path, &text)?)
    }

    /// Reads the text of the file; `path` is for the error alone.
    ///
    /// # Errors
    /// If it is none; the error names the key.
    pub fn parse(path: &Path, text: &str) -> Result<Self, TrainingError> {
        files::parse_object(text).map_err(|error| TrainingError::Checkpoint {
            path: path.into(),
            message: error.to_string(),
        })
    }

    /// The settings of a run of `executor`'s plan.
    pub(crate) fn made(
        executor: &Executor,
        options: TrainingOptions,
        size: [usize; 2],
        notes: Json,
    ) -> Self {
        let info = executor.gpu().info();
        Self {
            options,
            size,
            plan: format!("{:016x}", executor.plan().hash()),
            device: info.name.clone(),
            driver: format!("{} {}", info.driver, info.driver_info),
            version: env!("CARGO_PKG_VERSION").into(),
            tuning: executor.gpu().target().tuning.as_deref().cloned(),
            notes,
            history: Vec::new(),
        }
    }

    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain fields with string keys are JSON") + "\n"
    }

    /// Differences from `before`, a line each.
    pub(super) fn differences(&self, before: &Self) -> Vec<String> {
        let mut found = Vec::new();
        // What a step takes of the device changes no bit.
        let json = |options: &TrainingOptions| {
            let options = TrainingOptions { memory: None, ..options.clone() };
            serde_json::to_value(options).unwrap_or_default()
        };
        changes(&json(&before.options), &json(&self.options), &mut found);
        changes(&before.notes, &self.notes, &mut found);
        // Settings of earlier versions say less.
        let own = [
            ("device", &before.device, &self.device),
            ("driver", &before.driver, &self.driver),
            ("version", &before.version, &self.version),
        ];
        for (name, before, now) in own {
            if before != now && !before.is_empty() {
                found.push(format!("{name} was {before:?}, is {now:?}"));
            }
        }
        if before.plan != self.plan {
            let (before, now) = (&before.plan, &self.plan);
            let why = if found.is_empty() { " by another build of this version" } else { "" };
            found.push(format!("the plan's hash was {before}, is {now}{why}"));
        }
        found
    }

    /// Begins a new part of the history if these settings differ from those `before`, which held
    /// until `step`.
    pub(super) fn succeed(&mut self, mut before: Self, step: u64) {
        let differ = !self.differences(&before).is_empty();
        self.history = std::mem::take(&mut before.history);
        // Settings of no step are not recorded.
        let began = self.history.last().map_or(0, |past| past.until);
        if differ && step > began {
            self.history.push(Past { until: step, settings: Box::new(before) });
        }
    }
}

/// Options that came after the first settings were written.
const LATER: [&str; 8] = [
    "accumulate",
    "ranks",
    "memory",
    "precision",
    "rate_schedule",
    "averages",
    "augment",
    "frozen",
];

/// Writes the options. A later one is written only if it is not the default, so a plain run's settings keep their bytes.
fn written<S: Serializer>(options: &TrainingOptions, serializer: S) -> Result<S::Ok, S::Error> {
    let json = |options: &TrainingOptions| serde_json::to_value(options).map_err(S::Error::custom);
    let (mut own, default) = (json(options)?, json(&TrainingOptions::default())?);
    if let Some(keys) = own.as_object_mut() {
        keys.retain(|key, value| {
            !LATER.contains(&key.as_str()) || default.get(key) != Some(&*value)
        });
    }
    own.serialize(serializer)
}

/// Keys of two JSON objects with different values.
fn changes(before: &Json, now: &Json, found: &mut Vec<String>) {
    let (Some(before), Some(now)) = (before.as_object(), now.as_object()) else { return };
    for (key, was) in before {
        let is = now.get(key).unwrap_or(&Json::Null);
        if is != was {
            found.push(format!("{key} was {was}, is {is}"));
        }
    }
}

//! A training run as a folder: a pipeline that diffusers opens, and beside it, in `training/`,
//! what it takes to go on.
use super::{
    TrainingOptions, kept_averages::AVERAGES, settings::Settings, state::State, steps::Steps,
    trainer::Trainer,
};
use crate::{
    diffusion::schedule::SchedulerConfig,
    error::{Error, TrainingError},
    gpu::Gpu,
    models::unet2d::{AUGMENT_EMBEDDING, UNet, UNetConfig},
    pipeline::{self, Generation, RunFolder, SCHEDULER, SETTINGS, System, UNET},
    weights::Precision,
};
use serde_json::Value as Json;
use std::path::Path;

pub(crate) const STATE: &str = "training/state.safetensors";

/// Largest height or width that a run may have.
const LARGEST_SIDE: usize = 1 << 14;

/// A resumed run.
///
/// ```no_run
/// use ddim::{pipeline::RunFolder, training::{Resumed, Trainer, TrainingOptions}};
/// # use ddim::gpu::{Gpu, GpuOptions};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
///
/// let (folder, notes) = (RunFolder::open("model".as_ref())?, serde_json::json!({}));
/// let options = TrainingOptions { batch: 32, ..Default::default() };
/// let (trainer, resumed) = Trainer::resume_with(&gpu, &folder, options, notes)?;
/// let Resumed { settings, differences } = resumed;
/// println!("after step {}: {}", trainer.steps(), differences.join("; "));
/// for past in &settings.history {
///     println!("until step {}: batches of {}", past.until, past.settings.options.batch);
/// }
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Resumed {
    /// The settings as they hold from now on, with the history of those before.
    pub settings: Settings,
    /// Differences from before, a line each. Without any, the run computes the same bits as without a
    /// break.
    pub differences: Vec<String>,
}

/// The steps that the model in `folder` was trained, if [`Trainer::save`] wrote it.
///
/// ```no_run
/// match ddim::training::steps_trained("model".as_ref())? {
///     Some(steps) => println!("trained for {steps} steps"),
///     None => println!("not trained by this crate"),
/// }
/// # Ok::<(), ddim::Error>(())
/// ```
///
/// # Errors
/// If the state is there and damaged.
pub fn steps_trained(folder: &Path) -> Result<Option<u64>, Error> {
    let path = RunFolder::open(folder)?.path(STATE);
    if path.exists() { Ok(Some(State::read_step(&path)?.into())) } else { Ok(None) }
}

impl Trainer {
    /// Waits, then writes the run to `folder`: the pipeline with the averaged weights, and
    /// `training/` with raw weights, moments and settings. All of it becomes current in one step:
    /// whenever the process is killed, the folder holds this checkpoint whole or the one before.
    ///
    /// # Errors
    /// If a file cannot be written, or the device is lost.
    pub fn save(&mut self, folder: &Path, notes: Json) -> Result<(), Error> {
        self.save_with(folder, notes, &[])
    }

    /// As [`Trainer::save`], with files of the caller's, named by their paths below the folder, as
    /// parts of the checkpoint.
    ///
    /// # Errors
    /// As [`Trainer::save`].
    pub fn save_with(
        &mut self,
        folder: &Path,
        notes: Json,
        beside: &[(&str, &[u8])],
    ) -> Result<(), Error> {
        let state = self.state()?;
        let config = self.model.config();
        // Nothing is done to images in sampling.
        let average = match self.options.augment {
            Some(_) => &state.parts[3].clone().without(AUGMENT_EMBEDDING),
            None => &state.parts[3],
        };
        let pipeline = pipeline::files(folder, config, &self.scheduler, average, Precision::F32)?;
        let pipeline = pipeline.iter().map(|(name, bytes)| (*name, &bytes[..]));
        let averages = self.averages(folder)?;
        let averages = averages.iter().map(|bytes| (AVERAGES, &bytes[..]));
        let files: Vec<_> = pipeline.chain(averages).chain(beside.iter().copied()).collect();
        self.checkpoint(folder, &state, notes, &files)
    }

    /// Continues the run that [`Trainer::save`] wrote to `folder`.
    ///
    /// # Errors
    /// If a file is missing or damaged; the error names it.
    pub fn resume(gpu: &Gpu, folder: &Path) -> Result<(Self, Settings), Error> {
        let folder = RunFolder::open(folder)?;
        let settings = Settings::read(&folder.path(SETTINGS))?;
        let (options, notes) = (settings.options, settings.notes);
        let (trainer, resumed) = Self::resume_with(gpu, &folder, options, notes)?;
        Ok((trainer, resumed.settings))
    }

    /// Continues the run in `folder` with other options and notes than those recorded.
    ///
    /// # Errors
    /// If a file is missing or damaged, or an option may not change in a run; the error names it.
    pub fn resume_with(
        gpu: &Gpu,
        folder: &RunFolder,
        options: TrainingOptions,
        notes: Json,
    ) -> Result<(Self, Resumed), Error> {
        let before = settings(folder)?;
        options.check_change(&before.options)?;
        let unet = UNet::new(UNetConfig::read(&folder.path(UNET))?)?;
        let unet = unet.augmented(options.augment.is_some());
        let scheduler = SchedulerConfig::read(&folder.path(SCHEDULER))?;
        // The kernels that the run began with: a tuning that came or went changes no bit.
        let gpu = &gpu.tuned(before.tuning.clone());
        let mut trainer = Self::new(gpu, unet, scheduler, before.size, options)?;
        let resumed = trainer.go_on(folder, before, notes)?;
        Ok((trainer, resumed))
    }
}

/// The settings of the run in a folder.
pub(super) fn settings(folder: &RunFolder) -> Result<Settings, Error> {
    let path = folder.path(SETTINGS);
    let settings = Settings::read(&path)?;
    if settings.size.iter().any(|side| !(1..=LARGEST_SIDE).contains(side)) {
        let found = settings.size;
        let message = format!("size: expected sides of 1 to {LARGEST_SIDE}, found {found:?}");
        return Err(TrainingError::Checkpoint { path, message }.into());
    }
    Ok(settings)
}

impl<M, S> Trainer<M, S> {
    /// Takes the state from a folder, whose settings were those `before`.
    pub(super) fn go_on(
        &mut self,
        folder: &RunFolder,
        before: Settings,
        notes: Json,
    ) -> Result<Resumed, Error> {
        let shape = self.graph.memory.map(|memory| self.graph.graph.type_of(memory).shape);
        let state = State::read(&folder.path(STATE), &self.arenas().specs, shape)?;
        self.set_state(&state)?;
        self.resume_averages(folder)?;
        let mut settings = self.settings(notes);
        let mut differences = settings.differences(&before);
        settings.succeed(before, state.step.into());
        self.history = settings.history.clone();
        let edited = folder.edited()?;
        differences.extend(edited.iter().map(|name| format!("{name} was changed by somebody")));
        Ok(Resumed { settings, differences })
    }

    /// Waits, then reads the state. The step is the device's count: it stands still after a bad
    /// step, whatever was submitted since.
    pub(crate) fn state(&mut self) -> Result<State, Error> {
        let parts =
            [self.read_part(0)?, self.read_part(1)?, self.read_part(2)?, self.read_part(3)?];
        let memory = match self.graph.memory {
            Some(memory) => Some(self.executor.read(memory)?),
            None => None,
        };
        let scaling = self.graph.optimizer.scaled(&mut self.executor)?;
        Ok(State { parts, memory, scaling, step: self.counter()?.step })
    }

    /// Continues from a state.
    pub(crate) fn set_state(&mut self, state: &State) -> Result<(), Error> {
        for (part, weights) in state.parts.iter().enumerate() {
            self.write_part(part, weights)?;
        }
        if let (Some(memory), Some(losses)) = (self.graph.memory, &state.memory) {
            self.executor.write(memory, losses)?;
        }
        self.set_scaling(state.scaling)?;
        self.write_counter(state.step)?;
        self.steps = Steps { submitted: state.step.into(), reported: state.step.into() };
        Ok(())
    }

    /// Writes a checkpoint of a state, with more files that belong to it.
    pub(crate) fn checkpoint(
        &self,
        folder: &Path,
        state: &State,
        notes: Json,
        files: &[(&str, &[u8])],
    ) -> Result<(), Error> {
        let tensors = state.to_bytes(&folder.join(STATE))?;
        let settings = self.settings(notes).to_json();
        let mut next = Generation::begin(&System, folder)?;
        for (name, bytes) in [(STATE, &tensors[..]), (SETTINGS, settings.as_bytes())] {
            next.write(name, bytes)?;
        }
        for (name, bytes) in files {
            next.write(name, bytes)?;
        }
        next.commit()
    }

    /// The settings as they are now.
    fn settings(&self, notes: Json) -> Settings {
        let made = Settings::made(&self.executor, self.options.clone(), self.size, notes);
        Settings { history: self.history.clone(), ..made }
    }
}

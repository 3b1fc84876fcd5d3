//! A run: its trainer, its images, and what its checkpoint keeps beside the library's settings.
use crate::{
    cli,
    console::say,
    devices::describe,
    failure::Failure,
    paths,
    plan::summary,
    progress::{counted, thousands},
    training,
};
use ddim::{
    data::{Dataset, is_digits},
    files::MAX_PIXELS,
    gpu::Gpu,
    models::unet2d::SampleSize,
    nn::Model,
    pipeline::Pipeline,
    training::{Losses, Trainer, TrainingOptions},
};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// What the checkpoint keeps beside the library's settings.
#[derive(Serialize, Deserialize)]
pub struct Notes {
    #[serde(with = "paths")]
    pub data: PathBuf,
    pub size: Option<usize>,
    #[serde(default)]
    pub max_pixels: Option<u64>,
    pub flip: bool,
    pub valid: Option<f64>,
    pub steps: u32,
    #[serde(default = "save_every")]
    pub save_every: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_every: Option<u32>,
    /// The pipeline whose weights the run began with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
}

/// Most names of classes that are listed.
const LISTED: usize = 10;

/// Steps between checkpoints, where nobody says how many.
fn save_every() -> u32 {
    500
}

impl Notes {
    /// What the arguments say of images and checkpoints; the steps depend on the images.
    pub fn new(arguments: &cli::Train, source: &Path) -> Self {
        Self {
            data: absolute(source),
            size: arguments.size,
            max_pixels: arguments.max_pixels,
            flip: arguments.flip,
            valid: arguments.valid,
            steps: 0,
            save_every: arguments.save_every.unwrap_or_else(save_every),
            sample_every: arguments.sample_every,
            init: None,
        }
    }

    pub fn to_json(&self) -> Json {
        serde_json::to_value(self).expect("text, numbers and flags are JSON")
    }

    /// Takes the side of a model's square images, unless the user gave one.
    pub fn size_as(&mut self, model: Option<SampleSize>) {
        let sides = model.map(SampleSize::sides).filter(|(height, width)| height == width);
        self.size = self.size.or(sides.map(|(side, _)| side));
    }

    /// The first step after `done` that saves, samples or is the last.
    pub fn next_stop(&self, done: u64) -> u64 {
        let every = [Some(self.save_every), self.sample_every].into_iter().flatten();
        let stops = every.map(|every| (done / u64::from(every) + 1) * u64::from(every));
        stops.fold(u64::from(self.steps), u64::min)
    }

    /// Whether the run saves after so many steps.
    pub fn saves_at(&self, done: u64) -> bool {
        done.is_multiple_of(u64::from(self.save_every)) || done == u64::from(self.steps)
    }

    /// Whether the run samples after so many steps.
    pub fn samples_at(&self, done: u64) -> bool {
        self.sample_every.is_some_and(|every| done.is_multiple_of(u64::from(every)))
    }

    /// Opens the images.
    pub fn open_data(&self) -> Result<Dataset, Failure> {
        let max_pixels = self.max_pixels.unwrap_or(MAX_PIXELS);
        Ok(Dataset::open_within(&self.data, self.size, max_pixels)?)
    }
}

/// The folder by a name that holds from anywhere.
pub fn absolute(source: &Path) -> PathBuf {
    if is_digits(source) {
        return source.to_owned();
    }
    source.canonicalize().unwrap_or_else(|_| source.to_owned())
}

/// A run that is about to begin or to go on.
pub struct Run {
    pub trainer: Trainer,
    pub notes: Notes,
    pub data: Dataset,
    pub losses: Losses,
    /// What is not as in the steps before.
    pub differences: Vec<String>,
    /// The names of the model's classes, if it has classes and they have names.
    pub class_names: Vec<String>,
    /// The pipeline whose weights it began with, if with any.
    pub init: Option<PathBuf>,
}

impl Run {
    /// A run without steps.
    pub fn new(trainer: Trainer, notes: Notes, data: Dataset) -> Self {
        let names = data.class_names().filter(|_| trainer.model().classes().is_some());
        let class_names = names.unwrap_or_default().to_vec();
        let (losses, differences, init) = (Losses::default(), Vec::new(), None);
        Self { trainer, notes, data, losses, differences, class_names, init }
    }

    /// The images that are trained on: those that are not held out.
    pub fn training_images(&self) -> Result<Dataset, Failure> {
        Ok(match self.notes.valid {
            None => self.data.clone(),
            Some(fraction) => self.data.split(fraction, self.trainer.options().seed)?.0,
        })
    }

    /// The model as it is now, with the moving average of the weights.
    pub fn pipeline(&mut self) -> Result<Pipeline, Failure> {
        let weights = Arc::new(self.trainer.averaged_weights()?);
        let (unet, scheduler) = (self.trainer.model().clone(), self.trainer.scheduler().clone());
        let dropped = self.trainer.options().label_drop > 0.0;
        let null_label = unet.null_label().filter(|_| dropped);
        let class_names = self.class_names.clone();
        Ok(Pipeline { unet, scheduler, weights, null_label, class_names })
    }

    /// Writes a checkpoint.
    pub fn save(&mut self, out: &Path) -> Result<(), Failure> {
        let notes = self.notes.to_json();
        training::save(&self.losses, &mut self.trainer, out, notes, &self.class_names)
    }

    /// Refuses steps in which nothing would be learnt.
    pub fn check_rate(&self) -> Result<(), Failure> {
        let (done, total) = (self.trainer.steps(), u64::from(self.notes.steps));
        match self.trainer.options().decay_steps.map(u64::from) {
            Some(end) if end < total && done < total => Err(Failure::Usage(format!(
                "--decay-steps {end}: the learning rate is 0 from then on, and steps {} to {total} \
                 would learn nothing: give --decay-steps {total}, or --decay-steps 0 for a rate \
                 that stays",
                end.max(done) + 1,
            ))),
            _ => Ok(()),
        }
    }

    /// Says what is trained on what, and how.
    pub fn describe(&self, gpu: &Gpu) {
        let Self { trainer, data, notes, .. } = self;
        say!("{}", describe(gpu));
        let (height, width, channels) = (data.height(), data.width(), data.channels());
        let count = counted(data.len() as u64, "image");
        let classes = match &self.class_names[..] {
            [] => String::new(),
            names if names.len() > LISTED => format!(", {} classes", names.len()),
            names => format!(", classes {}", names.join(", ")),
        };
        say!("data   {}: {count} of {height}x{width}x{channels}{classes}", data.name());
        let config = trainer.model().config();
        let parameters = thousands(trainer.arenas().elements() as u64);
        say!("model  {parameters} parameters, channels {:?}", config.block_out_channels);
        say!("plan   {}", summary(trainer.plan()));
        let TrainingOptions {
            batch,
            learning_rate,
            warmup,
            decay_steps,
            clip,
            ema_decay,
            seed,
            ..
        } = trainer.options();
        let falling = decay_steps.map_or(String::new(), |end| format!(", none after step {end}"));
        let clip = clip.map_or("none".to_owned(), |norm| norm.to_string());
        let batch = match trainer.options().parts() {
            1 => batch.to_string(),
            parts => format!("{} in {parts} parts of {batch}", batch * parts),
        };
        let (next, total) = (trainer.steps() + 1, u64::from(notes.steps));
        let steps = match next <= total {
            true => format!("steps {next} to {total}"),
            false => format!("all {total} steps are done"),
        };
        say!(
            "run    {steps}, batch {batch}, learning rate {learning_rate} after {warmup} steps\
             {falling}, \
             clip {clip}, EMA {ema_decay}, seed {seed}",
        );
        if !self.differences.is_empty() {
            say!("but    from here on not with the bits of a run without a break:");
        }
        for difference in &self.differences {
            say!("       {difference}");
        }
    }
}

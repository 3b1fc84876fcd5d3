//! A run: its trainer and its images.
use super::notes::{Folder, HeldOut, Notes};
use crate::{
    console::say,
    devices::describe,
    failure::Failure,
    plan::summary,
    progress::{counted, thousands},
    training,
};
use ddim::{
    data::{Images, Loading},
    gpu::Gpu,
    nn::Model,
    pipeline::Pipeline,
    training::{Losses, Trainer, TrainingOptions},
    value::ElementType,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Most names of classes that are listed.
const LISTED: usize = 10;

/// A run that is about to begin or to go on.
pub struct Run {
    pub trainer: Trainer,
    pub notes: Notes,
    /// All images of --data, of which some may be held out.
    pub data: Images,
    /// Threads that read them.
    pub workers: usize,
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
    pub fn new(trainer: Trainer, notes: Notes, data: Images, workers: usize) -> Self {
        let names = data.class_names().filter(|_| trainer.model().classes().is_some());
        let class_names = names.unwrap_or_default().to_vec();
        let (losses, differences, init) = (Losses::default(), Vec::new(), None);
        Self { trainer, notes, data, workers, losses, differences, class_names, init }
    }

    /// How batches are made.
    pub fn loading(&self) -> Loading {
        self.notes.loading(self.trainer.options(), self.workers)
    }

    /// The images to train on.
    pub fn images(&self) -> Result<Images, Failure> {
        match &self.notes.valid {
            Some(HeldOut::Fraction(fraction)) => {
                Ok(self.data.split(*fraction, self.trainer.options().seed)?.0)
            }
            _ => Ok(self.data.clone()),
        }
    }

    /// The images to train on, and those that are held out.
    pub fn parts(&self) -> Result<(Images, Option<Images>), Failure> {
        let (trainer, data) = (&self.trainer, &self.data);
        match &self.notes.valid {
            None => Ok((data.clone(), None)),
            Some(HeldOut::Fraction(fraction)) => {
                let (train, held_out) = data.split(*fraction, trainer.options().seed)?;
                Ok((train, Some(held_out)))
            }
            Some(HeldOut::Folder(Folder(folder))) => {
                let held_out = self.notes.open_held_out(folder, self.workers)?;
                let names = data.class_names().unwrap_or_default();
                let held_out = held_out.with_classes(names)?;
                Ok((data.clone(), Some(held_out.with_channels(trainer.model().channels()))))
            }
        }
    }

    /// The model as it is now, with the moving average of the weights.
    pub fn pipeline(&mut self) -> Result<Pipeline, Failure> {
        let weights = Arc::new(self.trainer.averaged_weights()?);
        let unet = self.trainer.model().clone().augmented(false);
        let scheduler = self.trainer.scheduler().clone();
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
        match self.trainer.options().last_rate().map(u64::from) {
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
        let [height, width, channels] = data.shape();
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
            precision,
            ..
        } = trainer.options();
        let falling = decay_steps.map_or(String::new(), |end| format!(", none after step {end}"));
        let clip = clip.map_or("none".to_owned(), |norm| norm.to_string());
        let batch = match trainer.options().parts() {
            1 => batch.to_string(),
            parts => format!("{} in {parts} parts of {batch}", batch * parts),
        };
        let stored = match precision {
            ElementType::F32 => String::new(),
            halves => format!(", weights and activations in {halves}"),
        };
        let (next, total) = (trainer.steps() + 1, u64::from(notes.steps));
        let steps = match next <= total {
            true => format!("steps {next} to {total}"),
            false => format!("all {total} steps are done"),
        };
        say!(
            "run    {steps}, batch {batch}, learning rate {learning_rate} after {warmup} steps\
             {falling}, \
             clip {clip}, EMA {ema_decay}, seed {seed}{stored}",
        );
        if !self.differences.is_empty() {
            say!("but    from here on not with the bits of a run without a break:");
        }
        for difference in &self.differences {
            say!("       {difference}");
        }
    }
}

//! Training of a classifier of noisy images, which then guides: Dhariwal and Nichol 2021, section 4 and appendix H.
use super::{
    Settings, State,
    checkpoint::STATE,
    objective::Objective,
    optimizer::Optimizer,
    options::TrainingOptions,
    step::{TrainingGraph, noisy},
    trainer::Trainer,
};
use crate::{
    diffusion::schedule::SchedulerConfig,
    error::Error,
    gpu::Gpu,
    graph::Graph,
    models::classifier_unet::{ClassifierConfig, ClassifierUNet},
    nn::{Arenas, Condition, Layers, Model, ModelInputs},
    ops::SoftmaxCrossEntropy,
    pipeline::{self, CLASSIFIER, RunFolder, SCHEDULER, SETTINGS},
    plan::Target,
    value::TensorType,
};
use serde_json::Value as Json;
use std::path::Path;

impl TrainingGraph {
    /// A step of a classifier: the cross-entropy of its logits for images at timesteps that are drawn
    /// for each alike.
    ///
    /// # Errors
    /// If an option is out of its range, the schedule is none, or the model cannot be built.
    pub fn classifier(
        target: &Target,
        model: &ClassifierUNet,
        scheduler: &SchedulerConfig,
        options: &TrainingOptions,
    ) -> Result<Self, Error> {
        options.check_ranges()?;
        options.check_f32("a classifier")?;
        let schedule = scheduler.schedule()?;
        let mut objective = Objective::new(scheduler, Some(&schedule), options);
        let mut graph = Graph::new();
        let (batch, side) = (options.batch, model.config().image_size);
        let x0 = graph.input(TensorType::f32(&[batch, side, side, model.channels()]));
        let labels = graph.input(TensorType::u32(&[batch]));
        let levels = objective.levels(&mut graph);
        let arenas = Arenas::new(model.parameters()?, target.max_binding);
        let mut optimizer = Optimizer::new(&mut graph, arenas);
        let begun = optimizer.begin(&mut graph, options)?;
        let seen = noisy(&mut graph, &objective, [x0, levels, begun.key], None, None)?;
        let views = optimizer.parameters(&mut graph)?;
        let (x, timesteps) = (seen.x, seen.drawn.timesteps);
        let inputs = ModelInputs { x, timesteps, condition: Condition::default() };
        let logits = model.build(&mut Layers::new(&mut graph, &views, Some(begun.key)), &inputs)?;
        let loss = graph.push(SoftmaxCrossEntropy, &[logits, labels])?;
        let loss = optimizer.end(&mut graph, &views, options, begun, loss)?.loss;
        let condition = Condition { labels: Some(labels), ..Condition::default() };
        let (given, tables, frozen, memory) = (None, objective.tables, None, None);
        let collected = Vec::new();
        Ok(Self { graph, x0, condition, given, tables, frozen, optimizer, memory, loss, collected })
    }
}

impl Trainer<ClassifierUNet> {
    /// A new classifier of images with the noise of this schedule.
    ///
    /// # Errors
    /// As [`TrainingGraph::classifier`], or if the plan does not fit the device.
    pub fn classifier(
        gpu: &Gpu,
        model: ClassifierUNet,
        scheduler: SchedulerConfig,
        options: TrainingOptions,
    ) -> Result<Self, Error> {
        let graph = TrainingGraph::classifier(gpu.target(), &model, &scheduler, &options)?;
        let size = [model.config().image_size; 2];
        Self::of_graph(gpu, model, scheduler, size, options, graph)
    }

    /// As [`Trainer::save_with`], the folder one that
    /// [`NoisyClassifier::read`](pipeline::NoisyClassifier::read) opens.
    ///
    /// # Errors
    /// As [`Trainer::save`].
    pub fn save_classifier(
        &mut self,
        folder: &Path,
        notes: Json,
        beside: &[(&str, &[u8])],
    ) -> Result<(), Error> {
        let state = self.state()?;
        let (config, average) = (self.model.config(), &state.parts[3]);
        let own = pipeline::classifier_files(folder, config, &self.scheduler, average)?;
        let own = own.iter().map(|(name, bytes)| (*name, &bytes[..]));
        let files: Vec<_> = own.chain(beside.iter().copied()).collect();
        self.checkpoint(folder, &state, notes, &files)
    }

    /// Continues the run that [`Trainer::save_classifier`] wrote.
    ///
    /// # Errors
    /// If a file is missing or damaged; the error names it.
    pub fn resume_classifier(gpu: &Gpu, folder: &RunFolder) -> Result<(Self, Settings), Error> {
        let settings = Settings::read(&folder.path(SETTINGS))?;
        let model = ClassifierUNet::new(ClassifierConfig::read(&folder.path(CLASSIFIER))?)?;
        let scheduler = SchedulerConfig::read(&folder.path(SCHEDULER))?;
        let gpu = &gpu.tuned(settings.tuning.clone());
        let mut trainer = Self::classifier(gpu, model, scheduler, settings.options.clone())?;
        let state = State::read(&folder.path(STATE), &trainer.arenas().specs, None)?;
        trainer.set_state(&state)?;
        Ok((trainer, settings))
    }
}

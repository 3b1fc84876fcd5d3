//! The training loop: writes batches, runs the plan, reads the recorded metrics.
use super::{
    collective::{Alone, Collective},
    fit,
    options::TrainingOptions,
    settings::Past,
    step::{Given, TrainingGraph},
    steps::{Metrics, Steps},
};
use crate::{
    data::{Batches, Dataset},
    diffusion::schedule::SchedulerConfig,
    error::{Error, TrainingError},
    gpu::{Executor, Gpu},
    models::unet2d::UNet,
    nn::{Arenas, Model, ParameterSource, Weights},
    ops::Counter,
    plan::Plan,
};
use std::ops::ControlFlow;

/// A model in training. `S` is its noise schedule; a classifier has none.
///
/// Example: [`crate::training`].
pub struct Trainer<M = UNet, S = SchedulerConfig> {
    pub(super) model: M,
    pub(super) scheduler: S,
    pub(super) options: TrainingOptions,
    pub(super) graph: TrainingGraph,
    pub(super) executor: Executor,
    /// The ranks of the run.
    pub(super) collective: Box<dyn Collective>,
    pub(super) steps: Steps,
    pub(super) size: [usize; 2],
    /// Settings of earlier steps, if the run was resumed with others.
    pub(super) history: Vec<Past>,
}

impl<M: Model> Trainer<M> {
    /// A new model for images of `[height, width]`, its weights drawn from the options' seed.
    ///
    /// # Errors
    /// If the configuration is inconsistent, the options do not suit it, or the plan does not fit
    /// the device.
    pub fn new(
        gpu: &Gpu,
        model: M,
        scheduler: SchedulerConfig,
        size: [usize; 2],
        options: TrainingOptions,
    ) -> Result<Self, Error> {
        Self::with(gpu, model, scheduler, size, options, Given::Nothing)
    }

    /// As [`Trainer::new`]; `given` says whether timesteps and noise come from the caller.
    ///
    /// # Errors
    /// As [`Trainer::new`].
    pub fn with(
        gpu: &Gpu,
        model: M,
        scheduler: SchedulerConfig,
        size: [usize; 2],
        options: TrainingOptions,
        given: Given,
    ) -> Result<Self, Error> {
        let graph = TrainingGraph::new(gpu.target(), &model, size, &scheduler, &options, given)?;
        Self::of_graph(gpu, model, scheduler, size, options, graph)
    }

    /// The noise schedule.
    pub fn scheduler(&self) -> &SchedulerConfig {
        &self.scheduler
    }

    /// Trains until `steps` steps are done in all, or `progress`, which is given the metrics
    /// of every step in order, breaks.
    ///
    /// # Errors
    /// As [`Trainer::step`] and [`Trainer::metrics`], or if the data do not fit the model.
    pub fn train(
        &mut self,
        data: &Dataset,
        steps: u64,
        flip: bool,
        progress: impl FnMut(&[Metrics]) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.check_data(data)?;
        let (parts, seed) = (self.options.parts() as u64, self.options.seed);
        let mut batches = Batches::new(data, self.options.batch, seed, flip);
        self.bursts(steps, progress, |trainer, step| {
            trainer
                .step_of(|trainer, part| trainer.write(&batches.batch(step * parts + part as u64)))
        })
    }

    /// Checks that images and labels are what the model takes.
    pub(super) fn check_data(&self, data: &Dataset) -> Result<(), Error> {
        let shape = [data.height(), data.width(), data.channels()];
        self.check_images(shape, data.classes())
    }

    /// The same of images of a shape, `[height, width, channels]`, and perhaps with classes.
    pub(super) fn check_images(
        &self,
        found: [usize; 3],
        classes: Option<usize>,
    ) -> Result<(), Error> {
        let expected = [self.size[0], self.size[1], self.model.channels()];
        if expected != found {
            let [expected, found] = [expected, found]
                .map(|[height, width, channels]| format!("{height}x{width}x{channels}"));
            return Err(TrainingError::Images { expected, found }.into());
        }
        if let Some(of) = self.model.context_type(self.options.batch) {
            return Err(Error::Context { expected: Some(of), found: None });
        }
        if let Some(expected) = self.model.classes() {
            let expected = expected - usize::from(self.options.label_drop > 0.0);
            if classes.is_none_or(|found| found > expected) {
                return Err(TrainingError::Classes { expected, found: classes }.into());
            }
        }
        Ok(())
    }
}

impl<M, S> Trainer<M, S> {
    /// Trains by a graph's own loss, from weights that follow from the options' seed.
    pub(crate) fn of_graph(
        gpu: &Gpu,
        model: M,
        scheduler: S,
        size: [usize; 2],
        options: TrainingOptions,
        graph: TrainingGraph,
    ) -> Result<Self, Error> {
        let mut executor = fit::executor(gpu, &graph.graph, options.memory)?;
        graph.tables.write(&mut executor)?;
        let start = Weights::initial(&graph.optimizer.arenas.specs, options.seed);
        let (steps, history) = (Steps::default(), Vec::new());
        let collective = Box::new(Alone);
        let mut trainer =
            Self { model, scheduler, options, graph, executor, collective, steps, size, history };
        trainer.write_counter(0)?;
        trainer.set_scaling(None)?;
        trainer.load(&start)?;
        if let Some(told) = trainer.graph.condition.vector {
            let none = vec![0.0; trainer.graph.graph.type_of(told).shape.elements()];
            trainer.executor.write(told, &none)?;
        }
        Ok(trainer)
    }

    /// Starts from these weights, the moving average too.
    ///
    /// # Errors
    /// If a parameter is missing or has another shape, or the device is lost.
    pub fn load(&mut self, weights: &dyn ParameterSource) -> Result<(), Error> {
        self.write_part(0, weights)?;
        for average in 0..self.graph.optimizer.averages.len() {
            self.write_average(average, weights)?;
        }
        self.write_part(3, weights)
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// Layout of its parameters.
    pub fn arenas(&self) -> &Arenas {
        &self.graph.optimizer.arenas
    }

    /// The numbers that decide the run.
    pub fn options(&self) -> &TrainingOptions {
        &self.options
    }

    /// The step as a graph.
    pub fn graph(&self) -> &TrainingGraph {
        &self.graph
    }

    /// The plan of a step.
    pub fn plan(&self) -> &Plan {
        self.executor.plan()
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        self.executor.gpu()
    }

    /// The executor, for its statistics and for tests.
    pub fn executor(&mut self) -> &mut Executor {
        &mut self.executor
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.steps.submitted
    }

    /// Waits, then returns what the steps since the last call recorded (the last
    /// [`TrainingGraph::HISTORY`] of them), those left out that a loss scale skipped.
    ///
    /// # Errors
    /// [`TrainingError::NotFinite`] if a step was bad, in f16 [`TrainingError::LossScale`]: nothing was updated in it
    /// or since.
    pub fn metrics(&mut self) -> Result<Vec<Metrics>, Error> {
        self.steps.metrics(&self.graph.optimizer, &mut self.executor)
    }

    /// As [`Trainer::metrics`], without blocking.
    ///
    /// # Errors
    /// As [`Trainer::metrics`].
    pub async fn metrics_async(&mut self) -> Result<Vec<Metrics>, Error> {
        self.steps.metrics_async(&self.graph.optimizer, &mut self.executor).await
    }

    /// The moving average of the weights: what one samples with.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn averaged_weights(&mut self) -> Result<Weights, Error> {
        self.read_part(3)
    }

    /// As [`Trainer::averaged_weights`], without blocking.
    ///
    /// # Errors
    /// As [`Trainer::averaged_weights`].
    pub async fn averaged_weights_async(&mut self) -> Result<Weights, Error> {
        self.graph.optimizer.read_part_async(&mut self.executor, 3).await
    }

    /// The weights as the optimizer sees them.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn raw_weights(&mut self) -> Result<Weights, Error> {
        self.read_part(0)
    }

    /// The device's own count of steps, once it has done what was submitted.
    pub(super) fn counter(&mut self) -> Result<Counter, Error> {
        self.graph.optimizer.counted(&mut self.executor)
    }

    /// The arenas of a part of the state, one after another.
    pub(super) fn part(&mut self, part: usize) -> impl Iterator<Item = Result<Vec<f32>, Error>> {
        self.graph.optimizer.state[part].iter().map(|&arena| self.executor.read(arena))
    }

    pub(super) fn read_part(&mut self, part: usize) -> Result<Weights, Error> {
        self.graph.optimizer.read_part(&mut self.executor, part)
    }

    pub(super) fn write_part(
        &mut self,
        part: usize,
        weights: &dyn ParameterSource,
    ) -> Result<(), Error> {
        self.graph.optimizer.write_part(&mut self.executor, part, weights)
    }
}

//! The training loop: writes batches, runs the plan, reads the recorded metrics.
use super::{
    optimizer::Optimizer,
    options::TrainingOptions,
    settings::Past,
    step::{Given, TrainingGraph},
};
use crate::{
    data::{Batch, Batches, Dataset},
    diffusion::schedule::SchedulerConfig,
    error::{Error, TrainingError},
    gpu::{Executor, Gpu},
    models::unet2d::UNet,
    nn::{Arenas, Model, ParameterSource, Weights},
    ops::Counter,
    passes,
    plan::Plan,
};
use std::ops::ControlFlow;

/// Metrics of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metrics {
    /// The step, counted from 1.
    pub step: u64,
    /// Its loss.
    pub loss: f32,
    /// Norm of all gradients together, before clipping.
    pub gradient_norm: f32,
}

/// A model in training. `S` is its noise schedule; a classifier has none.
pub struct Trainer<M = UNet, S = SchedulerConfig> {
    pub(super) model: M,
    pub(super) scheduler: S,
    pub(super) options: TrainingOptions,
    pub(super) graph: TrainingGraph,
    pub(super) executor: Executor,
    /// Steps submitted.
    pub(super) submitted: u64,
    /// Steps whose metrics were read.
    pub(super) reported: u64,
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
        let mut batches = Batches::new(data, self.options.batch, self.options.seed, flip);
        self.bursts(steps, progress, |trainer, step| trainer.step(&batches.batch(step)))
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
        let mut executor = Executor::new(gpu, passes::compile(&graph.graph, gpu.target())?)?;
        graph.tables.write(&mut executor)?;
        let counter = Counter { seed: options.seed, ..Counter::default() };
        executor.write_u32(graph.optimizer.counter, &counter.words())?;
        let start = Weights::initial(&graph.optimizer.arenas.specs, options.seed);
        let (submitted, reported, history) = (0, 0, Vec::new());
        let mut trainer =
            Self { model, scheduler, options, graph, executor, submitted, reported, size, history };
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
        self.submitted
    }

    /// Submits one step on `batch`, without waiting.
    ///
    /// # Errors
    /// If the batch has not the plan's size, or the device refuses.
    pub fn step(&mut self, batch: &Batch) -> Result<(), Error> {
        self.executor.write(self.graph.x0, &batch.images)?;
        if let Some(value) = self.graph.condition.labels {
            self.executor.write_u32(value, batch.labels.as_deref().unwrap_or_default())?;
        }
        self.executor.run(1)?;
        self.submitted += 1;
        Ok(())
    }

    /// Waits, then returns what the steps since the last call recorded (the last
    /// [`TrainingGraph::HISTORY`] of them).
    ///
    /// # Errors
    /// [`TrainingError::NotFinite`] if a step was bad: nothing was updated in it or since.
    pub fn metrics(&mut self) -> Result<Vec<Metrics>, Error> {
        let history = self.executor.read(self.graph.optimizer.history)?;
        let rows: Vec<&[f32]> = history.chunks_exact(4).collect();
        let row = |index: u64| rows[index as usize % rows.len()];
        if let Some(index) = self.counter()?.bad_step.map(u64::from) {
            // The device stands still since the step before; so does the host's count.
            (self.submitted, self.reported) = (index, index);
            let (step, loss, norm) = (index + 1, row(index)[0], row(index)[1]);
            return Err(TrainingError::NotFinite { step, loss, norm }.into());
        }
        let first = self.reported.max(self.submitted.saturating_sub(rows.len() as u64));
        let metrics = (first..self.submitted)
            .map(|index| {
                let (step, row) = (index + 1, row(index));
                Metrics { step, loss: row[0], gradient_norm: row[1] }
            })
            .collect();
        self.reported = self.submitted;
        Ok(metrics)
    }

    /// The moving average of the weights: what one samples with.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn averaged_weights(&mut self) -> Result<Weights, Error> {
        self.read_part(3)
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
        let words = self.executor.read_u32(self.graph.optimizer.counter)?;
        Ok(Counter::from_words(std::array::from_fn(|word| words[word])))
    }

    /// The arenas of a part of the state, one after another.
    pub(super) fn part(&mut self, part: usize) -> impl Iterator<Item = Result<Vec<f32>, Error>> {
        self.graph.optimizer.state[part].iter().map(|&arena| self.executor.read(arena))
    }

    pub(super) fn read_part(&mut self, part: usize) -> Result<Weights, Error> {
        let Optimizer { arenas, state, .. } = &self.graph.optimizer;
        arenas.weights(state[part].iter().map(|&arena| self.executor.read(arena)))
    }

    pub(super) fn write_part(
        &mut self,
        part: usize,
        weights: &dyn ParameterSource,
    ) -> Result<(), Error> {
        let Optimizer { arenas, state, .. } = &self.graph.optimizer;
        for (&arena, pieces) in state[part].iter().zip(arenas.pieces(weights)?) {
            self.executor.write_pieces(arena, pieces)?;
        }
        Ok(())
    }
}

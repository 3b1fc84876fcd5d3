//! Training of any graph, without diffusion.
use super::{
    fit,
    optimizer::Optimizer,
    options::TrainingOptions,
    steps::{Metrics, Steps},
};
use crate::{
    error::{Error, TrainingError, Unexpected},
    gpu::{Executor, Gpu},
    graph::Graph,
    nn::{self, Arenas, Layers, ParameterSource, Weights},
    ops::Counter,
    value::Value,
};

/// Layers and a loss of the caller's in training: a step on the device is their gradient, clipping, Adam and the
/// moving average. `cargo run --example regression` learns a curve with it.
///
/// ```no_run
/// use ddim::ops::{MeanSquaredError, Reduction};
/// use ddim::{graph::Graph, training::{GraphTrainer, TrainingOptions}, value::TensorType};
/// # use ddim::gpu::{Gpu, GpuOptions};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
///
/// let mut graph = Graph::new();
/// let [x, y] = [(); 2].map(|()| graph.input(TensorType::f32(&[256, 1])));
/// let mut trainer = GraphTrainer::new(&gpu, graph, &TrainingOptions::default(), |layers| {
///     let line = layers.linear("line", x, 1)?;
///     layers.push(MeanSquaredError { reduction: Reduction::Mean }, &[line, y])
/// })?;
/// trainer.executor().write(x, &[0.5; 256])?;
/// trainer.executor().write(y, &[2.0; 256])?;
/// trainer.step()?;
/// println!("loss {}", trainer.metrics()?[0].loss);
/// # Ok::<(), ddim::Error>(())
/// ```
pub struct GraphTrainer {
    optimizer: Optimizer,
    executor: Executor,
    steps: Steps,
}

impl GraphTrainer {
    /// A step that lowers a loss. `graph` has the step's inputs; `loss` appends layers to it and returns the loss
    /// `f32[1]`. It is called twice: first to ask for the parameters. These begin as their layers say, by the
    /// options' seed. Of the options the rates, Adam's numbers, clipping, the moving average, the seed and
    /// the memory count; the precision is f32.
    ///
    /// # Errors
    /// If an option is out of its range, `loss` fails, an op has no gradient, or the plan does not fit the device.
    pub fn new(
        gpu: &Gpu,
        mut graph: Graph,
        options: &TrainingOptions,
        loss: impl Fn(&mut Layers) -> Result<Value, Error>,
    ) -> Result<Self, Error> {
        options.check_ranges()?;
        options.check_f32("a graph of the caller's")?;
        let (one, expected) = (options.parts() == 1, "1, for a graph has one batch a step");
        Unexpected::check(one, "accumulate", expected, options.parts())
            .map_err(TrainingError::from)?;
        let (specs, _) = nn::trace(graph.clone(), &loss)?;
        let arenas = Arenas::new(specs, gpu.target().max_binding);
        let mut optimizer = Optimizer::new(&mut graph, arenas);
        let begun = optimizer.begin(&mut graph, options)?;
        let views = optimizer.parameters(&mut graph)?;
        let lost = loss(&mut Layers::new(&mut graph, &views, Some(begun.key)))?;
        optimizer.end(&mut graph, &views, options, begun, lost)?;
        let mut executor = fit::executor(gpu, &graph, options.memory)?;
        let counter = Counter { seed: options.seed, ..Counter::default() };
        executor.write_u32(optimizer.counter, &counter.words())?;
        let start = Weights::initial(&optimizer.arenas.specs, options.seed);
        let mut trainer = Self { optimizer, executor, steps: Steps::default() };
        trainer.load(&start)?;
        Ok(trainer)
    }

    /// Starts from these weights, the moving average too.
    ///
    /// # Errors
    /// If a parameter is missing or has another shape, or the device is lost.
    pub fn load(&mut self, weights: &dyn ParameterSource) -> Result<(), Error> {
        self.optimizer.write_part(&mut self.executor, 0, weights)?;
        self.optimizer.write_part(&mut self.executor, 3, weights)
    }

    /// The executor of a step, to write the inputs with.
    pub fn executor(&mut self) -> &mut Executor {
        &mut self.executor
    }

    /// Submits a step on what the inputs hold, without waiting.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn step(&mut self) -> Result<(), Error> {
        self.executor.run(1)?;
        self.steps.submitted += 1;
        Ok(())
    }

    /// Waits, then returns what the steps since the last call recorded, the last [`Optimizer::HISTORY`] of them.
    ///
    /// # Errors
    /// [`TrainingError::NotFinite`] if a step was bad: nothing was updated in it or since.
    pub fn metrics(&mut self) -> Result<Vec<Metrics>, Error> {
        self.steps.metrics(&self.optimizer, &mut self.executor)
    }

    /// The weights.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn weights(&mut self) -> Result<Weights, Error> {
        self.optimizer.read_part(&mut self.executor, 0)
    }

    /// Their moving average.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn averaged_weights(&mut self) -> Result<Weights, Error> {
        self.optimizer.read_part(&mut self.executor, 3)
    }
}

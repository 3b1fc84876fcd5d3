//! What every training step has around its loss: it begins with the counter and ends with the
//! gradient, clipping, Adam, the moving average, and the record. The section `gradients` runs once for
//! each micro-batch and adds up what they give, the section `update` once.
use super::options::{TrainingOptions, TrainingPrecision};
use crate::{
    error::Error,
    graph::Graph,
    nn::{Arenas, Views},
    ops::{
        Accumulate, Adam, Advance, Constant, Counter, GlobalNorm, NextImages, NextScale, Record,
        TrainingRow,
    },
    passes,
    value::{ElementType, TensorType, Value},
};

/// Adam and the moving average of the weights, in a graph: the state as inputs of a step.
#[derive(Clone, Debug)]
pub struct Optimizer {
    /// Layout of each part of the state.
    pub arenas: Arenas,
    /// Seed and step: a [`Counter`].
    pub counter: Value,
    /// `f32[capacity, 4]`: loss, gradient norm, clip factor, good, a row a step.
    pub history: Value,
    /// Parameters, first moments, second moments, moving averages.
    pub state: [Vec<Value>; 4],
    /// The step's gradient of each arena, which callers may read and change between the sections; of
    /// several micro-batches the mean. There are none before [`Optimizer::end`].
    pub gradients: Vec<Value>,
    /// The loss scale, if the step has one.
    pub scaling: Option<Scaling>,
}

/// The state of a loss scale.
#[derive(Clone, Copy, Debug)]
pub struct Scaling {
    /// `f32[1]`.
    pub scale: Value,
    /// `f32[4]`: that of [`NextScale`].
    pub tally: Value,
}

/// Random key and rates of a step.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    /// The counter's copy `u32[8]`, from which a step draws its random numbers.
    pub key: Value,
    /// Rates of this step.
    row: Value,
}

/// The numbers of a step.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// `f32[1]`: the loss, of several micro-batches the mean.
    pub loss: Value,
    /// `f32[4]`: what [`GlobalNorm`] found of loss and gradient.
    pub norm: Value,
}

impl Optimizer {
    /// Rows of the history.
    pub const HISTORY: usize = 256;
    /// Good steps in a row after which a loss scale is doubled: the default of PyTorch.
    pub const GROWTH: u32 = 2000;
    /// Steps in a row that a loss scale may skip.
    pub const SKIPS: u32 = 20;
    /// The section of a micro-batch: [`Executor::run_section`](crate::gpu::Executor::run_section).
    pub const GRADIENTS: &'static str = "gradients";
    /// The section that ends a step.
    pub const UPDATE: &'static str = "update";

    /// Adds the inputs.
    pub fn new(graph: &mut Graph, arenas: Arenas) -> Self {
        let counter = graph.input(Counter::of());
        let history = graph.input(TensorType::f32(&[Self::HISTORY, 4]));
        let state = [(); 4].map(|()| arenas.inputs(graph));
        Self { arenas, counter, history, state, gradients: Vec::new(), scaling: None }
    }

    /// Begins a step.
    ///
    /// # Errors
    /// None of the graph that it was made for.
    pub fn begin(&mut self, graph: &mut Graph, options: &TrainingOptions) -> Result<Begun, Error> {
        self.scaling = (options.precision == TrainingPrecision::F16).then(|| {
            let [scale, tally] = [1, 4].map(|extent| graph.input(TensorType::f32(&[extent])));
            Scaling { scale, tally }
        });
        graph.section(Self::GRADIENTS);
        let row = TrainingRow {
            learning_rate: options.learning_rate.into(),
            warmup: options.warmup,
            decay_steps: options.decay_steps.unwrap_or(0),
            beta1: options.betas.0.into(),
            beta2: options.betas.1.into(),
            ema_decay: options.ema_decay.into(),
            ema_warmup: options.ema_warmup,
        };
        let began = graph.push_all(row, &[self.counter])?;
        let [key, row] = began[..] else { unreachable!("a training row has two outputs") };
        Ok(Begun { key, row })
    }

    /// The parameters by name.
    ///
    /// # Errors
    /// None of the graph that it was made for.
    pub fn parameters(&self, graph: &mut Graph) -> Result<Views, Error> {
        self.parameters_as(graph, ElementType::F32)
    }

    /// The parameters by name, kernels, matrices and tables in this storage: see [`Arenas::views_as`].
    ///
    /// # Errors
    /// None of the graph that it was made for.
    pub fn parameters_as(&self, graph: &mut Graph, of: ElementType) -> Result<Views, Error> {
        self.arenas.views_as(graph, &self.state[0], of)
    }

    /// Ends a step that computed `loss` of a micro-batch from the parameters in `views`.
    ///
    /// # Errors
    /// If an op between parameters and loss has no gradient.
    pub fn end(
        &mut self,
        graph: &mut Graph,
        views: &Views,
        options: &TrainingOptions,
        Begun { key, row }: Begun,
        loss: Value,
    ) -> Result<Ended, Error> {
        let seed = match self.scaling {
            Some(Scaling { scale, .. }) => scale,
            None => graph.push(Constant { of: graph.type_of(loss), number: 1.0.into() }, &[])?,
        };
        let wrt: Vec<Value> =
            self.arenas.specs.iter().filter_map(|spec| views.get(&spec.name)).collect();
        let gradients = passes::gradient(graph, loss, seed, &wrt)?;
        graph.enter("optimizer");
        let mut gradients = self.arenas.pack(graph, &gradients)?;
        let (mut loss, mut counter) = (loss, self.counter);
        // What callers read: of sums the state.
        self.gradients.clone_from(&gradients);
        let mut told = loss;
        if options.parts() > 1 {
            let summed = [&mut loss].into_iter().chain(&mut gradients);
            let sums = accumulated(graph, options, key, summed)?;
            told = sums[0];
            self.gradients = sums[1..].to_vec();
            let images = (options.batch * options.ranks) as u32;
            let op = NextImages { images, step_images: options.images() as u32 };
            counter = graph.push(op, &[counter, key])?;
        }
        graph.section(Self::UPDATE);
        let (clip, scaled) = (options.clip.map(Into::into), self.scaling.is_some());
        let norm = GlobalNorm { clip, guarded: true, scaled };
        let mut operands = vec![loss, key];
        operands.extend(self.scaling.map(|of| of.scale));
        operands.extend(&gradients);
        let norm = graph.push(norm, &operands)?;
        let adam = Adam {
            beta1: options.betas.0.into(),
            beta2: options.betas.1.into(),
            epsilon: options.epsilon.into(),
            weight_decay: options.weight_decay.into(),
            decoupled: options.decoupled,
            ema: true,
        };
        for (arena, &gradient) in gradients.iter().enumerate() {
            let own = [0, 1, 2, 3].map(|part: usize| self.state[part][arena]);
            let mut operands = vec![row, norm, gradient];
            operands.extend(own);
            let next = graph.push_all(adam, &operands)?;
            for (state, next) in own.into_iter().zip(next) {
                graph.update(state, next);
            }
        }
        let recorded = graph.push(Record, &[self.history, key, loss, norm])?;
        graph.update(self.history, recorded);
        self.advance(graph, counter, key, norm)?;
        graph.leave();
        Ok(Ended { loss: told, norm })
    }

    /// Moves the counter on; a loss scale may skip a bad step.
    fn advance(
        &self,
        graph: &mut Graph,
        counter: Value,
        key: Value,
        norm: Value,
    ) -> Result<(), Error> {
        let mut operands = vec![counter, key, norm];
        if let Some(Scaling { scale, tally }) = self.scaling {
            let op = NextScale { interval: Self::GROWTH, skips: Self::SKIPS };
            let next = graph.push_all(op, &[scale, tally, norm, key])?;
            graph.update(scale, next[0]);
            graph.update(tally, next[1]);
            operands.push(next[1]);
        }
        let advanced = graph.push(Advance { guarded: true }, &operands)?;
        graph.update(self.counter, advanced);
        Ok(())
    }
}

/// Replaces values of a micro-batch by their means over the step, and returns the states that these are.
fn accumulated<'a>(
    graph: &mut Graph,
    options: &TrainingOptions,
    key: Value,
    values: impl Iterator<Item = &'a mut Value>,
) -> Result<Vec<Value>, Error> {
    let round = (options.batch * options.ranks) as u32;
    let op = Accumulate { scale: (1.0 / options.parts() as f64).into(), round };
    let mut sums = Vec::new();
    for value in values {
        let sum = graph.input(graph.type_of(*value));
        *value = graph.push(op, &[sum, *value, key])?;
        graph.update(sum, *value);
        sums.push(sum);
    }
    Ok(sums)
}

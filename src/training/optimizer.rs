//! What every training step has around its loss: it begins with the counter and ends with the
//! gradient, clipping, Adam, the moving average, and the record. The section `gradients` runs once for
//! each micro-batch and adds up what they give, the section `update` once, the section `halves` where masters
//! were written.
use super::{
    averages::Average,
    buckets::{Bucket, Sums, sums},
    options::TrainingOptions,
};
use crate::{
    error::Error,
    graph::Graph,
    nn::{Arenas, Views},
    ops::{Accumulate, Adam, AverageWeights, Constant, Counter, GlobalNorm, NextImages, Record},
    passes,
    value::{TensorType, Value},
};

/// Adam and the moving average of the weights, in a graph: the state as inputs of a step.
///
/// ```
/// use ddim::training::{Optimizer, TrainingOptions};
/// # use ddim::{graph::Graph, models::classifier::ConvClassifier, nn::{Arenas, Layers}};
/// # use ddim::{ops::SoftmaxCrossEntropy, value::TensorType};
/// # let network = ConvClassifier { size: [8, 8, 1], classes: 10 };
/// # let options = TrainingOptions::default();
/// # let mut graph = Graph::new();
/// # let x = graph.input(TensorType::f32(&[64, 8, 8, 1]));
/// # let labels = graph.input(TensorType::u32(&[64]));
///
/// let arenas = Arenas::new(network.parameters()?, 128 << 20);
/// let mut optimizer = Optimizer::new(&mut graph, arenas);
/// let begun = optimizer.begin(&mut graph, &options)?;
/// let views = optimizer.parameters(&mut graph)?;
/// let [_, logits] = network.build(&mut Layers::new(&mut graph, &views, Some(begun.key)), x)?;
/// let loss = graph.push(SoftmaxCrossEntropy, &[logits, labels])?;
/// let ended = optimizer.end(&mut graph, &views, &options, begun, loss)?;
/// assert_eq!(ended.loss, loss);
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Optimizer {
    /// Layout of each part of the state.
    pub arenas: Arenas,
    /// Seed and step: a [`Counter`].
    pub counter: Value,
    /// `f32[capacity, 4]`: loss, gradient norm, clip factor or loss scale, good, a row a step.
    pub history: Value,
    /// Parameters, first moments, second moments, moving averages.
    pub state: [Vec<Value>; 4],
    /// The copy in halves of each arena of parameters that has one: see [`Optimizer::storing`].
    pub halves: Vec<Option<Halves>>,
    /// The loss scale, if the step has one.
    pub scaling: Option<Scaling>,
    /// The step's gradient of each arena, which callers may read and change between the sections; of
    /// several micro-batches the mean, and so many times it as the loss scale says. There are none before
    /// [`Optimizer::end`].
    pub gradients: Vec<Value>,
    /// The parts of them that ranks add up one after another, in the order in which a step completes them.
    pub(super) buckets: Vec<Bucket>,
    /// More moving averages.
    pub averages: Vec<(Average, Vec<Value>)>,
}

/// The copy in halves of an arena of parameters, the masters.
///
/// Example: [`Optimizer`].
#[derive(Clone, Copy, Debug)]
pub struct Halves {
    /// The input that holds it.
    pub state: Value,
    /// What the section [`Optimizer::HALVES`] makes of the masters there, and a step reads.
    pub made: Value,
}

/// The state of a loss scale.
///
/// Example: [`Optimizer`].
#[derive(Clone, Copy, Debug)]
pub struct Scaling {
    /// `f32[1]`.
    pub scale: Value,
    /// `f32[4]`: that of [`NextScale`](crate::ops::NextScale).
    pub tally: Value,
}

/// Random key and rates of a step.
///
/// Example: [`Optimizer`].
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    /// The counter's copy `u32[8]`, from which a step draws its random numbers.
    pub key: Value,
    /// Rates of this step.
    row: Value,
}

/// The numbers of a step.
///
/// Example: [`Optimizer`].
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
    /// The section of a micro-batch: [`Executor::run_section`](crate::gpu::Executor::run_section).
    pub const GRADIENTS: &'static str = "gradients";
    /// The section that ends a step.
    pub const UPDATE: &'static str = "update";
    /// The section, by name, that makes the halves of the masters, where there are any: to be run after these were
    /// written.
    pub const HALVES: &'static str = "halves";
    /// Good steps in a row after which a loss scale is doubled: the default of PyTorch.
    pub const GROWTH: u32 = 2000;
    /// Steps in a row that a loss scale may skip.
    pub const SKIPS: u32 = 20;

    /// Adds the inputs.
    pub fn new(graph: &mut Graph, arenas: Arenas) -> Self {
        let counter = graph.input(Counter::of());
        let history = graph.input(TensorType::f32(&[Self::HISTORY, 4]));
        let state = [(); 4].map(|()| arenas.inputs(graph));
        let (gradients, buckets, averages) = Default::default();
        let (halves, scaling) = (vec![None; arenas.arenas.len()], None);
        Self { arenas, counter, history, state, halves, scaling, gradients, buckets, averages }
    }

    /// The same with more moving averages.
    pub fn averaging(mut self, graph: &mut Graph, averages: &[Average]) -> Self {
        let arenas = &self.arenas;
        self.averages = averages.iter().map(|of| (*of, arenas.inputs(graph))).collect();
        self
    }

    /// Begins a step.
    ///
    /// # Errors
    /// None of the graph that it was made for.
    pub fn begin(&self, graph: &mut Graph, options: &TrainingOptions) -> Result<Begun, Error> {
        graph.section(Self::GRADIENTS);
        let (row, decay) = options.rates();
        let began = graph.push_all(row, &[self.counter])?;
        let [key, mut row] = began[..] else { unreachable!("a training row has two outputs") };
        if let Some(decay) = decay {
            row = graph.push(decay, &[key, row])?;
        }
        Ok(Begun { key, row })
    }

    /// The parameters by name, as a step stores them.
    ///
    /// # Errors
    /// None of the graph that it was made for.
    pub fn parameters(&self, graph: &mut Graph) -> Result<Views, Error> {
        let read =
            |(master, halves): (&Value, &Option<Halves>)| halves.map_or(*master, |of| of.made);
        let arenas: Vec<Value> = self.state[0].iter().zip(&self.halves).map(read).collect();
        let made = self.halves.iter().flatten().next().map(|of| graph.type_of(of.made).element);
        self.arenas.copies(made.unwrap_or_default()).views(graph, &arenas)
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
        let backward = graph.equations.len();
        let found = passes::gradient(graph, loss, seed, &wrt)?;
        graph.enter("optimizer");
        let bucketed = options.ranks > 1;
        let mut gradients = if bucketed { Vec::new() } else { self.arenas.pack(graph, &found)? };
        let (mut loss, mut counter) = (loss, self.counter);
        // What callers read: of sums the state.
        self.gradients.clone_from(&gradients);
        let mut told = loss;
        if options.parts() > 1 {
            let summed = [&mut loss].into_iter().chain(&mut gradients);
            let sums = accumulated(graph, options.mean(), key, summed)?;
            told = sums[0];
            self.gradients = sums[1..].to_vec();
            let images = (options.batch * options.ranks) as u32;
            let op = NextImages { images, step_images: options.images() as u32 };
            counter = graph.push(op, &[counter, key])?;
        }
        if bucketed {
            let (op, bytes) = (options.mean(), options.bucket);
            let Sums { buckets, states, next } =
                sums(graph, &self.arenas, &found, op, key, bytes, backward)?;
            (self.buckets, self.gradients, gradients) = (buckets, states, next);
        }
        graph.section(Self::UPDATE);
        let (clip, scale) = (options.clip.map(Into::into), self.scaling.map(|of| of.scale));
        let mut operands = vec![loss, key];
        operands.extend(scale);
        operands.extend(&gradients);
        let norm = GlobalNorm { clip, guarded: true, scaled: scale.is_some() };
        let norm = graph.push(norm, &operands)?;
        for (arena, &gradient) in gradients.iter().enumerate() {
            self.move_arena(graph, options, arena, [key, row, norm, gradient])?;
        }
        let mut operands = vec![self.history, key, loss, norm];
        operands.extend(scale);
        let recorded = graph.push(Record, &operands)?;
        graph.update(self.history, recorded);
        self.advance(graph, [counter, key, norm])?;
        graph.leave();
        Ok(Ended { loss: told, norm })
    }

    /// Updates the parameters of an arena, and what follows from them.
    fn move_arena(
        &self,
        graph: &mut Graph,
        options: &TrainingOptions,
        arena: usize,
        [key, row, norm, gradient]: [Value; 4],
    ) -> Result<(), Error> {
        let own = [0, 1, 2, 3].map(|part: usize| self.state[part][arena]);
        let halves = self.halves[arena];
        let stored = halves.map(|of| graph.type_of(of.made).element);
        let mut operands = vec![row, norm, gradient];
        operands.extend(own);
        operands.extend(halves.map(|of| of.made));
        let next = graph.push_all(Adam { halves: stored, ..options.adam() }, &operands)?;
        for (average, arenas) in &self.averages {
            let op = AverageWeights { decay: average.decay() };
            let moved = graph.push(op, &[key, norm, next[0], arenas[arena]])?;
            graph.update(arenas[arena], moved);
        }
        for (state, next) in own.into_iter().chain(halves.map(|of| of.state)).zip(next) {
            graph.update(state, next);
        }
        Ok(())
    }
}

impl TrainingOptions {
    /// The op that moves the weights.
    fn adam(&self) -> Adam {
        Adam {
            beta1: self.betas.0.into(),
            beta2: self.betas.1.into(),
            epsilon: self.epsilon.into(),
            weight_decay: self.weight_decay.into(),
            decoupled: self.decoupled,
            ema: true,
            halves: None,
        }
    }

    /// The op that adds a micro-batch to a mean over the step.
    pub(super) fn mean(&self) -> Accumulate {
        let round = (self.batch * self.ranks) as u32;
        Accumulate { scale: (1.0 / self.parts() as f64).into(), round, offset: 0 }
    }
}

/// Replaces values of a micro-batch by their means over the step, and returns the states that these are.
fn accumulated<'a>(
    graph: &mut Graph,
    op: Accumulate,
    key: Value,
    values: impl Iterator<Item = &'a mut Value>,
) -> Result<Vec<Value>, Error> {
    let mut sums = Vec::new();
    for value in values {
        let sum = graph.input(graph.type_of(*value));
        *value = graph.push(op, &[sum, *value, key])?;
        graph.update(sum, *value);
        sums.push(sum);
    }
    Ok(sums)
}

//! What every training step has around its loss: it begins with the counter and ends with the
//! gradient, clipping, Adam, the moving average, and the record.
use super::{averages::Average, options::TrainingOptions};
use crate::{
    error::Error,
    graph::Graph,
    nn::{Arenas, Views},
    ops::{Adam, Advance, AverageWeights, Constant, Counter, GlobalNorm, Record},
    passes,
    value::{TensorType, Value},
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
    /// More moving averages.
    pub averages: Vec<(Average, Vec<Value>)>,
}

/// Random key and rates of a step.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    /// The counter's copy `u32[8]`, from which a step draws its random numbers.
    pub key: Value,
    /// Rates of this step.
    row: Value,
}

impl Optimizer {
    /// Rows of the history.
    pub const HISTORY: usize = 256;

    /// Adds the inputs.
    pub fn new(graph: &mut Graph, arenas: Arenas) -> Self {
        let counter = graph.input(Counter::of());
        let history = graph.input(TensorType::f32(&[Self::HISTORY, 4]));
        let state = [(); 4].map(|()| arenas.inputs(graph));
        Self { arenas, counter, history, state, averages: Vec::new() }
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
        graph.section("gradients");
        let (row, decay) = options.rates();
        let began = graph.push_all(row, &[self.counter])?;
        let [key, mut row] = began[..] else { unreachable!("a training row has two outputs") };
        if let Some(decay) = decay {
            row = graph.push(decay, &[key, row])?;
        }
        Ok(Begun { key, row })
    }

    /// The parameters by name.
    ///
    /// # Errors
    /// None of the graph that it was made for.
    pub fn parameters(&self, graph: &mut Graph) -> Result<Views, Error> {
        self.arenas.views(graph, &self.state[0])
    }

    /// Ends a step that computed `loss` from the parameters in `views`; returns what the norm's
    /// kernel found of loss and gradient.
    ///
    /// # Errors
    /// If an op between parameters and loss has no gradient.
    pub fn end(
        &self,
        graph: &mut Graph,
        views: &Views,
        options: &TrainingOptions,
        Begun { key, row }: Begun,
        loss: Value,
    ) -> Result<Value, Error> {
        let one = Constant { of: graph.type_of(loss), number: 1.0.into() };
        let seed = graph.push(one, &[])?;
        let wrt: Vec<Value> =
            self.arenas.specs.iter().filter_map(|spec| views.get(&spec.name)).collect();
        let gradients = passes::gradient(graph, loss, seed, &wrt)?;
        graph.enter("optimizer");
        let gradients = self.arenas.pack(graph, &gradients)?;
        graph.section("update");
        let norm = GlobalNorm { clip: options.clip.map(Into::into), guarded: true };
        let mut operands = vec![loss, key];
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
            for (average, arenas) in &self.averages {
                let op = AverageWeights { decay: average.decay() };
                let moved = graph.push(op, &[key, norm, next[0], arenas[arena]])?;
                graph.update(arenas[arena], moved);
            }
            for (state, next) in own.into_iter().zip(next) {
                graph.update(state, next);
            }
        }
        let recorded = graph.push(Record, &[self.history, key, loss, norm])?;
        graph.update(self.history, recorded);
        let advanced = graph.push(Advance { guarded: true }, &[self.counter, key, norm])?;
        graph.update(self.counter, advanced);
        graph.leave();
        Ok(norm)
    }
}

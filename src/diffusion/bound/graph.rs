//! Terms of the bound as one plan.
use crate::{
    diffusion::{
        network::{BuiltNetwork, Network, NetworkInputs},
        schedule::{Output, Schedule, Variance},
        streams,
    },
    error::Error,
    gpu::{Executor, Gpu},
    graph::Graph,
    ops::{AddNoise, AddNumberedNoise, Counter, VariationalBound},
    passes,
    plan::{Plan, Target},
    value::{TensorType, Value},
};

/// How a network's output is read, and what a pixel can be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoundOptions {
    /// What the output stands for, and whether the predicted image is clipped.
    pub output: Output,
    /// Variance of the model's steps.
    pub variance: Variance,
    /// Half of the distance between two values of a pixel: 1/255 for bytes as -1 to 1.
    pub half_bin: f64,
}

/// Where the noise of an evaluation comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundNoise {
    /// An input of the images' type.
    Given(Value),
    /// A [`Counter`], of which the seed counts, and the image's number `u32[batch]`.
    Drawn {
        /// The counter.
        key: Value,
        /// The numbers.
        numbers: Value,
    },
}

/// Terms of the bound for a batch of images, each at a timestep of its own, as a graph.
pub struct BoundGraph<'a> {
    /// Noise, network, terms.
    pub graph: Graph,
    /// Images `f32[batch, height, width, channels]`, -1 to 1.
    pub x0: Value,
    /// `f32[batch]`.
    pub timesteps: Value,
    /// The noise.
    pub noise: BoundNoise,
    /// `f32[timesteps, 2]`: [`Schedule::level_rows`].
    pub coefficients: Value,
    /// `f32[timesteps, 5]`: [`Schedule::bound_rows`].
    pub table: Value,
    /// Class labels, if the network takes any.
    pub labels: Option<Value>,
    /// `f32[batch, 4]`: see [`VariationalBound`].
    pub measures: Value,
    /// The network's weights, to be written once.
    pub weights: Vec<(Value, &'a [f32])>,
}

impl<'a> BoundGraph<'a> {
    /// The terms of `batch` images of `height` x `width`, for a schedule of `timesteps`.
    ///
    /// # Errors
    /// If the network cannot be built at this size, or its output does not fit the variance.
    pub fn new(
        network: &'a dyn Network,
        [batch, height, width]: [usize; 3],
        timesteps: usize,
        options: &BoundOptions,
        given_noise: bool,
    ) -> Result<Self, Error> {
        let mut graph = Graph::new();
        let image = TensorType::f32(&[batch, height, width, network.channels()]);
        let x0 = graph.input(image);
        let t = graph.input(TensorType::f32(&[batch]));
        let coefficients = graph.hold(TensorType::f32(&[timesteps, 2]));
        let table = graph.hold(TensorType::f32(&[timesteps, VariationalBound::COLUMNS]));
        let labels = network.labels(batch).map(|of| graph.input(of));
        let (noise, x) = if given_noise {
            let noise = graph.input(image);
            let x = graph.push(AddNoise, &[x0, t, coefficients, noise])?;
            (BoundNoise::Given(noise), x)
        } else {
            let key = graph.input(Counter::of());
            let numbers = graph.input(TensorType::u32(&[batch]));
            let op = AddNumberedNoise { stream: streams::BOUND };
            let x = graph.push(op, &[x0, t, coefficients, key, numbers])?;
            (BoundNoise::Drawn { key, numbers }, x)
        };
        let inputs = NetworkInputs { x, timesteps: t, labels };
        let BuiltNetwork { output, weights } = network.build(&mut graph, inputs)?;
        let op = VariationalBound {
            learned: options.variance == Variance::LearnedRange,
            clip: options.output.clip.map(Into::into),
            half_bin: options.half_bin.into(),
            frozen_mean: false,
        };
        let terms = graph.push_all(op, &[output, x0, x, t, table])?;
        let measures = terms[1];
        graph.outputs.push(measures);
        Ok(Self { graph, x0, timesteps: t, noise, coefficients, table, labels, measures, weights })
    }

    /// The plan.
    ///
    /// # Errors
    /// If the target cannot run it.
    pub fn plan(&self, target: &Target) -> Result<Plan, Error> {
        passes::compile(&self.graph, target)
    }

    /// An executor of the plan, with weights and tables in place.
    ///
    /// # Errors
    /// If the plan does not fit the device, or as [`Schedule::bound_rows`].
    pub fn executor(
        &self,
        gpu: &Gpu,
        schedule: &Schedule,
        options: &BoundOptions,
    ) -> Result<Executor, Error> {
        let rows = schedule.bound_rows(&options.output, options.variance)?;
        let mut executor = Executor::new(gpu, self.plan(gpu.target())?)?;
        for (value, contents) in &self.weights {
            executor.write(*value, contents)?;
        }
        executor.write(self.coefficients, &schedule.level_rows())?;
        executor.write(self.table, &rows)?;
        Ok(executor)
    }
}

//! Terms of the bound as one plan.
use crate::{
    diffusion::{
        schedule::{Prediction, Schedule, Variance},
        streams,
    },
    error::Error,
    gpu::{Executor, Gpu},
    graph::Graph,
    nn::{Condition, FrozenModel, Model, ModelInputs, ParameterSource},
    ops::{AddNoise, AddNumberedNoise, Counter, VariationalBound},
    passes,
    plan::{Plan, Target},
    value::{TensorType, Value},
};

/// Options of the variational bound.
///
/// Example: [`VlbGraph`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VlbOptions {
    /// Parametrisation and clipping of the prediction.
    pub output: Prediction,
    /// Variance of the model's steps.
    pub variance: Variance,
    /// Half of the distance between two values of a pixel: 1/255 for bytes as -1 to 1.
    pub half_bin: f64,
}

/// Source of the noise of an evaluation.
///
/// Example: [`VlbGraph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VlbNoise {
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
///
/// ```
/// use ddim::diffusion::{VlbGraph, VlbNoise, VlbOptions, schedule::{Prediction, Variance}};
/// # use ddim::{models::unet2d::{UNet, UNetConfig}, plan::Target, value::TensorType};
/// # let unet = UNet::new(UNetConfig::parse(r#"{
/// #     "block_out_channels": [32, 64], "norm_num_groups": 8,
/// #     "down_block_types": ["DownBlock2D", "DownBlock2D"],
/// #     "up_block_types": ["UpBlock2D", "UpBlock2D"]
/// # }"#)?)?;
///
/// let (output, variance) = (Prediction::default(), Variance::FixedSmall);
/// let options = VlbOptions { output, variance, half_bin: 1.0 / 255.0 };
/// let bound = VlbGraph::new(&Target::default(), &unet, [2, 8, 8], 1000, &options, true)?;
/// assert!(matches!(bound.noise, VlbNoise::Given(_)));
/// assert_eq!(bound.graph.type_of(bound.measures), TensorType::f32(&[2, 4]));
/// # Ok::<(), ddim::Error>(())
/// ```
pub struct VlbGraph {
    /// Noise, network, terms.
    pub graph: Graph,
    /// Images `f32[batch, height, width, channels]`, -1 to 1.
    pub x0: Value,
    /// `f32[batch]`.
    pub timesteps: Value,
    /// The noise.
    pub noise: VlbNoise,
    /// `f32[timesteps, 2]`: [`Schedule::level_rows`].
    pub coefficients: Value,
    /// `f32[timesteps, 5]`: [`Schedule::vlb_rows`].
    pub table: Value,
    /// Labels and context, if the network takes any.
    pub condition: Condition,
    /// `f32[batch, 4]`: see [`VariationalBound`].
    pub measures: Value,
    /// The model in it.
    pub model: FrozenModel,
}

impl VlbGraph {
    /// The terms of `batch` images of `height` x `width`, for a schedule of `timesteps`.
    ///
    /// # Errors
    /// If the network cannot be built at this size, or its output does not fit the variance.
    pub fn new(
        target: &Target,
        model: &dyn Model,
        [batch, height, width]: [usize; 3],
        timesteps: usize,
        options: &VlbOptions,
        given_noise: bool,
    ) -> Result<Self, Error> {
        let mut graph = Graph::new();
        let image = TensorType::f32(&[batch, height, width, model.channels()]);
        let x0 = graph.input(image);
        let t = graph.input(TensorType::f32(&[batch]));
        let coefficients = graph.constant(TensorType::f32(&[timesteps, 2]));
        let table = graph.constant(TensorType::f32(&[timesteps, VariationalBound::COLUMNS]));
        let condition = Condition::inputs(&mut graph, model, batch);
        let (noise, x) = if given_noise {
            let noise = graph.input(image);
            let x = graph.push(AddNoise, &[x0, t, coefficients, noise])?;
            (VlbNoise::Given(noise), x)
        } else {
            let key = graph.input(Counter::of());
            let numbers = graph.input(TensorType::u32(&[batch]));
            let op = AddNumberedNoise { stream: streams::BOUND };
            let x = graph.push(op, &[x0, t, coefficients, key, numbers])?;
            (VlbNoise::Drawn { key, numbers }, x)
        };
        let inputs = ModelInputs { x, timesteps: t, condition };
        let model = FrozenModel::new(&mut graph, model, &inputs, target.max_binding)?;
        let op = VariationalBound {
            learned: options.variance == Variance::LearnedRange,
            clip: options.output.clip.map(Into::into),
            half_bin: options.half_bin.into(),
            frozen_mean: false,
        };
        let terms = graph.push_all(op, &[model.prediction, x0, x, t, table])?;
        let measures = terms[1];
        graph.outputs.push(measures);
        Ok(Self { graph, x0, timesteps: t, noise, coefficients, table, condition, measures, model })
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
    /// If the plan does not fit the device or the weights not the model, or as [`Schedule::vlb_rows`].
    pub fn executor(
        &self,
        gpu: &Gpu,
        schedule: &Schedule,
        options: &VlbOptions,
        weights: &dyn ParameterSource,
    ) -> Result<Executor, Error> {
        let rows = schedule.vlb_rows(&options.output, options.variance)?;
        let mut executor = Executor::new(gpu, self.plan(gpu.target())?)?;
        for (value, pieces) in self.model.pieces(weights)? {
            executor.write_pieces(value, pieces)?;
        }
        executor.write(self.coefficients, &schedule.level_rows())?;
        executor.write(self.table, &rows)?;
        Ok(executor)
    }
}

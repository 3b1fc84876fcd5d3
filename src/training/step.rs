//! A training step as a graph: algorithm 1 of Ho et al. 2020, with clipping, Adam and EMA.
use super::optimizer::RunState;
use crate::{
    diffusion::streams,
    error::Error,
    graph::Graph,
    ops::{AddDrawnNoise, AddNoise, DrawTimesteps, MeanSquaredError, Reduction},
    unet::{ArenaLayout, UNet, UNetInputs},
    value::{TensorType, Value},
};
use serde::{Deserialize, Serialize};

/// Numbers that decide a training run, beside the model and its schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainingOptions {
    /// Images of a step.
    pub batch: usize,
    /// Learning rate after the warm-up.
    pub learning_rate: f64,
    /// Steps in which it grows to that.
    pub warmup: u32,
    /// Adam's decays of the moments.
    pub betas: (f64, f64),
    /// Adam's epsilon.
    pub epsilon: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// AdamW: the decay shrinks the parameter instead of entering the gradient.
    pub decoupled: bool,
    /// Largest norm of all gradients together; `None` never clips.
    pub clip: Option<f64>,
    /// Decay of the moving average of the weights.
    pub ema_decay: f64,
    /// Whether that decay is `min(ema_decay, (1 + i) / (10 + i))` in step `i`.
    pub ema_warmup: bool,
    /// Sum over each image instead of the mean over every element.
    pub sum_loss: bool,
    /// Seed of the weights, the order of the data, timesteps, noise and dropout.
    pub seed: u64,
}

impl Default for TrainingOptions {
    fn default() -> Self {
        Self {
            batch: 64,
            learning_rate: 2e-4,
            warmup: 0,
            betas: (0.9, 0.999),
            epsilon: 1e-8,
            weight_decay: 0.0,
            decoupled: false,
            clip: Some(1.0),
            ema_decay: 0.9999,
            ema_warmup: true,
            sum_loss: false,
            seed: 0,
        }
    }
}

/// What a step takes from the caller instead of drawing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// Nothing: timesteps and noise are drawn on the device.
    Nothing,
    /// Timesteps and noise.
    TimestepsAndNoise,
}

/// A training step as a graph, and the values that a caller writes and reads.
#[derive(Clone, Debug)]
pub struct TrainingGraph {
    /// The step.
    pub graph: Graph,
    /// Images of the batch, -1 to 1.
    pub x0: Value,
    /// Class labels, if the model takes any.
    pub labels: Option<Value>,
    /// `f32[batch]` and noise of the images' type, if given.
    pub given: Option<(Value, Value)>,
    /// `f32[timesteps, 2]`: `sqrt(abar)`, `sqrt(1 - abar)`.
    pub coefficients: Value,
    /// Seed and step: a [`Counter`](crate::ops::Counter).
    pub counter: Value,
    /// `f32[capacity, 4]`: loss, gradient norm, clip factor, good, a row a step.
    pub history: Value,
    /// Parameters, first moments, second moments, moving averages.
    pub state: [Vec<Value>; 4],
    /// The loss of the step.
    pub loss: Value,
}

impl TrainingGraph {
    /// Rows of the history: the host must read it at least this often.
    pub const HISTORY: usize = 256;

    /// A step on images of `[height, width]`, for a schedule of `timesteps` levels.
    ///
    /// # Errors
    /// If the model cannot be built at this size.
    pub fn new(
        unet: &UNet,
        layout: &ArenaLayout,
        [height, width]: [usize; 2],
        timesteps: usize,
        options: &TrainingOptions,
        given: Given,
    ) -> Result<Self, Error> {
        let mut graph = Graph::new();
        let batch = options.batch;
        let image = TensorType::f32(&[batch, height, width, unet.config().in_channels]);
        let x0 = graph.input(image);
        let labels = unet.label_type(batch).map(|of| graph.input(of));
        let coefficients = graph.input(TensorType::f32(&[timesteps, 2]));
        let run = RunState::inputs(&mut graph, layout);
        let given = (given == Given::TimestepsAndNoise)
            .then(|| (graph.input(TensorType::f32(&[batch])), graph.input(image)));

        let begun = run.begin(&mut graph, options)?;
        let key = begun.key;

        // x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise, and the noise is what is to be found.
        let (t, x, noise) = match given {
            Some((t, noise)) => (t, graph.push(AddNoise, &[x0, t, coefficients, noise])?, noise),
            None => {
                let draw =
                    DrawTimesteps { batch, count: timesteps as u32, stream: streams::TIMESTEPS };
                let t = graph.push(draw, &[key])?;
                let noising = AddDrawnNoise { stream: streams::NOISE };
                let made = graph.push_all(noising, &[x0, t, coefficients, key])?;
                (t, made[0], made[1])
            }
        };
        let views = layout.views(&mut graph, &run.state[0])?;
        let inputs = UNetInputs { x, timesteps: t, labels, key: Some(key) };
        let prediction = unet.build(&mut graph, inputs, &views)?;
        let reduction = if options.sum_loss { Reduction::ImageSum } else { Reduction::Mean };
        let loss = graph.push(MeanSquaredError { reduction }, &[prediction, noise])?;

        run.end(&mut graph, layout, &views, options, begun, loss)?;
        let RunState { counter, history, state } = run;
        Ok(Self { graph, x0, labels, given, coefficients, counter, history, state, loss })
    }
}

//! A training step as a graph: algorithm 1 of Ho et al. 2020, with clipping, Adam and EMA.
use super::{
    objective::{Drawn, Noisy, Objective, Tables},
    optimizer::RunState,
    options::{Timesteps, TrainingOptions},
};
use crate::{
    diffusion::{schedule::SchedulerConfig, streams},
    error::Error,
    graph::Graph,
    ops::{AddDrawnNoise, AddNoise, DropLabels, Remember, TimestepProbabilities},
    unet::{ArenaLayout, UNet, UNetInputs},
    value::{TensorType, Value},
};

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
    /// `f32[timesteps, 2]`: `sqrt(abar)`, `sqrt(1 - abar)`; one of the tables.
    pub coefficients: Value,
    /// What the caller writes once.
    pub tables: Tables,
    /// Seed and step: a [`Counter`](crate::ops::Counter).
    pub counter: Value,
    /// `f32[capacity, 4]`: loss, gradient norm, clip factor, good, a row a step.
    pub history: Value,
    /// Parameters, first moments, second moments, moving averages.
    pub state: [Vec<Value>; 4],
    /// The last losses of each timestep, if these are drawn by importance: see [`Remember`].
    pub memory: Option<Value>,
    /// The loss of the step.
    pub loss: Value,
}

impl TrainingGraph {
    /// Rows of the history: the host must read it at least this often.
    pub const HISTORY: usize = 256;

    /// A step on images of `[height, width]`.
    ///
    /// # Errors
    /// If the options do not suit the model, the schedule is none, or the model cannot be built at
    /// this size.
    pub fn new(
        unet: &UNet,
        layout: &ArenaLayout,
        [height, width]: [usize; 2],
        scheduler: &SchedulerConfig,
        options: &TrainingOptions,
        given: Given,
    ) -> Result<Self, Error> {
        options.check(unet.config(), scheduler)?;
        let schedule = scheduler.schedule()?;
        let timesteps = schedule.timesteps();
        let objective = Objective::new(scheduler, &schedule);
        let (mut graph, mut tables) = (Graph::new(), Tables::default());
        let batch = options.batch;
        let image = TensorType::f32(&[batch, height, width, unet.config().in_channels]);
        let x0 = graph.input(image);
        let labels = unet.label_type(batch).map(|of| graph.input(of));
        let levels = TensorType::f32(&[timesteps, 2]);
        let coefficients = tables.add(&mut graph, levels, schedule.level_rows());
        let run = RunState::inputs(&mut graph, layout);
        let given = (given == Given::TimestepsAndNoise)
            .then(|| (graph.input(TensorType::f32(&[batch])), graph.input(image)));
        // Timesteps of the caller's are not drawn.
        let memory = (given.is_none() && options.timesteps == Timesteps::Importance)
            .then(|| graph.input(TimestepProbabilities::memory(timesteps)));

        let begun = run.begin(&mut graph, options)?;
        let key = begun.key;

        // x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise
        let (drawn, x, noise) = match given {
            Some((timesteps, noise)) => {
                let x = graph.push(AddNoise, &[x0, timesteps, coefficients, noise])?;
                (Drawn { timesteps, factors: None }, x, noise)
            }
            None => {
                let drawn = objective.draw(&mut graph, options, key, memory)?;
                let noising = AddDrawnNoise { stream: streams::NOISE };
                let made = graph.push_all(noising, &[x0, drawn.timesteps, coefficients, key])?;
                (drawn, made[0], made[1])
            }
        };
        let seen = match (labels, unet.config().num_class_embeds) {
            (Some(labels), Some(classes)) if options.label_drop > 0.0 => {
                let (probability, null) = (options.label_drop.into(), classes as u32 - 1);
                let drop = DropLabels { probability, null, stream: streams::LABELS };
                Some(graph.push(drop, &[labels, key])?)
            }
            _ => labels,
        };
        let views = layout.views(&mut graph, &run.state[0])?;
        let inputs = UNetInputs { x, timesteps: drawn.timesteps, labels: seen, key: Some(key) };
        let output = unet.build(&mut graph, inputs, &views)?;
        let noisy = Noisy { x0, noise, x, drawn };
        let losses = objective.losses(&mut graph, &mut tables, options, &noisy, output)?;
        let loss = losses.loss;

        let norm = run.end(&mut graph, layout, &views, options, begun, loss)?;
        if let (Some(memory), Some(images)) = (memory, losses.images) {
            let next = graph.push(Remember, &[memory, drawn.timesteps, images, norm])?;
            graph.update(memory, next);
        }
        let RunState { counter, history, state } = run;
        Ok(Self {
            graph,
            x0,
            labels,
            given,
            coefficients,
            tables,
            counter,
            history,
            state,
            memory,
            loss,
        })
    }
}

//! The training objective: noisy images, targets and losses.
use super::{
    choices::{Loss, Timesteps},
    levels::TrainingLevel,
    options::TrainingOptions,
    snr::min_snr_weights,
    tables::Tables,
};
use crate::{
    diffusion::{
        schedule::{Prediction, PredictionType, Schedule, SchedulerConfig, Variance},
        streams,
    },
    error::Error,
    graph::Graph,
    ops::{
        Add, AddNoise, DrawImportant, DrawTimesteps, ImageSquaredError, LookUp, MeanLoss,
        MeanSquaredError, Reduction, Scale, SliceChannels, TimestepProbabilities, VariationalBound,
    },
    value::{TensorType, Value},
};

/// Half of the distance between two bytes in images of -1 to 1.
const HALF_BYTE: f64 = 1.0 / 255.0;

/// Timesteps of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drawn {
    /// `f32[batch]`.
    pub timesteps: Value,
    /// Importance weight of each image's loss, if that is not 1.
    pub factors: Option<Value>,
}

/// A noisy batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Noisy {
    /// The images.
    pub x0: Value,
    /// Noise of their type.
    pub noise: Value,
    /// Noisy images: the model's input.
    pub x: Value,
    /// Their timesteps.
    pub drawn: Drawn,
}

/// The loss of a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Losses {
    /// `f32[1]`.
    pub loss: Value,
    /// That of each image before its factor, where it is computed image by image.
    pub images: Option<Value>,
}

/// Builds the parts of a loss for one schedule.
pub(crate) struct Objective<'a> {
    scheduler: &'a SchedulerConfig,
    schedule: Option<&'a Schedule>,
    options: &'a TrainingOptions,
    /// The rows of an objective that has no betas.
    rows: Vec<TrainingLevel>,
    /// What the parts read, to be written once.
    pub tables: Tables,
}

impl<'a> Objective<'a> {
    pub fn new(
        scheduler: &'a SchedulerConfig,
        schedule: Option<&'a Schedule>,
        options: &'a TrainingOptions,
    ) -> Self {
        Self::at(scheduler, schedule, options, &options.objective.noises())
    }

    /// The same at these levels of noise, where the objective has no betas.
    pub fn at(
        scheduler: &'a SchedulerConfig,
        schedule: Option<&'a Schedule>,
        options: &'a TrainingOptions,
        noises: &[f64],
    ) -> Self {
        let level = |noise: &f64| options.objective.level(*noise, options.sum_loss);
        let rows = noises.iter().map(level).collect();
        Self { scheduler, schedule, options, rows, tables: Tables::default() }
    }

    /// Rows of the tables: timesteps, or levels.
    pub fn count(&self) -> usize {
        self.schedule.map_or(self.rows.len(), Schedule::timesteps)
    }

    /// A table of two numbers a row.
    fn pairs(&mut self, graph: &mut Graph, pairs: Vec<f32>) -> Value {
        self.tables.add(graph, TensorType::f32(&[pairs.len() / 2, 2]), pairs)
    }

    /// A column of the rows, as a table.
    fn column(&mut self, graph: &mut Graph, number: fn(&TrainingLevel) -> f64) -> Value {
        let column: Vec<f32> = self.rows.iter().map(|row| number(row) as f32).collect();
        self.tables.add(graph, TensorType::f32(&[column.len()]), column)
    }

    /// What the network is told at the rows that are drawn.
    pub fn told(&mut self, graph: &mut Graph, drawn: Value) -> Result<Value, Error> {
        if self.schedule.is_some() {
            return Ok(drawn);
        }
        let table = self.column(graph, |row| row.timestep);
        graph.push(LookUp, &[drawn, table])
    }

    fn learned(&self) -> bool {
        self.scheduler.variance_type == Variance::LearnedRange
    }

    /// `f32[timesteps, 2]`, the weights of image and noise at each timestep, as a table.
    pub fn levels(&mut self, graph: &mut Graph) -> Value {
        let rows = match self.schedule {
            Some(schedule) => schedule.level_rows(),
            None => {
                self.rows.iter().flat_map(|row| row.shown.map(|weight| weight as f32)).collect()
            }
        };
        self.pairs(graph, rows)
    }

    /// Draws a timestep for each image; `memory` is that of importance sampling.
    pub fn draw(
        &self,
        graph: &mut Graph,
        key: Value,
        memory: Option<Value>,
    ) -> Result<Drawn, Error> {
        let (batch, stream) = (self.options.batch, streams::TIMESTEPS);
        if let Some(memory) = memory {
            let probabilities = graph.push(TimestepProbabilities, &[memory])?;
            let drawn = graph.push_all(DrawImportant { batch, stream }, &[key, probabilities])?;
            return Ok(Drawn { timesteps: drawn[0], factors: Some(drawn[1]) });
        }
        let count = self.count() as u32;
        let antithetic = self.options.timesteps == Timesteps::Antithetic;
        let draw =
            DrawTimesteps { batch, images: self.options.images(), count, antithetic, stream };
        Ok(Drawn { timesteps: graph.push(draw, &[key])?, factors: None })
    }

    /// The prediction, without the learned variances, and its target.
    pub fn compared(
        &mut self,
        graph: &mut Graph,
        noisy: &Noisy,
        output: Value,
    ) -> Result<[Value; 2], Error> {
        let count = graph.type_of(noisy.x0).shape.last();
        let prediction = match self.learned() {
            true => graph.push(SliceChannels { start: 0, count }, &[output])?,
            false => output,
        };
        let target = match (self.schedule, self.scheduler.prediction_type) {
            (Some(_), PredictionType::Epsilon) => noisy.noise,
            (Some(_), PredictionType::Sample) => noisy.x0,
            _ => {
                // Noising with the roles exchanged.
                let wanted = self.wanted();
                let rows = self.pairs(graph, wanted);
                graph.push(AddNoise, &[noisy.noise, noisy.drawn.timesteps, rows, noisy.x0])?
            }
        };
        Ok([prediction, target])
    }

    /// The weights of noise and image in what is wanted of the network, for each row.
    fn wanted(&self) -> Vec<f32> {
        let Some(schedule) = self.schedule else {
            let pair = |row: &TrainingLevel| [row.wanted[1] as f32, row.wanted[0] as f32];
            return self.rows.iter().flat_map(pair).collect();
        };
        let mut rows = schedule.level_rows();
        for row in rows.chunks_exact_mut(2) {
            let [alpha, sigma] = [row[0], row[1]];
            row.copy_from_slice(&match self.scheduler.prediction_type {
                PredictionType::Epsilon => [1.0, 0.0],
                PredictionType::Sample => [0.0, 1.0],
                PredictionType::VPrediction => [alpha, -sigma],
                PredictionType::Flow => [1.0, -1.0],
                PredictionType::Score => [-1.0 / sigma, 0.0],
                PredictionType::ScaledScore => [-1.0, 0.0],
            });
        }
        rows
    }

    /// The loss of an output.
    pub fn losses(
        &mut self,
        graph: &mut Graph,
        noisy: &Noisy,
        output: Value,
    ) -> Result<Losses, Error> {
        let options = self.options;
        let plain = options.loss == Loss::Simple
            && options.min_snr_gamma.is_none()
            && self.schedule.is_some();
        if plain && noisy.drawn.factors.is_none() {
            let operands = self.compared(graph, noisy, output)?;
            let loss = graph.push(MeanSquaredError { reduction: reduction(options) }, &operands)?;
            return Ok(Losses { loss, images: None });
        }
        let images = match options.loss {
            Loss::Simple => self.simple(graph, noisy, output)?,
            Loss::Vlb => self.bound(graph, noisy, output, None)?,
            Loss::Hybrid => {
                let simple = self.simple(graph, noisy, output)?;
                let bound = self.bound(graph, noisy, output, Some(options.hybrid_lambda))?;
                graph.push(Add, &[simple, bound])?
            }
        };
        let operands: Vec<Value> = [images].into_iter().chain(noisy.drawn.factors).collect();
        let loss = graph.push(MeanLoss, &operands)?;
        Ok(Losses { loss, images: Some(images) })
    }

    /// The squared error of each image.
    fn simple(&mut self, graph: &mut Graph, noisy: &Noisy, output: Value) -> Result<Value, Error> {
        let [prediction, target] = self.compared(graph, noisy, output)?;
        let weights = match self.schedule {
            Some(schedule) => {
                let weights = min_snr_weights(
                    schedule,
                    self.scheduler.prediction_type,
                    self.options.min_snr_gamma,
                );
                self.tables.add(graph, TensorType::f32(&[weights.len()]), weights)
            }
            None => self.column(graph, |row| row.weight),
        };
        let error = ImageSquaredError { reduction: reduction(self.options) };
        graph.push(error, &[prediction, target, noisy.drawn.timesteps, weights])
    }

    /// An estimate of the bound from the term of each image; `lambda` times it beside another loss.
    fn bound(
        &mut self,
        graph: &mut Graph,
        noisy: &Noisy,
        output: Value,
        lambda: Option<f64>,
    ) -> Result<Value, Error> {
        let Some(schedule) = self.schedule else {
            unreachable!("the options have no bound without betas")
        };
        let timesteps = schedule.timesteps();
        let predicted =
            Prediction { kind: self.scheduler.prediction_type, ..Prediction::default() };
        let rows = schedule.vlb_rows(&predicted, self.scheduler.variance_type)?;
        let of = TensorType::f32(&[timesteps, VariationalBound::COLUMNS]);
        let rows = self.tables.add(graph, of, rows);
        let op = VariationalBound {
            learned: self.learned(),
            clip: None,
            half_bin: HALF_BYTE.into(),
            // Whole in the bound alone; beside the simple loss it only teaches the variance.
            frozen_mean: lambda.is_some(),
        };
        let Noisy { x0, x, drawn, .. } = *noisy;
        let term = graph.push(op, &[output, x0, x, drawn.timesteps, rows])?;
        let scale = (lambda.unwrap_or(1.0) * timesteps as f64).into();
        graph.push(Scale { scale, shift: 0.0.into() }, &[term])
    }
}

fn reduction(options: &TrainingOptions) -> Reduction {
    if options.sum_loss { Reduction::ImageSum } else { Reduction::Mean }
}

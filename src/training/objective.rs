//! The training objective: noisy images, targets and losses.
use super::options::{Loss, Timesteps, TrainingOptions};
use crate::{
    diffusion::{
        schedule::{Prediction, PredictionType, Schedule, SchedulerConfig, Variance},
        streams,
    },
    error::Error,
    gpu::Executor,
    graph::Graph,
    ops::{
        Add, AddNoise, DrawImportant, DrawTimesteps, ImageSquaredError, MeanLoss, MeanSquaredError,
        Reduction, Scale, SliceChannels, TimestepProbabilities, VariationalBound,
    },
    value::{TensorType, Value},
};

/// Half of the distance between two bytes in images of -1 to 1.
const HALF_BYTE: f64 = 1.0 / 255.0;

/// Tables of numbers, written once before the first step.
#[derive(Clone, Debug, Default)]
pub struct Tables(Vec<(Value, Vec<f32>)>);

impl Tables {
    /// Adds an input of this type with these numbers.
    pub(super) fn add(&mut self, graph: &mut Graph, of: TensorType, numbers: Vec<f32>) -> Value {
        let value = graph.input(of);
        self.0.push((value, numbers));
        value
    }

    /// The inputs and their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (Value, &[f32])> {
        self.0.iter().map(|(value, numbers)| (*value, &numbers[..]))
    }

    /// Writes all of them.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn write(&self, executor: &mut Executor) -> Result<(), Error> {
        self.iter().try_for_each(|(value, numbers)| executor.write(value, numbers))
    }
}

/// Timesteps of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drawn {
    /// `f32[batch]`.
    pub timesteps: Value,
    /// Importance weight of each image's loss, if that is not 1.
    pub factors: Option<Value>,
}

/// A noisy batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noisy {
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
pub(super) struct Losses {
    /// `f32[1]`.
    pub loss: Value,
    /// That of each image before its factor, where it is computed image by image.
    pub images: Option<Value>,
}

/// Builds the parts of a loss for one schedule.
pub(super) struct Objective<'a> {
    scheduler: &'a SchedulerConfig,
    schedule: &'a Schedule,
    options: &'a TrainingOptions,
    /// What the parts read, to be written once.
    pub tables: Tables,
}

impl<'a> Objective<'a> {
    pub fn new(
        scheduler: &'a SchedulerConfig,
        schedule: &'a Schedule,
        options: &'a TrainingOptions,
    ) -> Self {
        Self { scheduler, schedule, options, tables: Tables::default() }
    }

    fn learned(&self) -> bool {
        self.scheduler.variance_type == Variance::LearnedRange
    }

    /// `f32[timesteps, 2]`, the weights of image and noise at each timestep, as a table.
    pub fn levels(&mut self, graph: &mut Graph) -> Value {
        let of = TensorType::f32(&[self.schedule.timesteps(), 2]);
        self.tables.add(graph, of, self.schedule.level_rows())
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
        let count = self.schedule.timesteps() as u32;
        let antithetic = self.options.timesteps == Timesteps::Antithetic;
        let draw = DrawTimesteps { batch, count, antithetic, stream };
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
        let target = match self.scheduler.prediction_type {
            PredictionType::Epsilon => noisy.noise,
            PredictionType::Sample => noisy.x0,
            PredictionType::VPrediction => {
                // v = sqrt(abar) noise - sqrt(1 - abar) x0: noising with the roles exchanged.
                let mut rows = self.schedule.level_rows();
                rows.iter_mut().skip(1).step_by(2).for_each(|deviation| *deviation = -*deviation);
                let of = TensorType::f32(&[self.schedule.timesteps(), 2]);
                let rows = self.tables.add(graph, of, rows);
                graph.push(AddNoise, &[noisy.noise, noisy.drawn.timesteps, rows, noisy.x0])?
            }
            PredictionType::Flow => {
                let rows = [1.0, -1.0].repeat(self.schedule.timesteps());
                let of = TensorType::f32(&[self.schedule.timesteps(), 2]);
                let rows = self.tables.add(graph, of, rows);
                graph.push(AddNoise, &[noisy.noise, noisy.drawn.timesteps, rows, noisy.x0])?
            }
        };
        Ok([prediction, target])
    }

    /// The loss of an output.
    pub fn losses(
        &mut self,
        graph: &mut Graph,
        noisy: &Noisy,
        output: Value,
    ) -> Result<Losses, Error> {
        let options = self.options;
        let plain = options.loss == Loss::Simple && options.min_snr_gamma.is_none();
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
        let weights = self.weights(self.options.min_snr_gamma);
        let weights = self.tables.add(graph, TensorType::f32(&[weights.len()]), weights);
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
        let timesteps = self.schedule.timesteps();
        let predicted =
            Prediction { kind: self.scheduler.prediction_type, ..Prediction::default() };
        let rows = self.schedule.vlb_rows(&predicted, self.scheduler.variance_type)?;
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

    /// Weight of the squared error at each timestep.
    fn weights(&self, min_snr_gamma: Option<f64>) -> Vec<f32> {
        let weight = |&alpha: &f64| {
            let Some(gamma) = min_snr_gamma else { return 1.0 };
            let snr = alpha / (1.0 - alpha);
            let weight = match self.scheduler.prediction_type {
                // The limit where no signal is left, too.
                PredictionType::Epsilon => (gamma / snr).min(1.0),
                PredictionType::Sample => snr.min(gamma),
                PredictionType::VPrediction => snr.min(gamma) / (snr + 1.0),
                PredictionType::Flow => snr.min(gamma) / (snr.sqrt() + 1.0).powi(2),
            };
            weight as f32
        };
        self.schedule.alphas_cumprod().iter().map(weight).collect()
    }
}

fn reduction(options: &TrainingOptions) -> Reduction {
    if options.sum_loss { Reduction::ImageSum } else { Reduction::Mean }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A squared error of epsilon is `snr` times one of the image, one of v `snr + 1` times, one of the
    /// velocity `(sqrt(snr) + 1)^2` times.
    #[test]
    fn every_prediction_weighs_the_error_of_the_image_alike() {
        let weights = |prediction_type, gamma| {
            let scheduler = SchedulerConfig { prediction_type, ..SchedulerConfig::default() };
            let schedule = scheduler.schedule().expect("the default schedule");
            let options = TrainingOptions::default();
            let weights = Objective::new(&scheduler, &schedule, &options).weights(gamma);
            let alphas = schedule.alphas_cumprod().to_vec();
            alphas.into_iter().map(|alpha| alpha / (1.0 - alpha)).zip(weights).collect::<Vec<_>>()
        };
        type OfImage = fn(f64) -> f64;
        for (prediction, of_image) in [
            (PredictionType::Epsilon, (|snr| snr) as OfImage),
            (PredictionType::Sample, |_| 1.0),
            (PredictionType::VPrediction, |snr| snr + 1.0),
            (PredictionType::Flow, |snr: f64| (snr.sqrt() + 1.0).powi(2)),
        ] {
            for (snr, weight) in weights(prediction, Some(5.0)) {
                let (got, want) = (f64::from(weight) * of_image(snr), snr.min(5.0));
                assert!(
                    (got - want).abs() < 1e-6 * want,
                    "{prediction} at {snr}: {got} for {want}"
                );
            }
            assert!(weights(prediction, None).iter().all(|(_, weight)| *weight == 1.0));
        }
    }
}

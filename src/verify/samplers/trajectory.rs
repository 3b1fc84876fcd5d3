//! A table followed on the device, step by step, with a case's network and noise.
use super::super::{case_files::Case, case_graph::Axes, networks};
use crate::{
    diffusion::{
        SamplingGraph, SamplingOptions,
        closure::Elsewhere,
        samplers::{Step, Table},
        schedule::{Level, Prediction, PredictionType, StepWeights},
    },
    error::Error,
    gpu::{Executor, Gpu},
    nn::{Model, ParameterSource, Weights},
    ops::Counter,
    value::{Shape, Value},
};

/// An analytic predictor.
#[derive(Clone, Debug)]
pub enum Toy {
    /// The best prediction for data normally distributed around these numbers with variance 0.25.
    Gauss(Vec<f32>),
    /// A made-up function of x and timestep, as noise.
    Sin,
}

impl Toy {
    /// The noise in one element of `x`.
    fn noise(&self, level: &Level, x: f64, element: usize) -> f64 {
        let Level { timestep, alpha, sigma } = *level;
        match self {
            Self::Gauss(mu) => {
                let mu = f64::from(mu[element % mu.len()]);
                sigma * (x - alpha * mu) / (0.25 * alpha * alpha + sigma * sigma)
            }
            Self::Sin => 0.9 * x + 0.1 * (3.0 * x + 0.01 * timestep).sin(),
        }
    }

    /// The prediction for one element, in this parametrisation.
    fn output(&self, prediction: &Prediction, level: &Level, x: f64, element: usize) -> f64 {
        let Level { alpha, sigma, .. } = *level;
        let epsilon = self.noise(level, x, element);
        let image = || match self {
            // Without a division by alpha, which may be 0.
            Self::Gauss(mu) => {
                let mu = f64::from(mu[element % mu.len()]);
                mu + 0.25 * alpha * (x - alpha * mu) / (0.25 * alpha * alpha + sigma * sigma)
            }
            Self::Sin => (x - sigma * epsilon) / alpha,
        };
        match prediction.kind {
            // Under EDM's preconditioning this is no noise, but any function will do.
            PredictionType::Epsilon => epsilon,
            _ if prediction.sigma_data.is_some() => epsilon,
            PredictionType::Sample => image(),
            PredictionType::VPrediction => alpha * epsilon - sigma * image(),
            PredictionType::Flow => epsilon - image(),
            PredictionType::Score => -epsilon / sigma,
            PredictionType::ScaledScore => -epsilon,
        }
    }
}

/// The network of a case.
pub enum Predictor {
    /// A made-up one, asked at one level a step; `wide` if it has variances: the sine of x.
    Toy { toy: Toy, prediction: Prediction, levels: Vec<Level>, wide: bool },
    /// The case's U-Net.
    UNet,
}

impl Predictor {
    /// The network that a case names, asked at these levels.
    pub fn of(
        case: &Case,
        output: &Prediction,
        levels: Vec<Level>,
        wide: bool,
    ) -> Result<Self, Error> {
        let toy = match case.settings()["model"].as_str() {
            Some("unet") => return Ok(Self::UNet),
            Some("sin") => Toy::Sin,
            _ => Toy::Gauss(case.dense("mu", Axes::Image)?.1),
        };
        Ok(Self::Toy { toy, prediction: *output, levels, wide })
    }

    /// The analytic prediction from `x` in a step.
    fn predict(&self, step: usize, x: &[f32], channels: usize) -> Option<Vec<f32>> {
        let Self::Toy { toy, prediction, levels, wide } = self else { return None };
        let predict = |(element, &x): (usize, &f32)| {
            toy.output(prediction, &levels[step], f64::from(x), element) as f32
        };
        let output: Vec<f32> = x.iter().enumerate().map(predict).collect();
        if !wide {
            return Some(output);
        }
        let pixels = output.chunks(channels).zip(x.chunks(channels));
        let both = pixels.flat_map(|(of, x)| {
            of.iter().copied().chain(x.iter().map(|x| f64::from(*x).sin() as f32))
        });
        Some(both.collect())
    }
}

/// One plan of a sampling step.
pub struct Stepper {
    executor: Executor,
    x: Value,
    output: Value,
    noise: Option<Value>,
    context: Option<Value>,
    vector: Option<Value>,
}

impl Stepper {
    pub fn new(
        gpu: &Gpu,
        model: &dyn Model,
        weights: &dyn ParameterSource,
        shape: &Shape,
        table: &Table,
        options: &SamplingOptions,
    ) -> Result<Self, Error> {
        let size = [shape[0], shape[1], shape[2]];
        let graph = SamplingGraph::new(gpu.target(), model, size, table, options)?;
        let mut executor = graph.executor(gpu, table, weights, options)?;
        executor.write_u32(graph.counter, &Counter::default().words())?;
        let SamplingGraph { x, output, noise, condition, .. } = graph;
        let (context, vector) = (condition.context, condition.vector);
        Ok(Self { executor, x, output, noise, context, vector })
    }

    /// Sets the tokens of all steps; with guidance those of nothing come first.
    pub fn set_context(&mut self, context: &[f32]) -> Result<(), Error> {
        let none = Error::Context { expected: None, found: None };
        self.executor.write(self.context.ok_or(none)?, context)
    }

    /// Sets SDXL's vectors of all steps, in the same order.
    pub fn set_vectors(&mut self, vectors: &[f32]) -> Result<(), Error> {
        let none = Error::Vector { expected: None, found: None };
        self.executor.write(self.vector.ok_or(none)?, vectors)
    }

    /// From `x` to the next sample; `output` is what a network elsewhere predicted.
    pub fn step(
        &mut self,
        x: &[f32],
        output: Option<&[f32]>,
        noise: &[f32],
    ) -> Result<Vec<f32>, Error> {
        self.executor.write(self.x, x)?;
        if let Some(output) = output {
            self.executor.write(self.output, output)?;
        }
        if let Some(value) = self.noise {
            self.executor.write(value, noise)?;
        }
        self.executor.run(1)?;
        self.executor.read(self.x)
    }
}

/// The samples of a run, each in this crate's order of axes.
pub struct Trajectory {
    /// The start, and the sample after each step.
    pub samples: Vec<Vec<f32>>,
    /// The image predicted in each step.
    pub images: Vec<Vec<f32>>,
}

/// Follows `table` from `x`, with `noise` of each step one after another, or none.
pub fn follow(
    gpu: &Gpu,
    case: &Case,
    model: &Predictor,
    table: &Table,
    (shape, mut x): (Shape, Vec<f32>),
    noise: &[f32],
) -> Result<Trajectory, Error> {
    let channels = shape.last();
    let wide = matches!(model, Predictor::Toy { wide: true, .. });
    let out_channels = if wide { 2 * channels } else { channels };
    let (elsewhere, none) = (Elsewhere { channels, out_channels }, Weights::default());
    // The step kernel again, told to stop at the predicted image.
    let only_image = |step: &Step| Step {
        next: StepWeights { x0: 1.0, ..StepWeights::default() }.into(),
        kept: None,
        sigma: 0.0,
        adaptive: false,
        ..*step
    };
    let images = Table { steps: table.steps.iter().map(only_image).collect(), ..table.clone() };
    let plain = SamplingOptions::default();
    let mut images = Stepper::new(gpu, &elsewhere, &none, &shape, &images, &plain)?;
    let options = SamplingOptions { given_noise: !noise.is_empty(), ..plain };
    let mut stepper = match model {
        Predictor::Toy { .. } => Stepper::new(gpu, &elsewhere, &none, &shape, table, &options)?,
        Predictor::UNet => {
            let (unet, weights) = networks::model(case)?;
            Stepper::new(gpu, &unet, &weights, &shape, table, &options)?
        }
    };
    let elements = shape.elements();
    let mut run = Trajectory { samples: vec![x.clone()], images: Vec::new() };
    for index in 0..table.steps.len() {
        let noise = noise.get(index * elements..(index + 1) * elements).unwrap_or_default();
        let noise = Axes::Image.read(&shape, noise);
        let given = model.predict(index, &x, channels);
        let next = stepper.step(&x, given.as_deref(), &noise)?;
        let output = given.map_or_else(|| stepper.executor.read(stepper.output), Ok)?;
        run.images.push(images.step(&x, Some(&output), &[])?);
        run.samples.push(next.clone());
        x = next;
    }
    Ok(run)
}

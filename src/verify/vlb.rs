//! Cases of the variational bound: all pairs of image and timestep in one run of one plan.
use super::{
    case_files::{Case, Results},
    case_graph::Axes,
    schedules,
};
use crate::{
    diffusion::{
        VlbGraph, VlbNoise, VlbOptions, VlbTerm,
        schedule::{Level, Prediction, PredictionType, Schedule},
    },
    error::Error,
    gpu::Gpu,
    nn::{Initial, Layers, Model, ModelInputs, Weights},
    ops::AddNoise,
    value::{Shape, Value},
};
use std::f64::consts::LN_2;

/// The best prediction for data normally distributed around `mu` with variance 0.25: a mixture of
/// `x` and `mu` at each timestep, as noising is one of image and noise.
struct Gauss {
    /// Of all images.
    shape: Shape,
    mixture: Vec<f32>,
}

impl Gauss {
    fn new(schedule: &Schedule, prediction: PredictionType, shape: Shape) -> Result<Self, Error> {
        let mut mixture = Vec::new();
        for timestep in 0..schedule.timesteps() {
            let Level { alpha, sigma, .. } = Level::of(schedule, timestep)?;
            let variance = 0.25 * alpha * alpha + sigma * sigma;
            let epsilon = [sigma / variance, -sigma * alpha / variance];
            let image = [0.25 * alpha / variance, sigma * sigma / variance];
            let weights = match prediction {
                PredictionType::Epsilon => epsilon,
                PredictionType::Sample => image,
                PredictionType::Score => epsilon.map(|weight| -weight / sigma),
                PredictionType::ScaledScore => epsilon.map(|weight| -weight),
                PredictionType::Flow => [0, 1].map(|i| epsilon[i] - image[i]),
                PredictionType::VPrediction => {
                    [0, 1].map(|i| alpha * epsilon[i] - sigma * image[i])
                }
            };
            mixture.extend(weights.map(|weight| weight as f32));
        }
        Ok(Self { shape, mixture })
    }

    /// The numbers of its two parameters.
    fn weights(&self, mu: Vec<f32>) -> Weights {
        let mut weights = Weights::default();
        weights.insert("mu", self.shape, mu);
        let rows = Shape::new(&[self.mixture.len() / 2, 2]);
        weights.insert("mixture", rows, self.mixture.clone());
        weights
    }
}

impl Model for Gauss {
    fn channels(&self) -> usize {
        self.shape.last()
    }

    fn build(&self, layers: &mut Layers, inputs: &ModelInputs) -> Result<Value, Error> {
        let given = Initial::Constant(0.0);
        let mu = layers.parameter("mu", &self.shape, given)?;
        let mixture = layers.parameter("mixture", &[self.mixture.len() / 2, 2], given)?;
        layers.push(AddNoise, &[inputs.x, inputs.timesteps, mixture, mu])
    }
}

/// Kind `vlb`.
pub(super) fn run(gpu: &Gpu, case: &Case) -> Result<Results, Error> {
    let (clip_denoised, model): (bool, String) =
        (case.setting("clip_denoised")?, case.setting("model")?);
    if model != "gauss" {
        return Err(case.refuse(format!("model: expected gauss, found {model}")));
    }
    let scheduler = schedules::scheduler(case)?;
    let schedule = scheduler.schedule()?;
    let (shape, x0) = case.dense("x0", Axes::Image)?;
    let timesteps = case.indices("t", schedule.timesteps())?;
    let noise = case.tensor("noise")?.numbers.clone().into_f32();
    let mu = case.dense("mu", Axes::Image)?.1;
    let (images, elements, count) = (shape[0], shape.elements(), timesteps.len());
    if noise.len() != count * elements || mu.len() != elements {
        return Err(case.refuse("noise and mu are not those of every image and timestep"));
    }

    // Pairs go by timestep, as the noise does.
    let output = Prediction { clip: clip_denoised.then_some(1.0), ..scheduler.prediction() };
    let size = [count * images, shape[1], shape[2]];
    let shape = Shape::new(&[size[0], size[1], size[2], shape[3]]);
    let model = Gauss::new(&schedule, output.kind, shape)?;
    let weights = model.weights(mu.repeat(count));
    let options = VlbOptions { output, variance: scheduler.variance_type, half_bin: 1.0 / 255.0 };
    let graph = VlbGraph::new(gpu.target(), &model, size, schedule.timesteps(), &options, true)?;
    let mut executor = graph.executor(gpu, &schedule, &options, &weights)?;
    executor.write(graph.x0, &x0.repeat(count))?;
    if let VlbNoise::Given(value) = graph.noise {
        executor.write(value, &Axes::Image.read(&graph.graph.type_of(graph.x0).shape, &noise))?;
    }
    let repeated = timesteps.iter().flat_map(|&t| std::iter::repeat_n(t as f32, images));
    executor.write(graph.timesteps, &repeated.collect::<Vec<_>>())?;
    executor.run(1)?;
    let measures = executor.read(graph.measures)?;

    summed(&schedule, &x0, images, &timesteps, &measures)
}

/// The terms of each image and their sums.
fn summed(
    schedule: &Schedule,
    x0: &[f32],
    images: usize,
    timesteps: &[usize],
    measures: &[f32],
) -> Result<Results, Error> {
    let mut results = Results::new();
    let squares = |image: &[f32]| image.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
    for (image, pixels) in x0.chunks(x0.len() / images).enumerate() {
        let mut give = |name: &str, number| results.entry(name.into()).or_default().push(number);
        let prior = schedule.prior_nats(squares(pixels) / pixels.len() as f64) / LN_2;
        let mut total = prior;
        for (place, &timestep) in timesteps.iter().enumerate() {
            let row = measures.as_chunks::<4>().0[place * images + image];
            let term = VlbTerm::of(row, Level::of(schedule, timestep)?.alpha_bar());
            give("vb", term.bits);
            give("xstart_mse", term.x0_error);
            give("mse", term.epsilon_error);
            total += term.bits;
            if timestep == 0 {
                give("decoder_nll_erf", term.exact_bits);
            }
        }
        give("prior_bpd", prior);
        give("total_bpd", total);
    }
    Ok(results)
}

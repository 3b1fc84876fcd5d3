//! Cases of the variational bound: all pairs of image and timestep in one run of one plan.
use super::{
    cases::{Case, Results},
    schedules,
    trial::Axes,
};
use crate::{
    diffusion::{
        BoundGraph, BoundNoise, BoundOptions, BoundTerm, BuiltNetwork, Network, NetworkInputs,
        schedule::{Level, Output, PredictionType, Schedule},
    },
    error::Error,
    gpu::Gpu,
    graph::Graph,
    ops::AddNoise,
    value::TensorType,
};
use serde::Deserialize;
use std::f64::consts::LN_2;

/// The best prediction for data normally distributed around `mu` with variance 0.25: a mixture of
/// `x` and `mu` at each timestep, as noising is one of image and noise.
struct Gauss {
    channels: usize,
    mu: Vec<f32>,
    mixture: Vec<f32>,
}

impl Gauss {
    fn new(
        schedule: &Schedule,
        prediction: PredictionType,
        channels: usize,
        mu: Vec<f32>,
    ) -> Result<Self, Error> {
        let mut mixture = Vec::new();
        for timestep in 0..schedule.timesteps() {
            let Level { signal, noise, .. } = Level::of(schedule, timestep)?;
            let variance = 0.25 * signal * signal + noise * noise;
            let epsilon = [noise / variance, -noise * signal / variance];
            let image = [0.25 * signal / variance, noise * noise / variance];
            let weights = match prediction {
                PredictionType::Epsilon => epsilon,
                PredictionType::Sample => image,
                PredictionType::VPrediction => {
                    [0, 1].map(|i| signal * epsilon[i] - noise * image[i])
                }
            };
            mixture.extend(weights.map(|weight| weight as f32));
        }
        Ok(Self { channels, mu, mixture })
    }
}

impl Network for Gauss {
    fn channels(&self) -> usize {
        self.channels
    }

    fn build(&self, graph: &mut Graph, inputs: NetworkInputs) -> Result<BuiltNetwork<'_>, Error> {
        let mu = graph.input(graph.type_of(inputs.x));
        let mixture = graph.hold(TensorType::f32(&[self.mixture.len() / 2, 2]));
        let output = graph.push(AddNoise, &[inputs.x, inputs.timesteps, mixture, mu])?;
        let weights = vec![(mu, self.mu.as_slice()), (mixture, self.mixture.as_slice())];
        Ok(BuiltNetwork { output, weights })
    }
}

/// Kind `vlb`.
pub(super) fn run(gpu: &Gpu, case: &Case) -> Result<Results, Error> {
    #[derive(Deserialize)]
    struct Config {
        clip_denoised: bool,
        model: String,
    }
    let Config { clip_denoised, model } = case.config()?;
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
    let output = Output { clip: clip_denoised.then_some(1.0), ..scheduler.output() };
    let network = Gauss::new(&schedule, output.prediction, shape.last(), mu.repeat(count))?;
    let options = BoundOptions { output, variance: scheduler.variance_type, half_bin: 1.0 / 255.0 };
    let size = [count * images, shape[1], shape[2]];
    let graph = BoundGraph::new(&network, size, schedule.timesteps(), &options, true)?;
    let mut executor = graph.executor(gpu, &schedule, &options)?;
    executor.write(graph.x0, &x0.repeat(count))?;
    if let BoundNoise::Given(value) = graph.noise {
        executor.write(value, &Axes::Image.read(&graph.graph.type_of(graph.x0).shape, &noise))?;
    }
    let told = timesteps.iter().flat_map(|&t| std::iter::repeat_n(t as f32, images));
    executor.write(graph.timesteps, &told.collect::<Vec<_>>())?;
    executor.run(1)?;
    let measures = executor.read(graph.measures)?;

    let mut results = Results::new();
    let squares = |image: &[f32]| image.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
    for (image, pixels) in x0.chunks(elements / images).enumerate() {
        let mut give = |name: &str, number| results.entry(name.into()).or_default().push(number);
        let prior = schedule.prior_nats(squares(pixels) / pixels.len() as f64) / LN_2;
        let mut total = prior;
        for (place, &timestep) in timesteps.iter().enumerate() {
            let row = measures.as_chunks::<4>().0[place * images + image];
            let term = BoundTerm::of(row, Level::of(&schedule, timestep)?.alpha());
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

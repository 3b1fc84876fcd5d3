//! The variational bound of a network on images, in bits per dimension.
use super::{
    network::{BuiltNetwork, Network, NetworkInputs},
    schedule::{Level, Output, Schedule, Variance, bound_levels},
    streams,
};
use crate::{
    data::Dataset,
    error::Error,
    gpu::{Executor, Gpu},
    graph::Graph,
    ops::{AddNoise, AddNumberedNoise, Counter, VariationalBound},
    passes,
    plan::{Plan, Target},
    value::{TensorType, Value},
};
use std::{f64::consts::LN_2, ops::ControlFlow};

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
    /// `f32[batch, 3]`: see [`VariationalBound`].
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

/// An image at a timestep.
#[derive(Clone, Copy, Debug)]
pub struct BoundPair<'a> {
    /// `[height, width, channels]`, -1 to 1.
    pub image: &'a [f32],
    /// The image's number, which its noise follows from.
    pub number: u32,
    /// The timestep.
    pub timestep: usize,
    /// Its class, for a network with labels.
    pub label: u32,
}

/// The bound's term of an image at a timestep, or the mean of some.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BoundTerm {
    /// `L_t` above timestep 0, where it is a KL divergence, and `L_0` there: Ho et al. 2020,
    /// equations 5 and 13; bits per dimension. The normal distribution function is approximated as
    /// in the code released with DDPM.
    pub bits: f64,
    /// The same with the exact distribution function.
    pub exact_bits: f64,
    /// Mean squared error of the predicted image.
    pub x0_error: f64,
    /// Mean squared error of the predicted noise.
    pub epsilon_error: f64,
}

impl BoundTerm {
    /// The term of a row of [`BoundGraph::measures`], at a level that leaves `alpha` of the
    /// image's variance: the errors of image and noise are the same but for their scale.
    pub fn of([bits, exact_bits, x0_error]: [f32; 3], alpha: f64) -> Self {
        let x0_error = f64::from(x0_error);
        let epsilon_error = x0_error * alpha / (1.0 - alpha);
        Self { bits: bits.into(), exact_bits: exact_bits.into(), x0_error, epsilon_error }
    }

    fn add(&mut self, term: Self, weight: f64) {
        self.bits += weight * term.bits;
        self.exact_bits += weight * term.exact_bits;
        self.x0_error += weight * term.x0_error;
        self.epsilon_error += weight * term.epsilon_error;
    }
}

/// The bound's terms at a timestep, in the mean over images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoundLevel {
    /// The timestep.
    pub timestep: usize,
    /// How many timesteps it stands for, itself among them.
    pub stands_for: usize,
    /// The terms.
    pub mean: BoundTerm,
}

/// The variational bound `L_T + L_{T-1} + .. + L_0` of a data set, Ho et al. 2020, equation 5, in
/// bits per dimension, in the mean over its images.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// Number of images.
    pub images: usize,
    /// `L_T`: how far the noisiest images are from noise.
    pub prior: f64,
    /// From timestep 0 on.
    pub levels: Vec<BoundLevel>,
    /// Standard error of the total, from how the images differ; 0 for one.
    pub standard_error: f64,
}

impl Bound {
    /// `L_0`: what the discretised decoder leaves to be said.
    pub fn decoder(&self) -> f64 {
        self.sum(|timestep| timestep == 0)
    }

    /// The sum of `L_1` to `L_{T-1}`.
    pub fn divergence(&self) -> f64 {
        self.sum(|timestep| timestep > 0)
    }

    /// All terms together.
    pub fn total(&self) -> f64 {
        self.prior + self.divergence() + self.decoder()
    }

    /// Do some timesteps stand for others?
    pub fn is_estimate(&self) -> bool {
        self.levels.iter().any(|level| level.stands_for > 1)
    }

    fn sum(&self, wanted: impl Fn(usize) -> bool) -> f64 {
        let levels = self.levels.iter().filter(|level| wanted(level.timestep));
        levels.map(|level| level.stands_for as f64 * level.mean.bits).sum()
    }
}

/// Evaluates the bound in batches of a fixed size.
pub struct BoundEvaluator {
    executor: Executor,
    x0: Value,
    timesteps: Value,
    numbers: Value,
    labels: Option<Value>,
    measures: Value,
    schedule: Schedule,
    batch: usize,
}

impl BoundEvaluator {
    /// Prepares to evaluate `[batch, height, width]` images at a time.
    ///
    /// The noise of an image follows from `seed`, its number and the timestep alone, so the batch
    /// changes nothing.
    ///
    /// # Errors
    /// As [`BoundGraph::new`] and [`BoundGraph::executor`].
    pub fn new(
        gpu: &Gpu,
        network: &dyn Network,
        size: [usize; 3],
        schedule: &Schedule,
        options: &BoundOptions,
        seed: u64,
    ) -> Result<Self, Error> {
        let graph = BoundGraph::new(network, size, schedule.timesteps(), options, false)?;
        let mut executor = graph.executor(gpu, schedule, options)?;
        let BoundGraph { x0, timesteps, noise, labels, measures, .. } = graph;
        let BoundNoise::Drawn { key, numbers } = noise else { unreachable!("no noise is given") };
        executor.write_u32(key, &Counter { seed, ..Counter::default() }.words())?;
        let (schedule, batch) = (schedule.clone(), size[0]);
        Ok(Self { executor, x0, timesteps, numbers, labels, measures, schedule, batch })
    }

    /// What was asked of the device so far.
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// The terms of these pairs, a batch at a time.
    ///
    /// # Errors
    /// If an image has another size, a timestep is past the schedule, or the device is lost.
    pub fn terms(&mut self, pairs: &[BoundPair<'_>]) -> Result<Vec<BoundTerm>, Error> {
        let mut terms = Vec::with_capacity(pairs.len());
        for pairs in pairs.chunks(self.batch) {
            let alphas: Vec<f64> = pairs
                .iter()
                .map(|pair| Ok(Level::of(&self.schedule, pair.timestep)?.alpha()))
                .collect::<Result<_, Error>>()?;
            // The places of missing ones repeat the first.
            let filled = || (0..self.batch).map(|place| pairs.get(place).unwrap_or(&pairs[0]));
            let images: Vec<f32> = filled().flat_map(|pair| pair.image).copied().collect();
            let timesteps: Vec<f32> = filled().map(|pair| pair.timestep as f32).collect();
            let numbers: Vec<u32> = filled().map(|pair| pair.number).collect();
            let labels: Vec<u32> = filled().map(|pair| pair.label).collect();
            self.executor.write(self.x0, &images)?;
            self.executor.write(self.timesteps, &timesteps)?;
            self.executor.write_u32(self.numbers, &numbers)?;
            if let Some(value) = self.labels {
                self.executor.write_u32(value, &labels)?;
            }
            self.executor.run(1)?;
            let measures = self.executor.read(self.measures)?;
            let rows = measures.as_chunks::<3>().0.iter().zip(alphas);
            terms.extend(rows.map(|(row, alpha)| BoundTerm::of(*row, alpha)));
        }
        Ok(terms)
    }

    /// The bound of the first `images` of `data` at `levels` of the timesteps: all of them, or
    /// fewer for an estimate, see [`bound_levels`]. `on_batch` hears how many of the `images *
    /// levels` pairs are done and may break off.
    ///
    /// # Errors
    /// As [`BoundEvaluator::terms`] and [`bound_levels`], or if the network takes labels and the
    /// data have none.
    pub fn evaluate<B>(
        &mut self,
        data: &Dataset,
        images: usize,
        levels: usize,
        mut on_batch: impl FnMut(usize) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B, Bound>, Error> {
        if self.labels.is_some() && data.labels().is_none() {
            let expected = Some(TensorType::u32(&[self.batch]));
            return Err(Error::Labels { expected, found: None });
        }
        let images = images.min(data.len());
        let mut levels: Vec<BoundLevel> = bound_levels(self.schedule.timesteps(), levels)?
            .into_iter()
            .map(|(timestep, stands_for)| BoundLevel {
                timestep,
                stands_for,
                mean: BoundTerm::default(),
            })
            .collect();
        let pixels: Vec<Vec<f32>> = (0..images).map(|image| data.image(image).collect()).collect();
        let squares = |image: &Vec<f32>| {
            let squares = image.iter().map(|x| f64::from(*x).powi(2));
            squares.sum::<f64>() / image.len() as f64
        };
        let prior = |image| self.schedule.prior_nats(squares(image)) / LN_2;
        let priors: Vec<f64> = pixels.iter().map(prior).collect();
        let mut totals = priors.clone();
        let count = images * levels.len();
        for first in (0..count).step_by(self.batch) {
            let places = first..(first + self.batch).min(count);
            let pairs: Vec<BoundPair<'_>> = places
                .clone()
                .map(|place| {
                    let (number, level) = (place / levels.len(), place % levels.len());
                    let label = data.labels().map_or(0, |labels| labels[number].into());
                    let timestep = levels[level].timestep;
                    BoundPair { image: &pixels[number], number: number as u32, timestep, label }
                })
                .collect();
            let terms = self.terms(&pairs)?;
            for (place, term) in places.clone().zip(terms) {
                let (number, level) = (place / levels.len(), place % levels.len());
                let level = &mut levels[level];
                level.mean.add(term, 1.0 / images as f64);
                totals[number] += level.stands_for as f64 * term.bits;
            }
            if let ControlFlow::Break(reason) = on_batch(places.end) {
                return Ok(ControlFlow::Break(reason));
            }
        }
        let mean = |numbers: &[f64]| numbers.iter().sum::<f64>() / images as f64;
        let (prior, center) = (mean(&priors), mean(&totals));
        let spread: f64 = totals.iter().map(|total| (total - center).powi(2)).sum();
        let freedom = (images * images.saturating_sub(1)).max(1);
        let standard_error = (spread / freedom as f64).sqrt();
        Ok(ControlFlow::Continue(Bound { images, prior, levels, standard_error }))
    }
}

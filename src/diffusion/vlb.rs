//! The variational bound of a network on images, in bits per dimension.
mod graph;
mod terms;

pub use graph::{VlbGraph, VlbNoise, VlbOptions};
pub use terms::{Vlb, VlbLevel, VlbTerm};

use super::schedule::{Level, Schedule, vlb_levels};
use crate::{
    data::Dataset,
    error::{Error, NotFinite},
    gpu::{Executor, Gpu},
    nn::{Condition, Model, ParameterSource},
    ops::Counter,
    value::{TensorType, Value},
};
use std::{f64::consts::LN_2, ops::ControlFlow};

/// An image at a timestep.
///
/// Example: [`VlbEvaluator`].
#[derive(Clone, Copy, Debug)]
pub struct VlbPair<'a> {
    /// `[height, width, channels]`, -1 to 1.
    pub image: &'a [f32],
    /// The image's number, which its noise follows from.
    pub number: u32,
    /// The timestep.
    pub timestep: usize,
    /// Its class, for a network with labels.
    pub label: u32,
}

/// Evaluates the bound in batches of a fixed size.
///
/// ```no_run
/// use ddim::{data, diffusion::{VlbEvaluator, VlbOptions, VlbPair}, pipeline};
/// use std::ops::ControlFlow;
/// # let gpu = ddim::gpu::Gpu::new(&ddim::gpu::GpuOptions::default())?;
///
/// let (data, size) = (data::digits(), [16, 8, 8]);
/// let pipeline::Pipeline { unet, scheduler, weights, .. } = pipeline::open("model".as_ref())?;
/// let (output, variance) = (scheduler.prediction(), scheduler.variance_type);
/// let (schedule, half_bin) = (scheduler.schedule()?, data.half_bin());
/// let options = VlbOptions { output, variance, half_bin };
/// let mut bound = VlbEvaluator::new(&gpu, &unet, &*weights, size, &schedule, &options, 0)?;
/// let vlb = bound.evaluate(&data, 100, 50, |_| ControlFlow::<()>::Continue(()))?;
/// println!("{:?} bits per dimension", vlb.continue_value().map(|vlb| vlb.total()));
/// let image: Vec<f32> = data.image(0).collect();
/// let pair = VlbPair { image: &image, number: 0, timestep: 500, label: 0 };
/// println!("{} bits at timestep 500", bound.terms(&[pair])?[0].bits);
/// # Ok::<(), ddim::Error>(())
/// ```
pub struct VlbEvaluator {
    executor: Executor,
    x0: Value,
    timesteps: Value,
    numbers: Value,
    condition: Condition,
    measures: Value,
    schedule: Schedule,
    batch: usize,
}

impl VlbEvaluator {
    /// Prepares to evaluate `[batch, height, width]` images at a time.
    ///
    /// The noise of an image follows from `seed`, its number and the timestep alone, so the batch
    /// changes nothing.
    ///
    /// # Errors
    /// As [`VlbGraph::new`] and [`VlbGraph::executor`], or if the model takes a context, which data sets
    /// have not.
    pub fn new(
        gpu: &Gpu,
        model: &dyn Model,
        weights: &dyn ParameterSource,
        size: [usize; 3],
        schedule: &Schedule,
        options: &VlbOptions,
        seed: u64,
    ) -> Result<Self, Error> {
        let graph = VlbGraph::new(gpu.target(), model, size, schedule.timesteps(), options, false)?;
        let mut executor = graph.executor(gpu, schedule, options, weights)?;
        let VlbGraph { x0, timesteps, noise, condition, measures, .. } = graph;
        if let Some(of) = model.context_type(size[0]) {
            return Err(Error::Context { expected: Some(of), found: None });
        }
        let VlbNoise::Drawn { key, numbers } = noise else { unreachable!("no noise is given") };
        executor.write_u32(key, &Counter { seed, ..Counter::default() }.words())?;
        let (schedule, batch) = (schedule.clone(), size[0]);
        Ok(Self { executor, x0, timesteps, numbers, condition, measures, schedule, batch })
    }

    /// The executor, for its statistics.
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// The terms of these pairs, a batch at a time.
    ///
    /// # Errors
    /// [`NotFinite::Vlb`] if the network's output or a term is not finite; if an image has
    /// another size, a timestep is past the schedule, or the device is lost.
    pub fn terms(&mut self, pairs: &[VlbPair<'_>]) -> Result<Vec<VlbTerm>, Error> {
        let mut terms = Vec::with_capacity(pairs.len());
        for pairs in pairs.chunks(self.batch) {
            let alphas: Vec<f64> = pairs
                .iter()
                .map(|pair| Ok(Level::of(&self.schedule, pair.timestep)?.alpha_bar()))
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
            if let Some(value) = self.condition.labels {
                self.executor.write_u32(value, &labels)?;
            }
            self.executor.run(1)?;
            let measures = self.executor.read(self.measures)?;
            for ((row, alpha), pair) in measures.as_chunks().0.iter().zip(alphas).zip(pairs) {
                NotFinite::check_vlb(*row, pair.number, pair.timestep)?;
                terms.push(VlbTerm::of(*row, alpha));
            }
        }
        Ok(terms)
    }

    /// The bound of the first `images` of `data`, one or more, at `levels` of the timesteps: all of
    /// them, or fewer for an estimate, see [`vlb_levels`]. `on_batch` is given how many of the `images *
    /// levels` pairs are done and may break off.
    ///
    /// # Errors
    /// As [`VlbEvaluator::terms`] and [`vlb_levels`], or if the network takes labels and the
    /// data have none.
    pub fn evaluate<B>(
        &mut self,
        data: &Dataset,
        images: usize,
        levels: usize,
        mut on_batch: impl FnMut(usize) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B, Vlb>, Error> {
        if self.condition.labels.is_some() && data.labels().is_none() {
            let expected = Some(TensorType::u32(&[self.batch]));
            return Err(Error::Labels { expected, found: None });
        }
        let images = images.clamp(1, data.len());
        let mut levels: Vec<VlbLevel> = vlb_levels(self.schedule.timesteps(), levels)?
            .into_iter()
            .map(|(timestep, stands_for)| VlbLevel {
                timestep,
                stands_for,
                mean: VlbTerm::default(),
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
            let pairs: Vec<VlbPair<'_>> = places
                .clone()
                .map(|place| {
                    let (number, level) = (place / levels.len(), place % levels.len());
                    let label = data.labels().map_or(0, |labels| labels[number].into());
                    let timestep = levels[level].timestep;
                    VlbPair { image: &pixels[number], number: number as u32, timestep, label }
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
        let squares: f64 = totals.iter().map(|total| (total - center).powi(2)).sum();
        let freedom = (images * images.saturating_sub(1)).max(1);
        let standard_error = (squares / freedom as f64).sqrt();
        Ok(ControlFlow::Continue(Vlb { images, prior, levels, standard_error }))
    }
}

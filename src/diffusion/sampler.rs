//! Sampling: S steps are S replays of one plan, with no host wait between them.
mod inputs;

use super::{
    guidance::Guidance,
    normal_noise::NormalNoise,
    samplers::Table,
    sampling_graph::{SamplingGraph, SamplingOptions},
    streams,
};
use crate::{
    error::{Error, NotFinite},
    gpu::{DeviceTensor, Executor, Gpu},
    nn::{Condition, FrozenModel, Model, ParameterSource},
    ops::Counter,
    plan::Plan,
    value::{TensorType, Value},
};
use std::ops::ControlFlow;

/// Samples images in batches of a fixed size.
///
/// ```no_run
/// use ddim::{diffusion::Sampler, pipeline};
/// # let gpu = ddim::gpu::Gpu::new(&ddim::gpu::GpuOptions::default())?;
///
/// let model = pipeline::open("model".as_ref())?;
/// let (table, size) = (model.scheduler.ddim(50, 0.0)?, [4, 32, 32]);
/// let mut sampler = Sampler::new(&gpu, &model.unet, &*model.weights, size, &table, None, 0)?;
/// sampler.begin(0)?;
/// sampler.advance_with(table.steps.len(), |done| println!("step {done} of 50"))?;
/// let images = sampler.images()?;
/// assert_eq!(images.len(), 4 * 32 * 32 * 3);
/// # Ok::<(), ddim::Error>(())
/// ```
pub struct Sampler {
    pub(super) executor: Executor,
    start: NormalNoise,
    pub(super) x: Value,
    pub(super) output: Value,
    counter: Value,
    condition: Condition,
    model: FrozenModel,
    classes: Option<u32>,
    guidance: Option<Guidance>,
    /// The labels that a classifier guides to, and how many classes it has.
    guided: Option<(Value, u32)>,
    image: TensorType,
    steps: usize,
    seed: u64,
}

impl Sampler {
    /// Prepares to sample `[batch, height, width]` images at a time along `table`.
    ///
    /// An image's noise depends on `seed` and its number alone, so that the batch it is computed in
    /// changes no more than roundings: kernels are chosen by size.
    ///
    /// # Errors
    /// If the model cannot be built at this size or for these weights, or does not fit the device.
    pub fn new(
        gpu: &Gpu,
        model: &dyn Model,
        weights: &dyn ParameterSource,
        size: [usize; 3],
        table: &Table,
        guidance: Option<Guidance>,
        seed: u64,
    ) -> Result<Self, Error> {
        let options = SamplingOptions { guidance, ..SamplingOptions::default() };
        Self::with(gpu, model, weights, size, table, &options, seed)
    }

    /// As [`Sampler::new`], with any guidance; the noise is drawn.
    ///
    /// # Errors
    /// As [`Sampler::new`], or if the table gives no weight to the gradient of a classifier.
    pub fn with(
        gpu: &Gpu,
        model: &dyn Model,
        weights: &dyn ParameterSource,
        size: [usize; 3],
        table: &Table,
        options: &SamplingOptions,
        seed: u64,
    ) -> Result<Self, Error> {
        let options = SamplingOptions { given_noise: false, ..*options };
        let guidance = options.guidance;
        let step = SamplingGraph::new(gpu.target(), model, size, table, &options)?;
        let executor = step.executor(gpu, table, weights, &options)?;
        let classes = model.classes().map(|classes| classes as u32);
        let guided = step.classifier.as_ref().zip(options.classifier);
        let guided = guided.map(|(of, by)| (of.labels, by.classifier.out_channels() as u32));
        let SamplingGraph { graph, x, output, counter, condition, model, .. } = step;
        let image = graph.type_of(x);
        if let Some((of, classes)) = guidance.zip(classes)
            && of.null_label >= classes
        {
            return Err(Error::Class { found: of.null_label, classes });
        }

        let start = NormalNoise::new(gpu, image, streams::START, table.start)?;
        let steps = table.steps.len();
        Ok(Self {
            executor,
            start,
            x,
            output,
            counter,
            condition,
            model,
            classes,
            guidance,
            guided,
            image,
            steps,
            seed,
        })
    }

    /// The plan of one step.
    pub fn plan(&self) -> &Plan {
        self.executor.plan()
    }

    /// The executor, for its statistics.
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// The executor, whose run is one step: to record steps into a caller's encoders
    /// ([`Executor::record`]) or to start them ([`Executor::start`]).
    pub fn executor_mut(&mut self) -> &mut Executor {
        &mut self.executor
    }

    /// Where the images lie on the device, `f32[batch, height, width, channels]`, -1 to 1 once finished; the
    /// next step replaces them there.
    ///
    /// # Errors
    /// None: the images have a place.
    pub fn tensor(&self) -> Result<DeviceTensor, Error> {
        self.executor.tensor(self.x)
    }

    /// Puts the noise of images `first..first + batch` in place and goes back to the first step.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn begin(&mut self, first: u32) -> Result<(), Error> {
        let (noise, x) = (self.start.draw_on_device(self.seed, first)?, self.tensor()?);
        self.executor.copy(&noise, &x)?;
        self.restart(first)
    }

    /// Puts `x [batch, height, width, channels]` in place, as images `first..first + batch`, and
    /// goes back to the first step.
    ///
    /// # Errors
    /// If `x` has another size, or the device is lost.
    pub fn begin_from(&mut self, first: u32, x: &[f32]) -> Result<(), Error> {
        self.set_images(x)?;
        self.restart(first)
    }

    /// Goes back to the first step of images from `first` on.
    fn restart(&mut self, first: u32) -> Result<(), Error> {
        let counter = Counter { seed: self.seed, first_image: first, ..Counter::default() };
        self.executor.write_u32(self.counter, &counter.words())
    }

    /// Replaces the images between two steps.
    ///
    /// # Errors
    /// If `x` has another size.
    pub fn set_images(&mut self, x: &[f32]) -> Result<(), Error> {
        self.executor.write(self.x, x)
    }

    /// The noise that images `first..first + batch` start from.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn noise(&mut self, first: u32) -> Result<Vec<f32>, Error> {
        self.start.draw(self.seed, first)
    }

    /// Runs `steps` more steps without waiting for them.
    ///
    /// # Errors
    /// If the device refuses or is lost.
    pub fn advance(&mut self, steps: usize) -> Result<(), Error> {
        self.executor.run(steps)
    }

    /// Runs `steps` more steps and waits for them; `hear` is told how many of them are done:
    /// [`Executor::run_with`].
    ///
    /// # Errors
    /// If the device refuses or is lost.
    pub fn advance_with(&mut self, steps: usize, hear: impl FnMut(usize)) -> Result<(), Error> {
        self.executor.run_with(steps, hear)
    }

    /// Runs up to `steps` more steps and waits for them; `hear` is told after each evaluation of the network how
    /// many are done, and may stop. The result is the number of steps done: [`Executor::run_while`].
    ///
    /// # Errors
    /// If the device refuses or is lost.
    pub fn advance_while(
        &mut self,
        steps: usize,
        hear: impl FnMut(usize) -> ControlFlow<()>,
    ) -> Result<usize, Error> {
        self.executor.run_while(steps, hear)
    }

    /// As [`Sampler::advance_with`], without blocking.
    ///
    /// # Errors
    /// As [`Sampler::advance_with`].
    pub async fn advance_async(
        &mut self,
        steps: usize,
        hear: impl FnMut(usize),
    ) -> Result<(), Error> {
        self.executor.run_async(steps, hear).await
    }

    /// Steps of a whole run: rows of the table.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// The images as they are now: `[batch, height, width, channels]`, -1 to 1 once finished.
    ///
    /// # Errors
    /// [`NotFinite::Sampling`] if a step since the beginning met numbers that are not finite, or
    /// if the device is lost.
    pub fn images(&mut self) -> Result<Vec<f32>, Error> {
        let (images, words) = self.executor.read_with(self.x, self.counter)?;
        self.finite(images, &words)
    }

    /// As [`Sampler::images`], without blocking.
    ///
    /// # Errors
    /// As [`Sampler::images`].
    pub async fn images_async(&mut self) -> Result<Vec<f32>, Error> {
        let (images, words) = self.executor.read_with_async(self.x, self.counter).await?;
        self.finite(images, &words)
    }

    /// The images, if the counter tells that all steps were finite.
    fn finite(&self, images: Vec<f32>, counter: &[u32]) -> Result<Vec<f32>, Error> {
        let counter = Counter::from_words(std::array::from_fn(|word| counter[word]));
        NotFinite::check(counter, self.steps)?;
        Ok(images)
    }

    /// What the network predicted in the last step, after guidance: `[batch, height, width, out_channels]`.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn prediction(&mut self) -> Result<Vec<f32>, Error> {
        self.executor.read(self.output)
    }

    /// As [`Sampler::prediction`], without blocking.
    ///
    /// # Errors
    /// As [`Sampler::prediction`].
    pub async fn prediction_async(&mut self) -> Result<Vec<f32>, Error> {
        self.executor.read_async(self.output).await
    }

    /// Samples images `0..count`, in as many batches as that takes; `done` is given how many are
    /// finished.
    ///
    /// # Errors
    /// As [`Sampler::images`], or if the device refuses.
    pub fn sample(&mut self, count: usize, mut done: impl FnMut(usize)) -> Result<Vec<f32>, Error> {
        let mut images = Vec::new();
        let batch = self.image.shape[0];
        for first in (0..count).step_by(batch) {
            self.begin(first as u32)?;
            self.advance(self.steps)?;
            images.extend(self.images()?);
            done((first + batch).min(count));
        }
        images.truncate(count * self.image.shape.elements() / batch);
        Ok(images)
    }
}

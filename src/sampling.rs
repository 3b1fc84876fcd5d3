//! Images of a pipeline: any number of them, in batches that fit the device.
//!
//! ```no_run
//! use ddim::{Error, gpu::{Gpu, GpuOptions}, pipeline, sampling::SamplingRequest};
//!
//! let gpu = Gpu::new(&GpuOptions::default())?;
//! let model = pipeline::open("model".as_ref())?;
//! let table = model.scheduler.ddim(50, 0.0)?;
//! let request = SamplingRequest { class: Some(3), ..SamplingRequest::new(&table, [32, 32], 100, 0) };
//! let mut sampling = request.open(&gpu, &model)?;
//! println!("{} batches of {}", sampling.batches(), sampling.batch());
//! let images = sampling.images(&[], |_| {}, |_, _| Ok::<_, Error>(()))?;
//! assert_eq!(images.len(), 100 * 32 * 32 * 3);
//! # Ok::<(), Error>(())
//! ```
//!
//! A whole program: `examples/guided_digits.rs`.
use crate::{
    diffusion::{
        ClassifierGuidance, Guidance, Sampler, SamplingGraph, SamplingOptions, samplers::Table,
    },
    error::{Error, GpuError, LoweringError},
    gpu::Gpu,
    nn::{ElementTypes, Model},
    pipeline::Pipeline,
};

/// More images at a time gain nothing.
const LARGEST_BATCH: usize = 256;

/// Planned bytes that a batch may take unasked.
const COMFORTABLE_BYTES: u64 = 1 << 30;

/// Which images to sample, and how.
///
/// Example: [`crate::sampling`].
#[derive(Clone, Copy)]
pub struct SamplingRequest<'a> {
    /// The steps.
    pub table: &'a Table,
    /// Height and width.
    pub size: [usize; 2],
    /// Number of images.
    pub count: usize,
    /// Keys the noise.
    pub seed: u64,
    /// Images at a time; `None` for as many as fit.
    pub batch: Option<usize>,
    /// One class instead of all in turn.
    pub class: Option<u32>,
    /// The label of each image, instead.
    pub labels: Option<&'a [u32]>,
    /// Guidance by the class.
    pub guidance: Option<Guidance>,
    /// Guidance by a classifier, to the class of each image.
    pub classifier: Option<ClassifierGuidance<'a>>,
    /// Storage of the network's numbers.
    pub types: ElementTypes,
    /// Where to start, `[count, height, width, channels]`, instead of noise.
    pub start: Option<&'a [f32]>,
}

/// How far the images of a batch are.
///
/// Example: [`crate::sampling`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Number of the first image of the batch.
    pub first: usize,
    /// Images of the batch.
    pub images: usize,
    /// Steps that they have done.
    pub steps: usize,
}

impl<'a> SamplingRequest<'a> {
    /// `count` images from noise.
    pub fn new(table: &'a Table, size: [usize; 2], count: usize, seed: u64) -> Self {
        let (batch, class, labels) = (None, None, None);
        let (guidance, classifier, start) = (None, None, None);
        let types = ElementTypes::default();
        Self { table, size, count, seed, batch, class, labels, guidance, classifier, types, start }
    }

    /// What a sampling step has besides its table.
    pub fn options(&self) -> SamplingOptions<'a> {
        let Self { guidance, classifier, types, .. } = *self;
        SamplingOptions { guidance, classifier, types, ..SamplingOptions::default() }
    }

    /// Prepares a sampler. Unless the request names a batch, it is halved until its plan takes at
    /// most 1 GiB and the device has room for it.
    ///
    /// # Errors
    /// If the model cannot be built at this size, or one image at a time does not fit the device.
    pub fn open(self, gpu: &Gpu, pipeline: &'a Pipeline) -> Result<Sampling<'a>, Error> {
        let mut batch = self.batch.unwrap_or(LARGEST_BATCH).min(self.count);
        loop {
            match self.sampler(gpu, pipeline, batch) {
                Ok(Some(sampler)) => {
                    return Ok(Sampling { request: self, pipeline, sampler, batch });
                }
                Ok(None) => {}
                Err(
                    error @ (Error::Gpu(GpuError::OutOfMemory { .. })
                    | Error::Lowering(LoweringError::Binding { .. })),
                ) if batch > 1 => log::info!("batch {batch}: {error}"),
                Err(error) => return Err(error),
            }
            batch = batch.div_ceil(2);
        }
    }

    /// A sampler of this batch; `None` if it takes more memory than is taken unasked.
    fn sampler(
        &self,
        gpu: &Gpu,
        pipeline: &Pipeline,
        batch: usize,
    ) -> Result<Option<Sampler>, Error> {
        let Self { table, size: [height, width], seed, .. } = *self;
        let (target, Pipeline { unet, weights, .. }) = (gpu.target(), pipeline);
        let (size, options) = ([batch, height, width], self.options());
        if self.batch.is_none() && batch > 1 {
            let graph = SamplingGraph::new(target, unet, size, table, &options)?;
            if graph.plan(target)?.peak_bytes() > COMFORTABLE_BYTES {
                return Ok(None);
            }
        }
        Sampler::with(gpu, unet, &**weights, size, table, &options, seed).map(Some)
    }

    /// Labels of the images `first..first + count`: of the model's classes if it has any, else of those that
    /// a classifier guides to.
    fn labels_of(
        &self,
        pipeline: &Pipeline,
        first: usize,
        count: usize,
    ) -> Result<Option<Vec<u32>>, Error> {
        match self.classifier {
            Some(guidance) if pipeline.unet.label_type(count).is_none() => {
                in_turn(guidance.classifier.out_channels() as u32, self.class, first, count)
                    .map(Some)
            }
            _ => class_labels(pipeline, first, count, self.class, self.guidance),
        }
    }
}

/// A request on its device.
///
/// Example: [`crate::sampling`].
pub struct Sampling<'a> {
    request: SamplingRequest<'a>,
    pipeline: &'a Pipeline,
    sampler: Sampler,
    batch: usize,
}

impl Sampling<'_> {
    /// The noise that the images start from, `[count, height, width, channels]`.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn noise(&mut self) -> Result<Vec<f32>, Error> {
        let mut noise = Vec::new();
        for first in (0..self.request.count).step_by(self.batch) {
            noise.extend(self.sampler.noise(first as u32)?);
        }
        noise.truncate(self.request.count * noise.len() / self.padded());
        Ok(noise)
    }

    /// The images, `[count, height, width, channels]`. After each of the ascending `stops`, in steps,
    /// and after the last step `stop` is told how far a batch is, and may read its images. In
    /// between `hear` is told how far it is, as often as the device ends a command buffer.
    ///
    /// # Errors
    /// If the labels or the start do not fit the model, as [`Sampler::images`], or what `stop`
    /// returns.
    pub fn images<E: From<Error>>(
        &mut self,
        stops: &[usize],
        mut hear: impl FnMut(Reached),
        mut stop: impl FnMut(&mut Sampler, Reached) -> Result<(), E>,
    ) -> Result<Vec<f32>, E> {
        let (count, batch, total) = (self.request.count, self.batch, self.sampler.steps());
        let mut all = Vec::new();
        for first in (0..count).step_by(batch) {
            self.begin(first)?;
            let mut done = 0;
            let images = batch.min(count - first);
            for &steps in stops.iter().filter(|steps| **steps < total).chain([&total]) {
                if steps > done {
                    self.sampler.advance_with(steps - done, |more| {
                        hear(Reached { first, images, steps: done + more });
                    })?;
                    done = steps;
                }
                if steps == total {
                    all.extend(self.sampler.images()?);
                }
                stop(&mut self.sampler, Reached { first, images, steps })?;
            }
        }
        all.truncate(count * all.len() / self.padded());
        Ok(all)
    }

    /// Images of all batches.
    fn padded(&self) -> usize {
        self.batches() * self.batch
    }

    /// Images at a time.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Batches, the last of which may have images to spare.
    pub fn batches(&self) -> usize {
        self.request.count.div_ceil(self.batch)
    }

    /// Steps of each batch: evaluations of the network.
    pub fn steps(&self) -> usize {
        self.sampler.steps()
    }

    /// Puts the batch from image `first` on at its start, with its labels. What the last batch has
    /// too many is as the first.
    fn begin(&mut self, first: usize) -> Result<(), Error> {
        let Self { request, pipeline, sampler, batch } = self;
        let labels = match request.labels {
            Some(given) => Some(filled(given, first, *batch, 1)),
            None => request.labels_of(pipeline, first, *batch)?,
        };
        if let Some(labels) = labels {
            sampler.set_labels(&labels)?;
        }
        let Some(start) = request.start else {
            return sampler.begin(first as u32);
        };
        let start = filled(start, first, *batch, start.len() / request.count);
        sampler.begin_from(first as u32, &start)
    }
}

/// What belongs to images `first..first + batch`, `elements` each; after the last come the first.
fn filled<T: Copy>(all: &[T], first: usize, batch: usize, elements: usize) -> Vec<T> {
    let rest = all.iter().skip(first * elements);
    rest.chain(all.iter().cycle()).take(batch * elements).copied().collect()
}

/// Labels of images `first..first + count`: of `class`, or of all classes in turn. `None` if the
/// model takes none.
///
/// ```no_run
/// let model = ddim::pipeline::open("model".as_ref())?;
/// let labels = ddim::sampling::class_labels(&model, 0, 2, Some(3), None)?;
/// assert_eq!(labels, Some(vec![3, 3]));
/// # Ok::<(), ddim::Error>(())
/// ```
///
/// # Errors
/// If the model does not have the class, or takes labels that are not rows of a table.
pub fn class_labels(
    pipeline: &Pipeline,
    first: usize,
    count: usize,
    class: Option<u32>,
    guidance: Option<Guidance>,
) -> Result<Option<Vec<u32>>, Error> {
    let expected = pipeline.unet.label_type(count);
    if expected.is_none() && class.is_none() {
        return Ok(None);
    }
    let Some(rows) = pipeline.unet.classes().map(|rows| rows as u32) else {
        return Err(Error::Labels { expected, found: None });
    };
    let null_label = guidance.map(|guidance| guidance.null_label).or(pipeline.null_label);
    let classes = null_label.unwrap_or(rows);
    in_turn(classes, class, first, count).map(Some)
}

/// Labels of images `first..first + count`: `class`, or all `classes` in turn.
fn in_turn(
    classes: u32,
    class: Option<u32>,
    first: usize,
    count: usize,
) -> Result<Vec<u32>, Error> {
    if let Some(found) = class.filter(|class| *class >= classes) {
        return Err(Error::Class { found, classes });
    }
    let label = |image: usize| class.unwrap_or(image as u32 % classes);
    Ok((first..first + count).map(label).collect())
}

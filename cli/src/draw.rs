//! Drawing images in batches that fit the device.
use crate::{failure::Failure, progress::Progress};
use ddim::{
    Error,
    diffusion::{Guidance, Sampler, SamplingGraph, SamplingOptions, samplers::Table},
    error::{GpuError, LoweringError},
    gpu::Gpu,
    nn::Model,
    pipeline::Pipeline,
};

/// More images at a time gain nothing.
const LARGEST_BATCH: usize = 256;

/// Planned bytes that a batch may take unasked.
const COMFORTABLE_BYTES: u64 = 1 << 30;

/// What to draw, and how.
#[derive(Clone, Copy)]
pub struct Request<'a> {
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
    /// Where to start, `[count, height, width, channels]`, instead of noise.
    pub start: Option<&'a [f32]>,
}

impl<'a> Request<'a> {
    /// `count` images from noise.
    pub fn new(table: &'a Table, size: [usize; 2], count: usize, seed: u64) -> Self {
        let (batch, class, labels, guidance, start) = (None, None, None, None, None);
        Self { table, size, count, seed, batch, class, labels, guidance, start }
    }

    /// The same from these images or this noise.
    pub fn from(table: &'a Table, size: [usize; 2], start: &'a [f32], elements: usize) -> Self {
        let request = Self::new(table, size, start.len() / elements, 0);
        Self { start: Some(start), ..request }
    }

    /// Puts images `first..first + batch` at their start, with their labels. What the last batch
    /// has too many is as the first.
    pub fn begin(
        &self,
        sampler: &mut Sampler,
        pipeline: &Pipeline,
        first: usize,
        batch: usize,
    ) -> Result<(), Failure> {
        let labels = match self.labels {
            Some(given) => Some(filled(given, first, batch, 1)),
            None => labels(pipeline, first, batch, self.class, self.guidance)?,
        };
        if let Some(labels) = labels {
            sampler.set_labels(&labels)?;
        }
        let Some(start) = self.start else {
            return Ok(sampler.begin(first as u32)?);
        };
        let start = filled(start, first, batch, start.len() / self.count);
        Ok(sampler.begin_from(first as u32, &start)?)
    }
}

/// What belongs to images `first..first + batch`, `elements` each; after the last come the first.
fn filled<T: Copy>(all: &[T], first: usize, batch: usize, elements: usize) -> Vec<T> {
    let rest = all.iter().skip(first * elements);
    rest.chain(all.iter().cycle()).take(batch * elements).copied().collect()
}

/// A sampler for the request, and its batch: halved until it fits.
pub fn sampler(
    gpu: &Gpu,
    pipeline: &Pipeline,
    request: &Request,
) -> Result<(Sampler, usize), Failure> {
    let [height, width] = request.size;
    let Request { table, seed, guidance, .. } = *request;
    let mut batch = request.batch.unwrap_or(LARGEST_BATCH).min(request.count);
    let too_large = |error: &Error| {
        matches!(
            error,
            Error::Gpu(GpuError::OutOfMemory { .. })
                | Error::Lowering(LoweringError::Binding { .. })
        )
    };
    let attempt = |batch: usize| -> Result<Option<Sampler>, Error> {
        let size = [batch, height, width];
        if request.batch.is_none() && batch > 1 {
            let options = SamplingOptions { given_noise: false, guidance };
            let graph = SamplingGraph::new(gpu.target(), &pipeline.unet, size, table, &options)?;
            if graph.plan(gpu.target())?.peak_bytes() > COMFORTABLE_BYTES {
                return Ok(None);
            }
        }
        Sampler::new(gpu, &pipeline.unet, &pipeline.weights, size, table, guidance, seed).map(Some)
    };
    loop {
        match attempt(batch) {
            Ok(Some(sampler)) => return Ok((sampler, batch)),
            Ok(None) => {}
            Err(error) if batch > 1 && too_large(&error) => {
                log::info!("batch {batch}: {error}")
            }
            Err(error) => return Err(error.into()),
        }
        batch = batch.div_ceil(2);
    }
}

/// Labels of images `first..first + batch`, if the model takes any.
pub fn labels(
    pipeline: &Pipeline,
    first: usize,
    batch: usize,
    class: Option<u32>,
    guidance: Option<Guidance>,
) -> Result<Option<Vec<u32>>, Failure> {
    let config = pipeline.unet.config();
    let rows = match (pipeline.unet.label_type(1), config.num_class_embeds) {
        (None, _) if class.is_some() => {
            return Err(Failure::Usage("--class: the model has no classes".into()));
        }
        (None, _) => return Ok(None),
        (Some(_), Some(classes)) if config.class_embed_type.is_none() => classes as u32,
        (Some(_), _) => {
            let text = "the model's class embedding is no table: sample it through the library";
            return Err(Failure::Usage(text.into()));
        }
    };
    let null_label = guidance.map(|guidance| guidance.null_label).or(pipeline.null_label);
    let classes = null_label.unwrap_or(rows);
    if let Some(class) = class.filter(|class| *class >= classes) {
        let text = format!("--class {class}: the model has {classes} classes, counted from 0");
        return Err(Failure::Usage(text));
    }
    let label = |image: usize| class.unwrap_or(image as u32 % classes);
    Ok(Some((first..first + batch).map(label).collect()))
}

/// Draws the images of a request, `[count, height, width, channels]`.
pub fn draw(gpu: &Gpu, pipeline: &Pipeline, request: &Request) -> Result<Vec<f32>, Failure> {
    let (mut sampler, batch) = sampler(gpu, pipeline, request)?;
    let count = request.count;
    let mut progress = Progress::new("sampling", 0, count as u64, "images");
    let mut images = Vec::new();
    for first in (0..count).step_by(batch) {
        request.begin(&mut sampler, pipeline, first, batch)?;
        sampler.advance(sampler.steps())?;
        images.extend(sampler.images()?);
        progress.update((first + batch).min(count) as u64, "");
    }
    progress.finish();
    let [height, width] = request.size;
    images.truncate(count * height * width * pipeline.unet.config().in_channels);
    Ok(images)
}

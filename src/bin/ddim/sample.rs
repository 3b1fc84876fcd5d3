//! `ddim sample`: images from a model.
use crate::{
    cli::{self, Device},
    devices::describe,
    failure::Failure,
    files,
    pictures::{Picture, columns, comfortable_scale},
    progress::{Progress, clock},
};
use ddim::{
    Error,
    diffusion::{Sampler, SamplingGraph, schedule::Table},
    gpu::{Gpu, GpuError},
    ops::LoweringError,
    training::{Pipeline, read_pipeline},
    unet::{ArenaLayout, UNet},
};
use std::{
    io::{Write, stdout},
    time::Instant,
};

/// More images at a time gain nothing.
const LARGEST_BATCH: usize = 256;

/// Planned bytes that a batch may take unasked.
const COMFORTABLE_BYTES: u64 = 1 << 30;

/// A model with its weights.
pub struct Model {
    /// The architecture.
    pub unet: UNet,
    /// Where the parameters lie.
    pub layout: ArenaLayout,
    /// The parameters.
    pub arenas: Vec<Vec<f32>>,
}

/// What to draw, and how.
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
}

impl Model {
    /// A sampler for the request, and its batch: halved until it fits.
    pub fn sampler(&self, gpu: &Gpu, request: &Request) -> Result<(Sampler, usize), Failure> {
        let [height, width] = request.size;
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
                let steps = request.table.steps.len();
                let graph = SamplingGraph::new(&self.unet, &self.layout, size, steps, false)?;
                if graph.plan(gpu.target())?.peak_bytes() > COMFORTABLE_BYTES {
                    return Ok(None);
                }
            }
            let (table, seed) = (request.table, request.seed);
            Sampler::new(gpu, &self.unet, &self.layout, &self.arenas, size, table, seed).map(Some)
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
        &self,
        first: usize,
        batch: usize,
        class: Option<u32>,
    ) -> Result<Option<Vec<u32>>, Failure> {
        let config = self.unet.config();
        let classes = match (self.unet.label_type(1), config.num_class_embeds) {
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
        if let Some(class) = class.filter(|class| *class >= classes) {
            let text = format!("--class {class}: the model has {classes} classes, counted from 0");
            return Err(Failure::Usage(text));
        }
        let label = |image: usize| class.unwrap_or(image as u32 % classes);
        Ok(Some((first..first + batch).map(label).collect()))
    }

    /// Draws the images of a request, `[count, height, width, channels]`.
    pub fn draw(&self, gpu: &Gpu, request: &Request) -> Result<Vec<f32>, Failure> {
        let (mut sampler, batch) = self.sampler(gpu, request)?;
        let Request { count, table, .. } = *request;
        let mut progress = Progress::new("sampling", 0, count as u64, "images");
        let mut images = Vec::new();
        for first in (0..count).step_by(batch) {
            if let Some(labels) = self.labels(first, batch, request.class)? {
                sampler.set_labels(&labels)?;
            }
            sampler.begin(first as u32)?;
            sampler.advance(table.steps.len())?;
            images.extend(sampler.images()?);
            progress.update((first + batch).min(count) as u64, "")?;
        }
        progress.finish();
        let [height, width] = request.size;
        images.truncate(count * height * width * self.unet.config().in_channels);
        Ok(images)
    }
}

/// Draws images and writes them as one picture.
pub fn run(device: &Device, arguments: &cli::Sample) -> Result<(), Failure> {
    let start = Instant::now();
    let gpu = device.open()?;
    let folder = &arguments.model;
    let Pipeline { unet, scheduler, layout, arenas } =
        read_pipeline(folder, gpu.target().max_binding)?;
    let (height, width) = match (arguments.size, unet.config().sample_size) {
        (Some(size), _) => (size, size),
        (None, Some(size)) => size.sides(),
        (None, None) => {
            let text = format!("{}: the model names no sample_size: give --size", folder.display());
            return Err(Failure::Usage(text));
        }
    };
    let table = match arguments.sampler {
        cli::Sampler::Ddim => scheduler.ddim(arguments.steps.unwrap_or(50), arguments.eta)?,
        cli::Sampler::Ddpm if arguments.eta != 0.0 => {
            return Err(Failure::Usage("--eta is of the sampler ddim".into()));
        }
        cli::Sampler::Ddpm => {
            scheduler.ddpm(arguments.steps.unwrap_or(scheduler.num_train_timesteps))?
        }
    };
    unet.config().check_image(height, width)?;
    files::prepare_file(&arguments.out)?;
    let mut out = stdout();
    writeln!(out, "{}", describe(&gpu))?;
    let model = Model { unet, layout, arenas };
    let (count, batch) = (arguments.count, arguments.batch);
    let (seed, class, size) = (arguments.seed, arguments.class, [height, width]);
    let request = Request { table: &table, size, count, seed, batch, class };
    let images = model.draw(&gpu, &request)?;
    let channels = model.unet.config().in_channels;
    let scale = arguments.scale.unwrap_or(comfortable_scale(height, width));
    let picture = Picture::grid(&images, [height, width, channels], columns(count), scale);
    files::write(&arguments.out, picture.png()?)?;
    let (steps, path) = (table.steps.len(), arguments.out.display());
    let taken = clock(start.elapsed().as_secs_f64());
    writeln!(out, "{path}: {count} images of {height}x{width}, {steps} steps, {taken} in all")?;
    Ok(())
}

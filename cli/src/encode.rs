//! `ddim interpolate`, `ddim encode` and `ddim reconstruct`: what one can do with x_T, since DDIM
//! with eta 0 is a function of it.
use crate::{
    cli::{self, Device},
    console::say,
    devices::describe,
    draw::{Request, draw, sampler},
    failure::Failure,
    files,
    pictures::{Grid, Picture, comfortable_scale},
    planes::channels_first,
    sample::{LABELS, sides},
};
use ddim::{
    data::Dataset,
    diffusion::{
        samplers::{DdimOptions, EncodeRule, Table, ddim_table, encode_table},
        schedule::Prediction,
        slerp,
    },
    gpu::Gpu,
    pipeline::Pipeline,
};
use safetensors::{Dtype, SafeTensorError, tensor::TensorView};
use std::path::Path;

/// How the file of `ddim encode` is known.
const LATENTS: &str = r#""__metadata__":{"software":"ddim"}"#;

/// Pairs of a row of the picture of reconstructions.
const PAIRS: usize = 16;

/// Draws points between pairs of noise.
pub fn interpolate(device: &Device, arguments: &cli::Interpolate) -> Result<(), Failure> {
    if !arguments.trajectory.is_deterministic() {
        let text = "points between two samples need a sampler without noise: ddim with eta 0, \
                    probability-flow, heun, dpm-solver++ or vp-flow";
        return Err(Failure::Usage(text.into()));
    }
    let gpu = device.open()?;
    let pipeline = Pipeline::read_with(&arguments.model, arguments.weights.non_finite())?;
    let table = arguments.trajectory.table(&pipeline.scheduler)?;
    let size = sides(&pipeline, None, &arguments.model)?;
    let (columns, scale) = (arguments.columns, comfortable_scale(size[0], size[1]));
    let count = arguments.rows.saturating_mul(columns);
    Grid { count, size, columns, scale }.check(1, arguments.pixels.max_pixels)?;
    files::prepare_file(&arguments.out, Picture::SIGN, arguments.existing.overwrite)?;
    say!("{}", describe(&gpu));
    let points = between(&gpu, &pipeline, size, &table, arguments)?;
    let shape = [size[0], size[1], pipeline.unet.config().in_channels];
    let request = Request::from(&table, size, &points, shape.iter().product());
    let images = draw(&gpu, &pipeline, &request)?;
    files::write(&arguments.out, Picture::grid(&images, shape, columns, scale)?.png()?)?;
    let (path, rows) = (arguments.out.display(), arguments.rows);
    say!("{path}: {rows} rows of {columns} points, {} steps", table.steps.len());
    Ok(())
}

/// Noise along the arcs between the noise of images 0 and 1, 2 and 3, and so on.
fn between(
    gpu: &Gpu,
    pipeline: &Pipeline,
    size: [usize; 2],
    table: &Table,
    arguments: &cli::Interpolate,
) -> Result<Vec<f32>, Failure> {
    let request = Request { batch: Some(2), ..Request::new(table, size, 2, arguments.seed) };
    let (mut sampler, _) = sampler(gpu, pipeline, &request)?;
    let mut points = Vec::new();
    for row in 0..arguments.rows {
        let noise = sampler.noise(2 * row as u32)?;
        points.extend(arc(&noise, arguments.columns));
    }
    Ok(points)
}

/// `points` of them, at least two, from the first half of `pair` to the second.
pub fn arc(pair: &[f32], points: usize) -> impl Iterator<Item = f32> {
    let (from, to) = pair.split_at(pair.len() / 2);
    (0..points).flat_map(move |point| slerp(from, to, point as f64 / (points - 1) as f64))
}

/// Images that are to be encoded, and the model that does it.
struct Encoding {
    pipeline: Pipeline,
    images: Vec<f32>,
    count: usize,
    shape: [usize; 3],
    /// The class of each, for a model with classes.
    labels: Option<Vec<u32>>,
    timesteps: Vec<usize>,
}

impl Encoding {
    fn of(arguments: &cli::Encoded) -> Result<Self, Failure> {
        let pipeline = Pipeline::read_with(&arguments.model, arguments.weights.non_finite())?;
        let data = Dataset::open(&arguments.data, None)?;
        pipeline.check_data(&arguments.model, &data)?;
        let shape = [data.height(), data.width(), data.channels()];
        let (scheduler, count) = (&pipeline.scheduler, arguments.count.min(data.len()));
        let (whole, offset) = (scheduler.num_train_timesteps, scheduler.steps_offset);
        let timesteps = arguments.spacing.timesteps(whole, arguments.steps, offset)?;
        let images = (0..count).flat_map(|index| data.image(index)).collect();
        let labels = pipeline.labels(&data, count);
        Ok(Self { pipeline, images, count, shape, labels, timesteps })
    }

    /// What the output is; nothing is clipped on the way to noise and back.
    fn output(&self) -> Prediction {
        self.pipeline.scheduler.prediction().unclipped()
    }

    fn follow(&self, gpu: &Gpu, table: &Table, start: &[f32]) -> Result<Vec<f32>, Failure> {
        let [height, width, channels] = self.shape;
        let elements = height * width * channels;
        let request = Request::from(table, [height, width], start, elements);
        draw(gpu, &self.pipeline, &Request { labels: self.labels.as_deref(), ..request })
    }

    /// The x_T of the images.
    fn encode(&self, gpu: &Gpu, rule: EncodeRule) -> Result<Vec<f32>, Failure> {
        let schedule = self.pipeline.scheduler.schedule()?;
        let first = self.pipeline.scheduler.final_alpha()?;
        let table = encode_table(&schedule, &self.timesteps, &self.output(), rule, first)?;
        self.follow(gpu, &table, &self.images)
    }

    /// The images of these x_T.
    fn decode(&self, gpu: &Gpu, latents: &[f32]) -> Result<Vec<f32>, Failure> {
        let schedule = self.pipeline.scheduler.schedule()?;
        let options = DdimOptions::default();
        let table = ddim_table(&schedule, &self.timesteps, &self.output(), &options)?;
        self.follow(gpu, &table, latents)
    }
}

/// Encodes images and writes their x_T.
pub fn encode(device: &Device, arguments: &cli::Encode) -> Result<(), Failure> {
    let gpu = device.open()?;
    let encoding = Encoding::of(&arguments.images)?;
    files::prepare_file(&arguments.out, LATENTS, arguments.existing.overwrite)?;
    say!("{}", describe(&gpu));
    let rule = if arguments.reached { EncodeRule::Reached } else { EncodeRule::Leaving };
    let latents = encoding.encode(&gpu, rule)?;
    let [height, width, channels] = encoding.shape;
    let planes = channels_first(&latents, [encoding.count, height, width, channels]);
    let shape = [encoding.count, channels, height, width];
    write_latents(&arguments.out, shape, &planes, encoding.labels.as_deref())?;
    let (path, steps) = (arguments.out.display(), encoding.timesteps.len());
    let mean = latents.iter().map(|&x| f64::from(x)).sum::<f64>() / latents.len() as f64;
    let square = latents.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / latents.len() as f64;
    let deviation = (square - mean * mean).sqrt();
    say!(
        "{path}: x_T of {} images, {steps} steps; mean {mean:.3}, deviation {deviation:.3}",
        encoding.count
    );
    Ok(())
}

/// Writes a safetensors file with `x_T`, perhaps the classes, and the sign by which it is known.
fn write_latents(
    path: &Path,
    shape: [usize; 4],
    latents: &[f32],
    labels: Option<&[u32]>,
) -> Result<(), Failure> {
    let failed = |error: SafeTensorError| Failure::file(path, error);
    let bytes: Vec<u8> = latents.iter().flat_map(|number| number.to_le_bytes()).collect();
    let mut views =
        vec![("x_T", TensorView::new(Dtype::F32, shape.to_vec(), &bytes).map_err(failed)?)];
    let classes: Option<Vec<u8>> = labels
        .map(|labels| labels.iter().flat_map(|&label| (label as f32).to_le_bytes()).collect());
    if let Some(bytes) = &classes {
        let of = vec![shape[0]];
        views.push((LABELS, TensorView::new(Dtype::F32, of, bytes).map_err(failed)?));
    }
    let metadata = [("software".to_owned(), "ddim".to_owned())].into();
    files::write(path, safetensors::serialize(views, Some(metadata)).map_err(failed)?)
}

/// Encodes images, draws them again and shows both.
pub fn reconstruct(device: &Device, arguments: &cli::Reconstruct) -> Result<(), Failure> {
    let gpu = device.open()?;
    let encoding = Encoding::of(&arguments.images)?;
    let [height, width, _] = encoding.shape;
    let (columns, scale) = (PAIRS.min(encoding.count), comfortable_scale(height, width));
    let count = 2 * encoding.count.next_multiple_of(columns);
    Grid { count, size: [height, width], columns, scale }.check(1, arguments.pixels.max_pixels)?;
    files::prepare_file(&arguments.out, Picture::SIGN, arguments.existing.overwrite)?;
    say!("{}", describe(&gpu));
    let latents = encoding.encode(&gpu, EncodeRule::Leaving)?;
    let again = encoding.decode(&gpu, &latents)?;
    let elements = encoding.shape.iter().product::<usize>();
    let blank = vec![-1.0; elements];
    let row = |images: &[f32], row: usize| -> Vec<f32> {
        let shown = images.chunks_exact(elements).skip(row * columns);
        let filled = shown.chain(std::iter::repeat(&blank[..])).take(columns);
        filled.flatten().copied().collect()
    };
    let rows = (0..encoding.count.div_ceil(columns))
        .flat_map(|index| [row(&encoding.images, index), row(&again, index)]);
    let picture =
        Picture::grid(&rows.flatten().collect::<Vec<f32>>(), encoding.shape, columns, scale)?;
    files::write(&arguments.out, picture.png()?)?;
    let error = error_per_dimension(&encoding.images, &again);
    let (path, steps) = (arguments.out.display(), encoding.timesteps.len());
    say!(
        "{path}: {} images, {steps} steps to x_T and back; error per dimension {error:.6}",
        encoding.count
    );
    Ok(())
}

/// Mean squared difference of numbers between -1 and 1, as if they lay between 0 and 1.
pub fn error_per_dimension(images: &[f32], again: &[f32]) -> f64 {
    let square = |(&x, &y): (&f32, &f32)| ((f64::from(x) - f64::from(y)) / 2.0).powi(2);
    images.iter().zip(again).map(square).sum::<f64>() / images.len().max(1) as f64
}

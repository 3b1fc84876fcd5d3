//! `ddim interpolate`, `ddim encode` and `ddim reconstruct`: what one can do with x_T, since DDIM
//! with eta 0 is a function of it.
use crate::{
    cli::{self, Device},
    console::say,
    devices::describe,
    failure::Failure,
    files, latents,
    sampling::sample,
};
use ddim::{
    data::Dataset,
    diffusion::{
        samplers::{DdimOptions, EncodeRule, Table, ddim_table, encode_table},
        schedule::Prediction,
        slerp,
    },
    gpu::Gpu,
    nn::Model,
    pictures::{Grid, Picture, comfortable_scale},
    pipeline::Pipeline,
    sampling::SamplingRequest,
};

/// Pairs of a row of the picture of reconstructions.
const PAIRS: usize = 16;

/// Samples points between pairs of noise.
pub fn interpolate(device: &Device, arguments: &cli::Interpolate) -> Result<(), Failure> {
    let gpu = device.open()?;
    let pipeline = arguments.model.read()?;
    let table = arguments.trajectory.table(&pipeline.scheduler)?;
    if table.adds_noise() {
        let text = "points between two samples need a sampler without noise: ddim with eta 0, euler, \
                    heun, dpm-solver++, unipc, ...";
        return Err(Failure::Usage(text.into()));
    }
    let size = arguments.model.sides(&pipeline, None)?;
    let (columns, scale) = (arguments.columns, comfortable_scale(size[0], size[1]));
    let count = arguments.rows.saturating_mul(columns);
    arguments.picture.prepare(Grid { count, size, columns, scale })?;
    say!("{}", describe(&gpu));
    let points = between(&gpu, &pipeline, size, &table, arguments)?;
    let shape = [size[0], size[1], pipeline.unet.config().in_channels];
    let request = SamplingRequest {
        start: Some(&points),
        ..SamplingRequest::new(&table, size, count, arguments.seed)
    };
    let images = sample(&gpu, &pipeline, request)?;
    files::write(&arguments.picture.out, Picture::grid(&images, shape, columns, scale)?.png()?)?;
    let (path, rows) = (arguments.picture.out.display(), arguments.rows);
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
    let request = SamplingRequest {
        batch: Some(2),
        ..SamplingRequest::new(table, size, 2 * arguments.rows, arguments.seed)
    };
    let noise = request.open(gpu, pipeline)?.noise()?;
    let pairs = noise.chunks_exact(noise.len() / arguments.rows);
    Ok(pairs.flat_map(|pair| arc(pair, arguments.columns)).collect())
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
        let pipeline = arguments.model.read()?;
        let data = Dataset::open(&arguments.data, None)?.with_classes(&pipeline.class_names)?;
        let data = data.with_channels(pipeline.unet.channels());
        pipeline.check_data(&arguments.model.path, &data)?;
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
        let [height, width, _] = self.shape;
        let request = SamplingRequest {
            labels: self.labels.as_deref(),
            start: Some(start),
            ..SamplingRequest::new(table, [height, width], self.count, 0)
        };
        sample(gpu, &self.pipeline, request)
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
    files::prepare_file(&arguments.out, latents::SIGN, arguments.existing.overwrite)?;
    say!("{}", describe(&gpu));
    let rule = if arguments.reached { EncodeRule::Reached } else { EncodeRule::Leaving };
    let x_t = encoding.encode(&gpu, rule)?;
    let [height, width, channels] = encoding.shape;
    let shape = [encoding.count, height, width, channels];
    latents::write(&arguments.out, shape, &x_t, encoding.labels.as_deref())?;
    let (path, steps) = (arguments.out.display(), encoding.timesteps.len());
    let mean_of =
        |power: i32| x_t.iter().map(|&x| f64::from(x).powi(power)).sum::<f64>() / x_t.len() as f64;
    let (mean, square) = (mean_of(1), mean_of(2));
    let deviation = (square - mean * mean).sqrt();
    say!(
        "{path}: x_T of {} images, {steps} steps; mean {mean:.3}, deviation {deviation:.3}",
        encoding.count
    );
    Ok(())
}

/// Encodes images, decodes them again and shows both.
pub fn reconstruct(device: &Device, arguments: &cli::Reconstruct) -> Result<(), Failure> {
    let gpu = device.open()?;
    let encoding = Encoding::of(&arguments.images)?;
    let [height, width, _] = encoding.shape;
    let (columns, scale) = (PAIRS.min(encoding.count), comfortable_scale(height, width));
    let count = 2 * encoding.count.next_multiple_of(columns);
    arguments.picture.prepare(Grid { count, size: [height, width], columns, scale })?;
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
    files::write(&arguments.picture.out, picture.png()?)?;
    let error = error_per_dimension(&encoding.images, &again);
    let (path, steps) = (arguments.picture.out.display(), encoding.timesteps.len());
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

//! `ddim sample`: images from a model.
use crate::{
    cli::{self, Device},
    console::say,
    devices::describe,
    draw::{Request, draw, sampler},
    failure::Failure,
    files,
    pictures::{Grid, Picture, animation, columns, comfortable_scale},
    planes::channels_last,
    progress::clock,
};
use ddim::{
    pipeline::Pipeline,
    weights::{Stored, read_tensors},
};
use std::{path::Path, time::Instant};

/// Images whose way out of noise is shown, and pictures of it beside the first.
const STRIPS: usize = 8;
const FRAMES: usize = 10;

/// Time that a picture of the animation stands, in milliseconds.
const FRAME_MILLISECONDS: u16 = 200;

/// The tensor of each image's class beside its x_T.
pub const LABELS: &str = "class_labels";

/// Draws images and writes them as one picture.
pub fn run(device: &Device, arguments: &cli::Sample) -> Result<(), Failure> {
    let start = Instant::now();
    let gpu = device.open()?;
    let pipeline = Pipeline::read_with(&arguments.model, arguments.weights.non_finite())?;
    let table = arguments.trajectory.table(&pipeline.scheduler)?;
    let guidance = arguments.guided.guidance(&pipeline, &arguments.model)?;
    let latents = match &arguments.latents {
        Some(file) => Some(latents(file, &pipeline, arguments)?),
        None => None,
    };
    let size = match &latents {
        Some(latents) => latents.size,
        None => sides(&pipeline, arguments.size, &arguments.model)?,
    };
    pipeline.unet.config().check_image(size[0], size[1])?;
    let count = latents.as_ref().map_or(arguments.count, |latents| latents.count);
    let scale = arguments.scale.unwrap_or(comfortable_scale(size[0], size[1]));
    check_pictures(arguments, count, size, scale, table.steps.len())?;
    let pictures = [Some(&arguments.out), arguments.strip.as_ref(), arguments.animation.as_ref()];
    for path in pictures.into_iter().flatten() {
        files::prepare_file(path, Picture::SIGN, arguments.existing.overwrite)?;
    }
    say!("{}", describe(&gpu));
    let request = Request {
        table: &table,
        size,
        count,
        seed: arguments.seed,
        batch: arguments.batch,
        class: arguments.guided.class,
        labels: latents.as_ref().and_then(|latents| latents.labels.as_deref()),
        guidance,
        start: latents.as_ref().map(|latents| &latents.x[..]),
    };
    let images = draw(&gpu, &pipeline, &request)?;
    let [height, width] = size;
    let shape = [height, width, pipeline.unet.config().in_channels];
    files::write(&arguments.out, Picture::grid(&images, shape, columns(count), scale)?.png()?)?;
    if arguments.strip.is_some() || arguments.animation.is_some() {
        let way = Way::of(&gpu, &pipeline, &request)?;
        if let Some(path) = &arguments.strip {
            files::write(path, way.strip(shape, scale)?.png()?)?;
        }
        if let Some(path) = &arguments.animation {
            let grid = |images| Picture::grid(images, shape, columns(way.count), scale);
            let pictures =
                way.frames.iter().map(|frame| grid(frame)).collect::<Result<Vec<_>, _>>();
            files::write(path, animation(&pictures?, FRAME_MILLISECONDS)?)?;
        }
    }
    let (steps, path) = (table.steps.len(), arguments.out.display());
    let taken = clock(start.elapsed().as_secs_f64());
    say!("{path}: {count} images of {height}x{width}, {steps} steps, {taken} in all");
    Ok(())
}

/// Refuses what `run` is to draw, if it is too large.
fn check_pictures(
    arguments: &cli::Sample,
    count: usize,
    size: [usize; 2],
    scale: usize,
    steps: usize,
) -> Result<(), Failure> {
    let limit = arguments.pixels.max_pixels;
    Grid { count, size, columns: columns(count), scale }.check(1, limit)?;
    let (few, frames) = (STRIPS.min(count), FRAMES.min(steps) + 1);
    if arguments.strip.is_some() {
        Grid { count: few * frames, size, columns: frames, scale }.check(1, limit)?;
    }
    if arguments.animation.is_some() {
        Grid { count: few, size, columns: columns(few), scale }.check(frames, limit)?;
    }
    Ok(())
}

/// Height and width of the images of a model, unless the user says otherwise.
pub fn sides(
    pipeline: &Pipeline,
    asked: Option<usize>,
    folder: &Path,
) -> Result<[usize; 2], Failure> {
    match (asked, pipeline.unet.config().sample_size) {
        (Some(size), _) => Ok([size; 2]),
        (None, Some(size)) => Ok(size.sides().into()),
        (None, None) => {
            let text = format!("{}: the model names no sample_size: give --size", folder.display());
            Err(Failure::Usage(text))
        }
    }
}

/// The x_T of a file.
struct Latents {
    /// `[count, height, width, channels]`.
    x: Vec<f32>,
    count: usize,
    size: [usize; 2],
    /// The class of each image, unless the file names none or the user another.
    labels: Option<Vec<u32>>,
}

fn latents(file: &Path, pipeline: &Pipeline, arguments: &cli::Sample) -> Result<Latents, Failure> {
    let config = pipeline.unet.config();
    let expected = config.in_channels;
    let (mut x_t, mut classes) = (None, None);
    for stored in read_tensors(file)? {
        match stored.name.as_str() {
            "x_T" => x_t = Some(stored),
            LABELS => classes = Some(stored),
            _ => {}
        }
    }
    let Some(stored) = x_t else {
        return Err(Failure::file(file, "holds no tensor x_T"));
    };
    let &[count, channels, height, width] = &stored.shape[..] else {
        let text = format!("x_T: expected four axes, found {:?}", stored.shape);
        return Err(Failure::file(file, text));
    };
    if channels != expected || stored.shape.contains(&0) {
        let shape = &stored.shape;
        let text = format!("x_T: expected [N, {expected}, height, width], found {shape:?}");
        return Err(Failure::file(file, text));
    }
    let wanted = arguments.size.map(|size| [size; 2]);
    let wanted = wanted.or(config.sample_size.map(|size| size.sides().into()));
    if let Some([rows, columns]) = wanted.filter(|wanted| *wanted != [height, width]) {
        let text = format!("x_T: expected {rows}x{columns} as the model, found {height}x{width}");
        return Err(Failure::file(file, text));
    }
    let labels = match classes {
        Some(classes) if arguments.guided.class.is_none() => {
            Some(check_labels(file, pipeline, &classes, count)?)
        }
        _ => None,
    };
    let x = channels_last(&stored.numbers.into_f32(), [count, channels, height, width]);
    Ok(Latents { x, count, size: [height, width], labels })
}

/// The classes of a file: one of the model's for each image.
fn check_labels(
    file: &Path,
    pipeline: &Pipeline,
    found: &Stored,
    count: usize,
) -> Result<Vec<u32>, Failure> {
    let numbers = found.numbers.to_f64();
    let refuse = |expected: String, found: String| {
        Err(Failure::file(file, format!("{LABELS}: expected {expected}, found {found}")))
    };
    let Some(classes) = pipeline.classes() else {
        return refuse("none, for the model has no classes".into(), format!("{:?}", found.shape));
    };
    if numbers.len() != count {
        return refuse(format!("{count} numbers"), numbers.len().to_string());
    }
    let is_class = |label: f64| label.fract() == 0.0 && (0.0..classes as f64).contains(&label);
    match numbers.iter().find(|label| !is_class(**label)) {
        Some(label) => refuse(format!("classes below {classes}"), label.to_string()),
        None => Ok(numbers.into_iter().map(|label| label as u32).collect()),
    }
}

/// How the first images came out of noise.
struct Way {
    count: usize,
    /// All images at a moment, the noise first.
    frames: Vec<Vec<f32>>,
}

impl Way {
    fn of(gpu: &ddim::gpu::Gpu, pipeline: &Pipeline, request: &Request) -> Result<Self, Failure> {
        let count = STRIPS.min(request.count);
        let request = Request { count, batch: Some(count), ..*request };
        let (mut sampler, _) = sampler(gpu, pipeline, &request)?;
        request.begin(&mut sampler, pipeline, 0, count)?;
        let mut frames = vec![sampler.images()?];
        let steps = sampler.steps();
        for frame in 1..=FRAMES.min(steps) {
            let reached = |frame: usize| frame * steps / FRAMES.min(steps);
            sampler.advance(reached(frame) - reached(frame - 1))?;
            frames.push(sampler.images()?);
        }
        Ok(Self { count, frames })
    }

    /// A row for each image.
    fn strip(&self, shape: [usize; 3], scale: usize) -> Result<Picture, Failure> {
        let elements = shape.iter().product::<usize>();
        let one = |image: usize| {
            self.frames.iter().flat_map(move |frame| &frame[image * elements..][..elements])
        };
        let images: Vec<f32> = (0..self.count).flat_map(one).copied().collect();
        Picture::grid(&images, shape, self.frames.len(), scale)
    }
}

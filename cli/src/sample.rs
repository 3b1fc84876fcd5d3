//! `ddim sample`: images from a model.
use crate::{
    cli::{self, Device},
    console::{complain, is_quiet, say},
    devices::describe,
    exports,
    failure::Failure,
    files,
    latents::Latents,
    progress::{clock, counted},
    sampling::{open, sample, strips, watched},
};
use ddim::{
    gpu::Gpu,
    pictures::{Grid, Picture, animation, columns, comfortable_scale},
    pipeline::Pipeline,
    plan::Arithmetic,
    sampling::SamplingRequest,
    value::ElementType,
};
use std::{path::PathBuf, time::Instant};

/// Images whose way out of noise is shown, and pictures of it beside the first.
const STRIPS: usize = 8;
const FRAMES: usize = 10;

/// Time that a picture of the animation stands, in milliseconds.
const FRAME_MILLISECONDS: u16 = 200;

/// Samples images and writes them as one picture.
pub fn run(device: &Device, arguments: &cli::Sample) -> Result<(), Failure> {
    let start = Instant::now();
    let gpu = open_device(device, arguments)?;
    let pipeline = arguments.model.read()?;
    let folder = &arguments.model.path;
    let guidance = arguments.guided.guidance(&pipeline, folder)?;
    let latents = match &arguments.latents {
        Some(file) => Some(Latents::read(file, &pipeline, arguments)?),
        None => None,
    };
    let size = match &latents {
        Some(latents) => latents.size,
        None => arguments.model.sides(&pipeline, arguments.size)?,
    };
    let classifier = arguments.guided.read_classifier(&pipeline, size)?;
    let class = arguments.guided.class(&pipeline, classifier.as_ref())?;
    let table = arguments.trajectory.guided_table(&pipeline.scheduler, classifier.is_some())?;
    pipeline.unet.config().check_image(size[0], size[1])?;
    let count = latents.as_ref().map_or(arguments.count, |latents| latents.count);
    let scale = arguments.scale.unwrap_or(comfortable_scale(size[0], size[1]));
    let grid = Grid { count, size, columns: columns(count), scale };
    prepare(arguments, grid, table.steps.len())?;
    say!("{}", describe(&gpu));
    let evaluations = table.steps.len();
    describe_run(arguments, &pipeline, evaluations)?;
    let request = SamplingRequest {
        batch: arguments.batch,
        class,
        labels: latents.as_ref().and_then(|latents| latents.labels.as_deref()),
        guidance,
        types: arguments.precision.into(),
        classifier: classifier.as_ref().map(|of| arguments.guided.by(of)),
        start: latents.as_ref().map(|latents| &latents.x[..]),
        ..SamplingRequest::new(&table, size, count, arguments.seed)
    };
    let images = sample(&gpu, &pipeline, request)?;
    let shape @ [height, width, _] = [size[0], size[1], pipeline.unet.config().in_channels];
    let mut written = exports::write(arguments, &images, shape)?;
    if let Some(out) = &arguments.out {
        files::write(out, Picture::grid(&images, shape, grid.columns, scale)?.png()?)?;
        written.insert(0, out.clone());
    }
    if arguments.strip.is_some() || arguments.animation.is_some() {
        let count = STRIPS.min(count);
        let moments = moments(&gpu, &pipeline, SamplingRequest { count, ..request })?;
        if let Some(path) = &arguments.strip {
            let rows = strips(&moments, count, shape.iter().product());
            files::write(path, Picture::grid(&rows, shape, moments.len(), scale)?.png()?)?;
        }
        if let Some(path) = &arguments.animation {
            let grid = |images: &Vec<f32>| Picture::grid(images, shape, columns(count), scale);
            let pictures = moments.iter().map(grid).collect::<Result<Vec<_>, _>>();
            files::write(path, animation(&pictures?, FRAME_MILLISECONDS)?)?;
        }
    }
    let (steps, path) = (counted(evaluations as u64, "step"), listed(&written));
    let (count, taken) = (counted(count as u64, "image"), clock(start.elapsed().as_secs_f64()));
    say!("{path}: {count} of {height}x{width}, {steps}, {taken} in all");
    Ok(())
}

/// The device, which computes products as the arguments ask for.
fn open_device(device: &Device, arguments: &cli::Sample) -> Result<Gpu, Failure> {
    let arithmetic = Arithmetic::from(arguments.arithmetic);
    let stored = ElementType::from(arguments.precision);
    if arithmetic == Arithmetic::Mixed && stored != ElementType::F16 {
        let text = format!("--arithmetic mixed goes with --precision f16, found {stored}");
        return Err(Failure::Usage(text));
    }
    let gpu = device.open()?;
    if arithmetic == Arithmetic::Mixed && !gpu.target().f16 {
        let text = format!("--arithmetic mixed: {} has no f16 in shaders", gpu.info().name);
        return Err(Failure::Usage(text));
    }
    Ok(gpu.computing_in(arithmetic))
}

/// Says how the images are sampled; the scheduler on standard error, for whoever meant another.
fn describe_run(
    arguments: &cli::Sample,
    pipeline: &Pipeline,
    evaluations: usize,
) -> Result<(), Failure> {
    let sampler = arguments.trajectory.sampler(&pipeline.scheduler)?;
    if !is_quiet() {
        let class = &pipeline.scheduler.class_name;
        complain(format_args!("scheduler {class}: sampler {sampler}"));
    }
    let evaluations = counted(evaluations as u64, "evaluation");
    say!("{sampler}: {evaluations} of the network for each image");
    Ok(())
}

/// Paths for a message.
fn listed(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Refuses two places that are one.
fn check_distinct(arguments: &cli::Sample) -> Result<(), Failure> {
    let cli::Sample { out, strip, animation, npz, each, .. } = arguments;
    let places = [
        ("--out", out),
        ("--strip", strip),
        ("--animation", animation),
        ("--npz", npz),
        ("--each", each),
    ];
    let mut seen: Vec<(&str, PathBuf)> = Vec::new();
    for (flag, path) in places {
        let Some(path) = path else { continue };
        let place = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        if let Some((first, _)) = seen.iter().find(|(_, taken)| *taken == place) {
            let text = format!("{first} and {flag} name one place: {}", path.display());
            return Err(Failure::Usage(text));
        }
        seen.push((flag, place));
    }
    Ok(())
}

/// Refuses pictures that are too large, and places that are taken.
fn prepare(arguments: &cli::Sample, grid: Grid, steps: usize) -> Result<(), Failure> {
    check_distinct(arguments)?;
    let limit = arguments.max_pixels;
    if arguments.out.is_some() {
        grid.check(1, limit)?;
    }
    let (few, frames) = (STRIPS.min(grid.count), FRAMES.min(steps) + 1);
    if arguments.strip.is_some() {
        Grid { count: few * frames, columns: frames, ..grid }.check(1, limit)?;
    }
    if arguments.animation.is_some() {
        Grid { count: few, columns: columns(few), ..grid }.check(frames, limit)?;
    }
    let pictures = [&arguments.out, &arguments.strip, &arguments.animation];
    for path in pictures.into_iter().flatten() {
        files::prepare_picture(path, arguments.existing.overwrite)?;
    }
    exports::prepare(arguments, grid.count)
}

/// All images of a request at moments of sampling, the noise first.
fn moments(
    gpu: &Gpu,
    pipeline: &Pipeline,
    request: SamplingRequest,
) -> Result<Vec<Vec<f32>>, Failure> {
    let request = SamplingRequest { batch: Some(request.count), ..request };
    let steps = request.table.steps.len();
    let frames = FRAMES.min(steps);
    let stops: Vec<usize> = (0..=frames).map(|frame| frame * steps / frames).collect();
    let mut moments = Vec::new();
    watched(&mut open(gpu, pipeline, request)?, &stops, |sampler, _| {
        moments.push(sampler.images()?);
        Ok(())
    })?;
    Ok(moments)
}

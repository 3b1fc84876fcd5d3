//! `ddim generate`: pictures of a text.
mod inputs;
mod report;

use crate::{
    cli::{self, Device},
    console::{complain, is_quiet, say},
    devices::describe,
    failure::Failure,
    files,
    progress::{Progress, clock, counted},
};
use ddim::{
    gpu::Gpu,
    latent::{Codec, Denoising, LatentNetworks, NetworkPlan, PictureRequest, PictureStart},
    pictures::Grid,
    pipeline::LatentPipeline,
    weights::NonFinite,
};
use inputs::{Start, Text};
use report::Run;
use std::{
    path::{Path, PathBuf},
    time::Instant,
};

/// Strength unless the user says otherwise, as in diffusers.
const STRENGTH: f64 = 0.8;

/// Guidance of SDXL, as in diffusers.
const XL_GUIDANCE: f64 = 5.0;

/// How a report is known.
const SIGN: &str = "<title>ddim: pictures of a text";

/// Makes the pictures and writes them.
pub fn run(device: &Device, arguments: &cli::Generate) -> Result<(), Failure> {
    let began = Instant::now();
    let paths = paths(&arguments.picture.out, arguments.count);
    prepare(arguments, &paths)?;
    let gpu = device.open()?;
    let how = arguments.beside.opening(NonFinite::Refuse);
    let pipeline = LatentPipeline::open(&arguments.model, &how)?;
    let start = Start::read(arguments, &pipeline)?;
    let size = size(arguments, &pipeline, start.as_ref())?;
    let table = arguments.trajectory.table(&pipeline.scheduler)?;
    let is_xl = pipeline.unet.config().addition_embed_type.is_some();
    let usual = if is_xl { XL_GUIDANCE } else { PictureRequest::GUIDANCE };
    let request = PictureRequest {
        guidance_scale: arguments.guidance.unwrap_or(usual),
        start: start.as_ref().map(|start| PictureStart {
            picture: &start.picture,
            strength: arguments.strength.unwrap_or(STRENGTH),
            mask: start.mask.as_deref(),
        }),
        tile: arguments.vae_tiles.then(|| tile(&pipeline)),
        types: arguments.precision.into(),
        predictions: arguments.report.is_some(),
        ..PictureRequest::new(&table, size, arguments.count, arguments.seed)
    };
    Grid { count: 1, size, columns: 1, scale: 1 }.check(1, arguments.picture.max_pixels)?;
    let text = Text::read(arguments, &pipeline, &gpu, request.is_guided())?;
    let (pipeline, text) = text.adapt(pipeline, &arguments.lora)?;
    let plans = plans(&gpu, &pipeline, &text, &request)?;
    let sampler = arguments.trajectory.sampler(&pipeline.scheduler)?;
    if !is_quiet() {
        let class = &pipeline.scheduler.class_name;
        complain(format_args!("scheduler {class}: sampler {sampler}"));
    }
    say!("{}", describe(&gpu));
    say!("{}", memory(&plans));

    let encoding = Instant::now();
    let mut run = Run::new(text.embeddings(&gpu)?, encoding.elapsed());
    let latents = denoise(&gpu, &pipeline, &request, &mut run)?;
    let pictures = decode(&gpu, &pipeline, &request, &latents, &mut run)?;
    let pictures =
        report::encoded(&pictures, [size[0], size[1], pipeline.vae.config().out_channels])?;
    for (path, picture) in paths.iter().zip(&pictures) {
        files::write(path, picture)?;
    }
    if let Some(path) = &arguments.report {
        let page = report::Page { arguments, sampler, request: &request, device: describe(&gpu) };
        let previews = run.previews(&gpu, &pipeline)?;
        files::write(path, page.html(&run, &plans, &pictures, &previews))?;
    }
    let to = match &paths[..] {
        [first, .., last] => format!("{} to {}", first.display(), last.display()),
        _ => arguments.picture.out.display().to_string(),
    };
    let [count, steps] = [(paths.len(), "picture"), (run.steps, "step")]
        .map(|(number, thing)| counted(number as u64, thing));
    let ([height, width], taken) = (size, clock(began.elapsed().as_secs_f64()));
    say!("{to}: {count} of {width}x{height}, {steps}, {taken} in all");
    Ok(())
}

/// Places of the pictures: the one that is named, or with their numbers in the name.
fn paths(out: &Path, count: usize) -> Vec<PathBuf> {
    if count == 1 {
        return vec![out.into()];
    }
    let digits = (count - 1).to_string().len().max(5);
    let [stem, ending] =
        [out.file_stem(), out.extension()].map(|part| part.unwrap_or_default().to_string_lossy());
    let ending = if ending.is_empty() { "png".into() } else { ending };
    (0..count)
        .map(|image| out.with_file_name(format!("{stem}-{image:0digits$}.{ending}")))
        .collect()
}

/// Refuses places that are taken.
fn prepare(arguments: &cli::Generate, paths: &[PathBuf]) -> Result<(), Failure> {
    let overwrite = arguments.picture.existing.overwrite;
    for path in paths {
        files::prepare_picture(path, overwrite)?;
    }
    match &arguments.report {
        Some(report) if paths.contains(report) => {
            let text = format!("--out and --report name one place: {}", report.display());
            Err(Failure::Usage(text))
        }
        Some(report) => files::prepare_file(report, SIGN, overwrite),
        None => Ok(()),
    }
}

/// Height and width: those that are asked for, of the picture to start from, or the model's.
fn size(
    arguments: &cli::Generate,
    pipeline: &LatentPipeline,
    start: Option<&Start>,
) -> Result<[usize; 2], Failure> {
    match (arguments.size, start) {
        (Some(asked), Some(start)) if asked != start.size => {
            let [asked, found] =
                [asked, start.size].map(|[height, width]| format!("{width}x{height}"));
            let text = format!("--init: expected a picture of {asked}, found {found}");
            Err(Failure::Usage(text))
        }
        (_, Some(start)) => Ok(start.size),
        (Some(asked), None) => Ok(asked),
        (None, None) => Ok(PictureRequest::usual_size(&pipeline.unet, &pipeline.vae)),
    }
}

/// Side of a tile: of the pictures that the autoencoder was made for.
fn tile(pipeline: &LatentPipeline) -> usize {
    let (height, width) = pipeline.vae.config().sample_size.sides();
    height.min(width)
}

fn plans(
    gpu: &Gpu,
    pipeline: &LatentPipeline,
    text: &Text,
    request: &PictureRequest,
) -> Result<Vec<NetworkPlan>, Failure> {
    let unet = &pipeline.unet.clone().with_tokens(text.tokens());
    let networks = LatentNetworks { text: &text.networks(), unet, vae: &pipeline.vae };
    Ok(networks.plans(gpu.target(), request)?)
}

/// Planned memory of each network, and the most at a time.
fn memory(plans: &[NetworkPlan]) -> String {
    let mib = |bytes: u64| format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20));
    let each = |of: &NetworkPlan| format!("{} {}", of.name, mib(of.plan.peak_bytes()));
    let most = plans.iter().map(|of| of.plan.peak_bytes()).max().unwrap_or(0);
    let each: Vec<String> = plans.iter().map(each).collect();
    format!("device memory: at most {}, one network at a time ({})", mib(most), each.join(", "))
}

/// All steps of all pictures.
fn denoise(
    gpu: &Gpu,
    pipeline: &LatentPipeline,
    request: &PictureRequest,
    run: &mut Run,
) -> Result<Vec<f32>, Failure> {
    let mut denoising = Denoising::new(gpu, pipeline, &run.embeddings, request)?;
    let (steps, count) = (denoising.steps(), request.count);
    let mut progress = Progress::new("denoising", 0, (steps * count) as u64, "steps");
    run.begin(denoising.latent_size(), steps);
    Ok(denoising.latents(|reached| {
        let note = match count {
            1 => String::new(),
            _ => format!("picture {} of {count}", reached.image + 1),
        };
        progress.update((reached.image * steps + reached.steps) as u64, &note);
        run.hear(&reached);
    })?)
}

/// The pictures of all latents.
fn decode(
    gpu: &Gpu,
    pipeline: &LatentPipeline,
    request: &PictureRequest,
    latents: &[f32],
    run: &mut Run,
) -> Result<Vec<f32>, Failure> {
    let began = Instant::now();
    let network = &pipeline.vae;
    let codec = Codec { gpu, network, weights: &*pipeline.vae_weights, tile: request.tile };
    let [height, width] = run.latent_size;
    let mut progress = None;
    let latents = network.config().unscaled(latents);
    let size = [request.count, height, width];
    let pictures = codec.decode_with(&latents, size, |done, of| {
        let bar = || Progress::new("decoding", 0, of as u64, "pictures");
        progress.get_or_insert_with(bar).update(done as u64, "");
    })?;
    run.decoding = began.elapsed();
    Ok(pictures)
}

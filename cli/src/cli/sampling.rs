//! Arguments of the commands that sample.
use super::{
    Model, Overwrite, PictureFile, at_least_one, convert::Dtype, finite, not_negative, number,
};
use crate::console::say;
use clap::{
    Args, ValueEnum,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};
use ddim::{
    diffusion::{
        samplers::SamplerKind,
        schedule::{Respacing, SigmaSpacing, Spacing},
    },
    plan,
};
use std::path::PathBuf;

/// Reads a sampler's name; the help lists them all.
fn sampler() -> impl TypedValueParser<Value = SamplerKind> {
    let value = |kind: SamplerKind| {
        let value = PossibleValue::new(kind.name()).help(kind.about());
        if kind == SamplerKind::DpmSolver { value.alias("dpm-solver") } else { value }
    };
    PossibleValuesParser::new(SamplerKind::all().map(value)).try_map(|name| name.parse())
}

/// Prints all samplers, a line each, with what they need and the schedulers of diffusers that mean them.
pub fn list() {
    let width = SamplerKind::all().map(|kind| kind.name().len()).max().unwrap_or_default();
    for kind in SamplerKind::all() {
        let classes = match kind.classes() {
            [] => String::new(),
            classes => format!("; {}", classes.join(", ")),
        };
        say!("{:width$}  {}; needs {}{classes}", kind.name(), kind.about(), kind.needs());
    }
}

/// In which numbers products are computed.
#[derive(Clone, Copy, ValueEnum)]
pub enum Arithmetic {
    F32,
    Mixed,
}

impl From<Arithmetic> for plan::Arithmetic {
    fn from(arithmetic: Arithmetic) -> Self {
        match arithmetic {
            Arithmetic::F32 => Self::F32,
            Arithmetic::Mixed => Self::Mixed,
        }
    }
}

/// How to go from noise to image.
#[derive(Args)]
pub struct Trajectory {
    /// The sampler [default: that of the model's scheduler; of DDPMScheduler ddim]
    #[arg(long, value_parser = sampler())]
    pub sampler: Option<SamplerKind>,
    /// Sampling steps [default: 50, of ddpm all, of lcm 4]
    #[arg(long, value_name = "S", value_parser = at_least_one)]
    pub steps: Option<usize>,
    /// Noise that DDIM adds in every step: 0 is deterministic, 1 as much as DDPM
    #[arg(long, value_name = "E", default_value_t = 0.0, value_parser = not_negative)]
    pub eta: f64,
    /// How the steps are spread over the timesteps [default: the model's]
    #[arg(long, value_name = "NAME")]
    pub spacing: Option<Spacing>,
    /// Timesteps of your own, like 999,500,0
    #[arg(long, alias = "timesteps", value_name = "LIST", value_delimiter = ',', conflicts_with_all = ["steps", "spacing"])]
    pub timestep_list: Option<Vec<usize>>,
    /// How the sigmas are spread, of the samplers that step along these: karras, exponential, beta or lu
    /// [default: the model's]
    #[arg(long, value_name = "NAME")]
    pub sigmas: Option<SigmaSpacing>,
    /// Noise that euler, heun and edm add and take out again, in all: S_churn of Karras et al. 2022
    /// [default: 0, of edm 40]
    #[arg(long, value_name = "S", value_parser = not_negative)]
    pub churn: Option<f64>,
    /// The sigmas from and up to which they do: S_tmin,S_tmax [default: all, of edm 0.05,50]
    #[arg(long, value_name = "MIN,MAX", value_delimiter = ',', num_args = 1, requires = "churn")]
    pub churn_range: Option<Vec<f64>>,
    /// Deviation of that noise: S_noise [default: 1, of edm 1.003]
    #[arg(long, value_name = "S", value_parser = not_negative, requires = "churn")]
    pub churn_noise: Option<f64>,
    /// Leave the predicted image as it is [default: clip it if the model's scheduler does]
    #[arg(long, alias = "no-clip")]
    pub no_clip_sample: bool,
    /// Timesteps as guided-diffusion writes them: ddim50, or counts of sections like 10,15,20
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["steps", "spacing", "timestep_list"])]
    pub respacing: Option<Respacing>,
}

/// Guidance by the class.
#[derive(Args)]
pub struct Guided {
    /// Sample this class only, by its name or number, with a class-conditional model or a classifier
    /// [default: all in turn]
    #[arg(long, value_name = "CLASS")]
    pub class: Option<String>,
    /// Guidance u + S (c - u), as in diffusers: 1 is none
    #[arg(long, value_name = "S", value_parser = finite, conflicts_with = "guidance_weight")]
    pub guidance_scale: Option<f64>,
    /// Guidance (1 + W) c - W u, as Ho and Salimans 2022 write it: 0 is none
    #[arg(long, value_name = "W", value_parser = finite)]
    pub guidance_weight: Option<f64>,
    /// Share of the guided prediction with the deviation of the plain one: Lin et al. 2023
    #[arg(long, value_name = "PHI", default_value_t = 0.0, value_parser = share)]
    pub guidance_rescale: f64,
    /// Guide any model to the class by a classifier of noisy images: the folder of `ddim train-classifier`,
    /// or a file of guided-diffusion with its flags. The sampler is ddim or ddpm
    #[arg(long, value_name = "PATH")]
    pub classifier: Option<PathBuf>,
    /// Scale of the classifier's gradient
    #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = not_negative, requires = "classifier")]
    pub classifier_scale: f64,
    /// Flags of a classifier's file, a JSON object [default: config.json beside it]
    #[arg(long, value_name = "FILE.json", requires = "classifier")]
    pub classifier_flags: Option<PathBuf>,
}

/// Sample images from a trained model.
///
/// The noise of image number i follows from --seed and i alone: how many are sampled at a time changes
/// no more than roundings.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ddim sample --model out/pipeline --out new.png              64 images, DDIM, 50 steps
  ddim sample --model run --steps 250 --eta 1 --out new.png   noisier, closer to DDPM
  ddim sample --model run --sampler ddpm --out new.png        all 1,000 steps of DDPM
  ddim sample --model run --sampler dpm-solver++ --steps 15 --out new.png
  ddim sample --list                                          the samplers, a line each
  ddim sample --model run --class 7 --guidance-scale 3 --out sevens.png
  ddim sample --model run --class cat --out cats.png          a class by the name of its folder
  ddim sample --model run --classifier judge --class 7 --classifier-scale 4 --out sevens.png
  ddim sample --model run --count 1000 --each singles         singles/00000.png, 00001.png, ...
  ddim sample --model run --count 50000 --npz samples.npz     for tools that measure FID
  ddim sample --model run --strip way.png --animation way-moving.png --out new.png
  ddim sample --model run --latents noise.safetensors --out again.png

Writes one PNG with all images in a grid, small ones enlarged, or the images one by one, or both.")]
pub struct Sample {
    /// List the samplers and what they need, and nothing else
    #[arg(long, exclusive = true)]
    pub list: bool,
    #[command(flatten)]
    pub model: Model,
    /// The picture of all images to write
    #[arg(long, value_name = "FILE.png", required_unless_present_any = ["each", "npz"])]
    pub out: Option<PathBuf>,
    /// Write each image as a PNG file of its own into a folder, at its own size
    #[arg(long, value_name = "DIR")]
    pub each: Option<PathBuf>,
    /// Write the images as NumPy's array arr_0: bytes [N, height, width, channels]
    #[arg(long, value_name = "FILE.npz")]
    pub npz: Option<PathBuf>,
    #[command(flatten)]
    pub existing: Overwrite,
    /// Largest picture, in pixels
    #[arg(long, value_name = "N", default_value_t = ddim::files::MAX_PIXELS)]
    pub max_pixels: u64,
    #[command(flatten)]
    pub trajectory: Trajectory,
    #[command(flatten)]
    pub guided: Guided,
    /// Images to sample
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = at_least_one)]
    pub count: usize,
    /// Same seed and same device, same bits
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub seed: u64,
    /// Images sampled at a time [default: as many as fit, up to 256]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub batch: Option<usize>,
    /// Numbers of the network: halves take half of the memory and round more
    #[arg(long, value_enum, default_value = "f32")]
    pub precision: Dtype,
    /// Numbers of its products, with --precision f16 on a GPU: mixed multiplies in f16 and adds up to 16 products so,
    /// which rounds more, and is infinite beyond 65,504
    #[arg(long, value_enum, default_value = "f32")]
    pub arithmetic: Arithmetic,
    /// Start from the x_T that `ddim encode` wrote, not from noise
    #[arg(long, value_name = "FILE.safetensors", conflicts_with = "count")]
    pub latents: Option<PathBuf>,
    /// Write how the first eight came out of noise, a row each
    #[arg(long, value_name = "FILE.png")]
    pub strip: Option<PathBuf>,
    /// Write the same as an animated PNG of the grid
    #[arg(long, value_name = "FILE.png")]
    pub animation: Option<PathBuf>,
    /// Height and width in pixels [default: the model's]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub size: Option<usize>,
    /// Enlarge every pixel to N x N [default: images of about 64 pixels]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub scale: Option<usize>,
}

/// Sample what lies between two samples.
///
/// A row for each pair: the noise of image 2i turns into that of image 2i + 1 along a great circle,
/// and every point is sampled by DDIM with eta 0, or another deterministic sampler: figure 6 of Song,
/// Meng, Ermon 2021.
#[derive(Args)]
#[command(after_help = "\
Example:
  ddim interpolate --model run --rows 6 --columns 11 --out between.png")]
pub struct Interpolate {
    #[command(flatten)]
    pub model: Model,
    #[command(flatten)]
    pub picture: PictureFile,
    #[command(flatten)]
    pub trajectory: Trajectory,
    /// Pairs
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = at_least_one)]
    pub rows: usize,
    /// Points from one to the other, both included
    #[arg(long, value_name = "N", default_value_t = 11, value_parser = at_least_two)]
    pub columns: usize,
    /// Same seed and same device, same bits
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub seed: u64,
}

/// Which images, encoded how.
#[derive(Args)]
pub struct Encoded {
    #[command(flatten)]
    pub model: Model,
    /// `digits`, or a folder with MNIST's idx files, pictures or folders of classes, of the model's size
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// How many of them, from the first
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = at_least_one)]
    pub count: usize,
    /// Steps of the encoding
    #[arg(long, value_name = "S", default_value_t = 100, value_parser = at_least_one)]
    pub steps: usize,
    /// How the steps are spread over the timesteps
    #[arg(long, value_name = "NAME", default_value_t = Spacing::Uniform)]
    pub spacing: Spacing,
}

/// Find the noise that a model makes given images from.
///
/// DDIM with eta 0, backwards: Song, Meng, Ermon 2021, section 4.3.
#[derive(Args)]
#[command(after_help = "\
Example:
  ddim encode --model run --data photos --out noise.safetensors
  ddim sample --model run --latents noise.safetensors --spacing uniform --steps 100 --out again.png

Writes x_T [N, channels, height, width] as a safetensors file.")]
pub struct Encode {
    #[command(flatten)]
    pub images: Encoded,
    /// The file to write
    #[arg(long, value_name = "FILE.safetensors")]
    pub out: PathBuf,
    #[command(flatten)]
    pub existing: Overwrite,
    /// Ask the network at the timestep that a step reaches, as diffusers' DDIMInverseScheduler, not
    /// at the one it leaves
    #[arg(long)]
    pub reached: bool,
}

/// Encode images and decode them again, and measure what is lost.
///
/// Prints the mean squared error per dimension, of numbers from 0 to 1: table 2 of Song, Meng,
/// Ermon 2021. The picture has a row of images above the row of what came back.
#[derive(Args)]
#[command(after_help = "\
Example:
  ddim reconstruct --model run --data photos --steps 100 --out pairs.png")]
pub struct Reconstruct {
    #[command(flatten)]
    pub images: Encoded,
    #[command(flatten)]
    pub picture: PictureFile,
}

fn share(text: &str) -> Result<f64, String> {
    number(text, "not 0 to 1", |number| (0.0..=1.0).contains(&number))
}

fn at_least_two(text: &str) -> Result<usize, String> {
    match at_least_one(text)? {
        1 => Err("fewer than 2".into()),
        number => Ok(number),
    }
}

//! Arguments, and the help that teaches them. Long: half of it is that help.
mod evaluate;
mod experiments;
mod sampling;

pub use evaluate::Evaluate;
pub use experiments::Experiments;
pub use sampling::{Encode, Encoded, Guided, Interpolate, Reconstruct, Sample, Trajectory};

use clap::{Args, Parser, Subcommand, ValueEnum};
use ddim::{
    diffusion::schedule::{BetaSchedule, PredictionType},
    training::{Loss, Timesteps},
    weights::NonFinite,
};
use serde::de::DeserializeOwned;
use std::path::PathBuf;

/// Diffusion U-Nets in hand-written WGSL: train, sample and check them on any Vulkan, Metal or
/// DX12 device.
#[derive(Parser)]
#[command(
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  ddim demo                                  train on handwritten digits, draw new ones: a few minutes
  ddim train --data photos --size 32 --out run
  ddim sample --model run --count 16 --out new.png
  ddim devices                               what there is to compute on
  ddim verify                                is this device and driver to be trusted?

Messages for the curious: RUST_LOG=ddim=debug. `ddim COMMAND --help` says more of each."
)]
pub struct Cli {
    #[command(flatten)]
    pub device: Device,
    #[command(subcommand)]
    pub command: Command,
}

/// Permission to replace files of other programs.
#[derive(Args)]
pub struct Overwrite {
    /// Replace what stands at the place to write to, also if this command did not write it
    #[arg(long)]
    pub overwrite: bool,
}

/// How large pictures may be.
#[derive(Args)]
pub struct Pixels {
    /// Largest picture, in pixels
    #[arg(long, value_name = "N", default_value_t = ddim::files::MAX_PIXELS)]
    pub max_pixels: u64,
}

/// What to do with weights that are infinite or NaN.
#[derive(Args)]
pub struct Weights {
    /// Take a model with weights that are infinite or NaN
    #[arg(long)]
    pub allow_non_finite: bool,
}

impl Weights {
    /// What to do with such weights.
    pub fn non_finite(&self) -> NonFinite {
        if self.allow_non_finite { NonFinite::Allow } else { NonFinite::Refuse }
    }
}

/// Where to compute.
#[derive(Args)]
pub struct Device {
    /// Part of the adapter's name, in any case [default: discrete before integrated before software]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Device")]
    pub adapter: Option<String>,
    /// The API to use [default: whatever this system has]
    #[arg(long, global = true, value_enum, help_heading = "Device")]
    pub backend: Option<Backend>,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Backend {
    Vulkan,
    Metal,
    Dx12,
}

#[derive(Subcommand)]
pub enum Command {
    /// Train a small U-Net on handwritten digits, draw new ones, and write a report
    Demo(Demo),
    /// Train a U-Net on images of your own
    Train(Train),
    /// Draw images with a trained model
    Sample(Sample),
    /// Draw what lies between two samples
    Interpolate(Interpolate),
    /// Find the noise that a model draws given images from
    Encode(Encode),
    /// Encode images and draw them again, and measure what is lost
    Reconstruct(Reconstruct),
    /// Repeat the experiments of the DDIM paper on MNIST
    Experiments(Experiments),
    /// Evaluate the variational bound of a model on images, in bits per dimension
    Evaluate(Evaluate),
    /// List the adapters, with the features and limits that matter here
    Devices,
    /// Print what a model runs: graph, dispatches, FLOPs and memory
    Plan(Plan),
    /// Time every kernel of a model on this device
    Profile(Profile),
    /// Measure this device, a stage at a time: what scripts/measure-gpu runs
    Measure(Measure),
    /// Check this device and driver against references computed in 64 bits
    Verify(Verify),
}

impl Command {
    /// Whether it writes files: then these, not its messages, are what it is run for.
    pub fn writes_files(&self) -> bool {
        match self {
            Self::Devices | Self::Plan(_) | Self::Verify(_) => false,
            Self::Evaluate(arguments) => arguments.out.is_some(),
            Self::Profile(arguments) => arguments.trace.is_some(),
            _ => true,
        }
    }
}

/// Train a small U-Net on handwritten digits, draw new ones, and write a report.
///
/// The 1,797 digits (8x8 pixels) are inside the program; nothing is downloaded. The model has
/// 701,345 parameters. Every number is computed by this crate's own kernels.
#[derive(Args)]
#[command(after_help = "\
Writes below --out:
  report.html     one page with all of it, pictures inside
  samples.png     64 digits that the model drew (DDIM, 50 steps)
  denoising.png   how eight of them came out of noise
  loss.svg        the loss of every step
  numbers.json    settings and results, for programs
  pipeline/       the model: `ddim sample --model out/pipeline` draws more, `ddim train --resume`
                  goes on, and DDPMPipeline.from_pretrained of Python's diffusers opens it")]
pub struct Demo {
    /// Training steps, of 64 digits each
    #[arg(long, default_value_t = 800, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub steps: u32,
    /// Folder to write to
    #[arg(long, default_value = "out", value_name = "DIR")]
    pub out: PathBuf,
    #[command(flatten)]
    pub existing: Overwrite,
    /// Same seed and same device, same bits
    #[arg(long, default_value_t = 0, value_name = "K")]
    pub seed: u64,
}

/// Train a U-Net on images of your own.
///
/// The folder --out becomes a pipeline that `ddim sample` and Python's diffusers open
/// (DDPMPipeline.from_pretrained), with the moving average of the weights; what it takes to go on
/// lies beside it in training/. Ctrl-C ends the run with a checkpoint.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ddim train --data digits --out run                    the embedded digits, a few minutes on a CPU
  ddim train --data mnist --out run --steps 5000        a folder with MNIST's idx files, packed or not
  ddim train --data photos --size 32 --flip --out run   a folder of PNGs, cropped to their centres
  ddim train --resume --out run --steps 10000           go on with a run, to 10,000 steps in all
  ddim train --resume --out run --lr 1e-4               go on at another rate, as after a NaN
  ddim train --data mnist --out run --conditional --label-drop 0.1    classes, for guided samples

Defaults follow the images. Digits: block_out_channels 32,64, learning rate 2e-3, EMA 0.99, 1,500
steps. Up to 28x28 grey: 32,64,64, 1e-3, 0.999, 5,000. Others: 64,128,256,..., 2e-4, 0.9999, 50,000.
A U-Net of your own is a config.json of diffusers' UNet2DModel, given by --config.

Writes below --out: model_index.json, unet/, scheduler/, training/ (weights, optimizer, settings,
loss.csv, loss.svg), samples.png, and check.safetensors for scripts/check-diffusers.")]
pub struct Train {
    /// `digits`, or a folder with MNIST's idx files or PNG pictures
    #[arg(long, value_name = "DIR", required_unless_present = "resume")]
    pub data: Option<PathBuf>,
    /// Folder to write to
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    #[command(flatten)]
    pub existing: Overwrite,
    /// Training steps in all [default: by the images]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub steps: Option<u32>,
    /// Go on with the run in --out: its data and settings, the same bits as without a break. Data,
    /// batch, rates, clipping and --ema may be others from here on; what makes another model is refused
    #[arg(long)]
    pub resume: bool,
    /// Refuse to go on where the bits would not be those of a run without a break
    #[arg(long, requires = "resume")]
    pub exact: bool,
    /// The U-Net: a config.json of diffusers' UNet2DModel [default: by the images]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Crop every image to its centre and resize it to N x N pixels
    #[arg(long, value_name = "N")]
    pub size: Option<usize>,
    /// Largest picture of --data that is read, in pixels [default: 67108864]
    #[arg(long, value_name = "N")]
    pub max_pixels: Option<u64>,
    /// Images of a step [default: 64]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub batch: Option<usize>,
    /// Learning rate of Adam [default: by the images]
    #[arg(long, value_name = "RATE", value_parser = positive)]
    pub lr: Option<f64>,
    /// Steps in which the learning rate grows to that [default: 0]
    #[arg(long, value_name = "N")]
    pub warmup: Option<u32>,
    /// Steps at whose end the learning rate has fallen to zero, linearly; 0 for one that stays
    /// [default: it stays]
    #[arg(long, value_name = "N")]
    pub decay_steps: Option<u32>,
    /// How the noise grows over the 1,000 timesteps: linear, quad (scaled_linear), cosine, const,
    /// jsd or sigmoid [default: linear]
    #[arg(long, value_name = "NAME")]
    pub schedule: Option<BetaSchedule>,
    /// What the network predicts: epsilon, sample (x0) or v_prediction [default: epsilon]
    #[arg(long, value_name = "NAME", value_parser = named::<PredictionType>)]
    pub prediction: Option<PredictionType>,
    /// What is minimised: simple, vlb or hybrid; the last two learn the variance too, unless
    /// --config has but one output channel for each of the images' [default: simple]
    #[arg(long, value_name = "NAME", value_parser = named::<Loss>)]
    pub loss: Option<Loss>,
    /// Largest signal-to-noise ratio that counts in the simple loss (min-SNR weighting)
    #[arg(long, value_name = "GAMMA", value_parser = positive)]
    pub min_snr_gamma: Option<f64>,
    /// How timesteps are drawn: uniform, antithetic or importance [default: uniform]
    #[arg(long, value_name = "NAME", value_parser = named::<Timesteps>)]
    pub timesteps: Option<Timesteps>,
    /// Learn the classes of labelled images
    #[arg(long)]
    pub conditional: bool,
    /// Probability that a label is dropped, so that samples can be guided [default: 0]
    #[arg(long, value_name = "P", value_parser = below_one)]
    pub label_drop: Option<f64>,
    /// Decay of the moving average of the weights, at most (1 + i) / (10 + i) in step i
    /// [default: by the images]
    #[arg(long, value_name = "DECAY", value_parser = below_one)]
    pub ema: Option<f64>,
    /// Largest norm of the gradient; 0 for none [default: 1]
    #[arg(long, value_name = "NORM", value_parser = not_negative)]
    pub clip: Option<f64>,
    /// Same seed and same device, same bits [default: 0]
    #[arg(long, value_name = "K")]
    pub seed: Option<u64>,
    /// Mirror half of the images left to right
    #[arg(long)]
    pub flip: bool,
    /// Hold out this part of the images and measure the loss on them at every checkpoint
    #[arg(long, value_name = "FRACTION", value_parser = below_one)]
    pub valid: Option<f64>,
    /// Steps between checkpoints [default: 500]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub save_every: Option<u32>,
}

impl Train {
    /// The end of the decay, if given: `Some(None)` for a rate that stays.
    pub fn decay_steps(&self) -> Option<Option<u32>> {
        self.decay_steps.map(|end| (end > 0).then_some(end))
    }

    /// The norm that gradients are clipped to, if given: `Some(None)` for none.
    pub fn clip(&self) -> Option<Option<f64>> {
        self.clip.map(|norm| (norm > 0.0).then_some(norm))
    }
}

/// Print what a model runs: graph, dispatches, FLOPs and memory.
///
/// Nothing runs: where there is no adapter, the plan is that of a device with WebGPU's least
/// limits and features.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ddim plan                             a sampling step of the demo's model
  ddim plan --train --summary           a training step of it, the numbers only
  ddim plan run --batch 16              a model that `ddim train` wrote
  ddim plan --config config.json --size 32 --train")]
pub struct Plan {
    #[command(flatten)]
    pub step: Step,
    /// Only the numbers
    #[arg(long)]
    pub summary: bool,
}

/// Which step of which model.
#[derive(Args)]
pub struct Step {
    /// Folder of a pipeline [default: the demo's model]
    #[arg(value_name = "MODEL", conflicts_with = "config")]
    pub model: Option<PathBuf>,
    /// A config.json of diffusers' UNet2DModel
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Images at a time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = at_least_one)]
    pub batch: usize,
    /// A training step: forward, backward, clipping, Adam and the moving average
    #[arg(long)]
    pub train: bool,
    /// Height and width in pixels [default: the model's]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub size: Option<usize>,
}

/// Time every kernel of a model on this device.
///
/// Prints the device's ceilings (multiply-adds in registers, a copy in memory), and the time of a
/// step by kernel and by part of the model: milliseconds, share, rates, and the share of the
/// ceiling that applies. An equation that takes several launches has charged its cost to one of
/// them. A convolution counts the operations of the direct sum: minimal filtering, which does a
/// third of them, may pass the ceiling. The weights are as before training: times do not depend on them.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ddim profile                          a sampling step of the demo's model
  ddim profile --train --batch 16       a training step of it
  ddim profile run --trace trace.json   open it in ui.perfetto.dev or chrome://tracing")]
pub struct Profile {
    #[command(flatten)]
    pub step: Step,
    /// Runs that are averaged, after one that compiles
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = at_least_one)]
    pub runs: usize,
    /// Write the launches as a trace in Chrome's format
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    #[command(flatten)]
    pub existing: Overwrite,
}

/// Measure this device, a stage at a time.
///
/// scripts/measure-gpu runs the stages one after another, each under a time limit. A stage writes
/// STAGE.json below --out after every row, so that one which is stopped leaves what it has; `report`
/// makes report.json and report.md of all. Kernels that failed in `ops` are not used by later stages.
#[derive(Args)]
pub struct Measure {
    /// What to measure
    #[arg(value_enum, value_name = "STAGE")]
    pub stage: Stage,
    /// Folder of the run
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    #[command(flatten)]
    pub existing: Overwrite,
    /// The short form: small shapes, one repeat, on any adapter
    #[arg(long)]
    pub rehearse: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Stage {
    /// Adapter, driver, limits, cooperative matrices; fails unless it is a hardware GPU
    Device,
    /// Multiply-adds, copy, launches; run-time checks on and off
    Ceilings,
    /// Every op's own cases, by each kernel family
    Ops,
    /// Reference cases in tests/cases and tests/cases_unet
    Cases,
    /// Products of matrices and linear layers, with their gradients
    Products,
    /// Convolutions and their gradients
    Convolutions,
    /// Attention and its gradient
    Attention,
    /// Group norms and their gradients
    Norms,
    /// Small graphs, fused and unfused
    Fusions,
    /// A sampling step of the CIFAR-10 U-Net, by kernel
    Unet,
    /// A training step of it
    Training,
    /// Fifty steps of DDIM
    Ddim,
    /// All of it, as JSON and Markdown
    Report,
}

/// Check this device and driver against references computed in 64 bits.
///
/// Without --cases, every op's own table of cases runs and is held against the reference in the
/// program: about a minute. With --cases, the reference cases in that folder, which PyTorch and
/// diffusers made. Each element has its own tolerance. The status is 1 if a case failed.
#[derive(Args)]
pub struct Verify {
    /// Folder of reference cases (tests/cases of the repository)
    #[arg(long, value_name = "DIR")]
    pub cases: Option<PathBuf>,
    /// Only these groups of them, like `ops,unet`
    #[arg(long, value_name = "GROUPS", value_delimiter = ',', requires = "cases")]
    pub group: Vec<String>,
    /// Random operations, gradients and small graphs for so long, those that fail on a line each
    #[arg(long, value_name = "MINUTES", conflicts_with = "cases", value_parser = minutes)]
    pub random: Option<f64>,
    /// Which sequence of random cases
    #[arg(long, default_value_t = 0, conflicts_with = "cases")]
    pub seed: u64,
    /// Only the random case of this number of its sequence, as the line of a failed one names it
    #[arg(long, value_name = "N", conflicts_with_all = ["cases", "random"])]
    pub number: Option<u64>,
}

/// Up to a month.
fn minutes(text: &str) -> Result<f64, String> {
    number(text, "not above 0 and at most 43200", |number| 0.0 < number && number <= 43_200.0)
}

fn at_least_one(text: &str) -> Result<usize, String> {
    let number = text.parse().map_err(|error: std::num::ParseIntError| error.to_string())?;
    if (1..=1 << 24).contains(&number) { Ok(number) } else { Err("not in 1 to 16777216".into()) }
}

fn number(text: &str, what: &str, fits: impl Fn(f64) -> bool) -> Result<f64, String> {
    let number = text.parse().map_err(|error: std::num::ParseFloatError| error.to_string())?;
    if fits(number) { Ok(number) } else { Err(what.to_owned()) }
}

/// A name that serde knows.
fn named<T: DeserializeOwned>(name: &str) -> Result<T, String> {
    serde_json::from_value(name.into()).map_err(|error| error.to_string())
}

fn positive(text: &str) -> Result<f64, String> {
    number(text, "not above 0", |number| number > 0.0 && number.is_finite())
}

fn not_negative(text: &str) -> Result<f64, String> {
    number(text, "not 0 or above", |number| number >= 0.0 && number.is_finite())
}

fn below_one(text: &str) -> Result<f64, String> {
    number(text, "not between 0 and 1", |number| (0.0..1.0).contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}

//! Arguments, and the help that teaches them. Names of earlier versions are hidden aliases.
mod average;
mod bytes;
mod config;
mod convert;
mod evaluate;
mod experiments;
mod generate;
mod images;
mod inspect;
mod optimizer;
mod sampling;
#[cfg(test)]
#[path = "../../tests/arguments/mod.rs"]
mod tests;
mod train;
mod train_classifier;
mod train_lora;
mod watch;

pub use average::Average;
pub use config::Config;
pub use convert::{Convert, Inspect};
pub use evaluate::Evaluate;
pub use experiments::Experiments;
pub use generate::Generate;
pub use images::{ImageArguments, Valid};
pub use inspect::{Measure, Plan, Profile, Stage, Step, Tune, Verify};
pub use optimizer::OptimizerArguments;
pub use sampling::{Encode, Encoded, Guided, Interpolate, Reconstruct, Sample, Trajectory};
pub use train::{Demo, Train};
pub use train_classifier::TrainClassifier;
pub use train_lora::{Layers, TrainLora};
pub use watch::WatchArguments;

use clap::{Arg, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use ddim::{pipeline::Opening, weights::NonFinite};
use serde::de::DeserializeOwned;
use std::{path::PathBuf, process};

/// Diffusion U-Nets in hand-written WGSL: train, sample and check them on any Vulkan, Metal or
/// DX12 device.
#[derive(Parser)]
#[command(
    name = "ddim",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  ddim demo                                  train on handwritten digits, sample new ones
  ddim train --data photos --size 32 --out run
  ddim sample --model run --count 16 --out new.png
  ddim generate --model sd15 --prompt 'a cat' --out cat.png
  ddim devices                               what there is to compute on
  ddim verify                                is this device and driver to be trusted?

Messages for the curious: RUST_LOG=ddim=debug. `ddim COMMAND --help` says more of each."
)]
pub struct Cli {
    #[command(flatten)]
    pub device: Device,
    /// Say nothing but warnings and errors, of a command that writes files
    #[arg(short, long, global = true, help_heading = "Output")]
    pub quiet: bool,
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// The arguments of this process; ends it where they are wrong, or ask for help.
    pub fn of_arguments() -> Self {
        let matches = Self::parser().get_matches();
        // A list needs no model, which sampling does.
        if matches.subcommand_matches("sample").is_some_and(|sample| sample.get_flag("list")) {
            sampling::list();
            process::exit(0);
        }
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// Numbers below 0 are values, so that an argument which takes none says what it takes.
    pub fn parser() -> clap::Command {
        let signed = |argument: Arg| {
            let takes = argument.get_action().takes_values();
            argument.allow_negative_numbers(takes)
        };
        Self::command().mut_args(signed).mut_subcommands(|command| command.mut_args(signed))
    }
}

/// Permission to replace files of other programs.
#[derive(Args)]
pub struct Overwrite {
    /// Replace what stands at the place to write to, also if this command did not write it
    #[arg(long)]
    pub overwrite: bool,
}

/// The picture that a command is run for.
#[derive(Args)]
pub struct PictureFile {
    /// The picture to write
    #[arg(long, value_name = "FILE.png")]
    pub out: PathBuf,
    #[command(flatten)]
    pub existing: Overwrite,
    /// Largest picture, in pixels
    #[arg(long, value_name = "N", default_value_t = ddim::files::MAX_PIXELS)]
    pub max_pixels: u64,
}

/// What is said of a model beside its path.
#[derive(Args)]
pub struct Beside {
    /// Settings of a model whose file does not hold them: the flags of its command line, its yml, or a
    /// config.json
    #[arg(long, value_name = "FILE")]
    pub flags: Option<PathBuf>,
    /// The variant of a folder's weights, such as fp16
    #[arg(long, value_name = "NAME")]
    pub variant: Option<String>,
}

impl Beside {
    /// As the library takes it.
    pub fn opening(&self, non_finite: NonFinite) -> Opening {
        Opening { flags: self.flags.clone(), variant: self.variant.clone(), non_finite }
    }
}

/// The model to use.
#[derive(Args)]
pub struct Model {
    /// A model: a folder of `ddim train`, `ddim demo` or diffusers (UNet2DModel), or a file of DDIM's release,
    /// improved-diffusion or guided-diffusion with its --flags
    #[arg(long = "model", value_name = "PATH")]
    pub path: PathBuf,
    #[command(flatten)]
    pub beside: Beside,
    /// Take a model with weights that are infinite or NaN
    #[arg(long)]
    pub allow_non_finite: bool,
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
    /// Multiply by the adapter's matrix units, where it computes right by them: they round operands to f16
    #[arg(long, global = true, help_heading = "Device")]
    pub cooperative_matrices: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Backend {
    Vulkan,
    Metal,
    Dx12,
}

#[derive(Subcommand)]
pub enum Command {
    /// Train a small U-Net on handwritten digits, sample new ones, and write a report
    Demo(Demo),
    /// Train a U-Net on images of your own
    Train(Train),
    /// Train a classifier of noisy images, which then guides samples to a class
    TrainClassifier(TrainClassifier),
    /// Train a LoRA of a text-to-picture model on pictures with captions
    TrainLora(TrainLora),
    /// Write a model of another moving average of a run's weights
    Average(Average),
    /// Write the configuration of a U-Net, to edit and to train
    Config(Config),
    /// Tell what a file or folder of weights is
    Inspect(Inspect),
    /// Write a model that opens here as a folder of diffusers
    Convert(Convert),
    /// Sample images from a trained model
    Sample(Sample),
    /// Make pictures of a text, with a latent diffusion model
    Generate(Generate),
    /// Sample what lies between two samples
    Interpolate(Interpolate),
    /// Find the noise that a model makes given images from
    Encode(Encode),
    /// Encode images and decode them again, and measure what is lost
    Reconstruct(Reconstruct),
    /// Repeat the experiments of the DDIM paper on MNIST
    Experiments(Experiments),
    /// Evaluate the variational bound of a model on images, or how far its samples are from them
    Evaluate(Evaluate),
    /// List the adapters, with the features and limits that matter here
    Devices,
    /// Print what a model runs: graph, dispatches, FLOPs and memory
    Plan(Plan),
    /// Time every kernel of a model on this device
    Profile(Profile),
    /// Measure which kernels are fastest for a model on this device, and use them from then on
    Tune(Tune),
    /// Measure this device, a stage at a time: what scripts/measure-gpu runs
    Measure(Measure),
    /// Check this device and driver against references computed in 64 bits
    Verify(Verify),
    /// Write man pages and completions of shells
    #[cfg(feature = "packaging")]
    Packaging(Packaging),
}

/// Write man pages and completions of shells.
#[cfg(feature = "packaging")]
#[derive(Args)]
pub struct Packaging {
    /// Folder to write to
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

impl Command {
    /// Whether it writes files: then these, not its messages, are what it is run for.
    pub fn writes_files(&self) -> bool {
        match self {
            Self::Devices | Self::Inspect(_) | Self::Plan(_) | Self::Verify(_) => false,
            Self::Average(arguments) => arguments.out.is_some(),
            Self::Config(arguments) => arguments.out.is_some(),
            Self::Evaluate(arguments) => arguments.out.is_some(),
            Self::Profile(of) => [&of.trace, &of.json, &of.html].iter().any(|file| file.is_some()),
            _ => true,
        }
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    let number: i64 = text.parse().map_err(|error: std::num::ParseIntError| error.to_string())?;
    let fits = (1..=1 << 24).contains(&number);
    if fits { Ok(number as usize) } else { Err("not in 1 to 16777216".into()) }
}

fn number(text: &str, what: &str, fits: impl Fn(f64) -> bool) -> Result<f64, String> {
    let number = text.parse().map_err(|error: std::num::ParseFloatError| error.to_string())?;
    if fits(number) { Ok(number) } else { Err(what.to_owned()) }
}

/// A name that serde knows.
fn named<T: DeserializeOwned>(name: &str) -> Result<T, String> {
    serde_json::from_value(name.into()).map_err(|error| error.to_string())
}

fn finite(text: &str) -> Result<f64, String> {
    number(text, "not finite", f64::is_finite)
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

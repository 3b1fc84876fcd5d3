//! Arguments of the commands that plan, time and check.
use super::{Overwrite, at_least_one, bytes::bytes, convert::Dtype, number};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Print what a model runs: graph, dispatches, FLOPs and memory.
///
/// Nothing runs: where there is no adapter, the plan is that of a device with WebGPU's least
/// limits and features. Of a GPU of known rates it prints how long each launch takes by a model: from
/// work, bytes, grid and a cost of 4 us a launch; and the total if a launch cost 2 or 25 us. Of a latent
/// pipeline it prints the plan of each network for one guided picture; configurations are enough.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ddim plan                             a sampling step of the demo's model
  ddim plan --train --summary           a training step of it, the numbers only
  ddim plan run --batch 16              a model that `ddim train` wrote
  ddim plan --config config.json --size 32 --train
  ddim plan run --device H100           for a GPU that is not here
  ddim plan sd15 --summary              text encoder, U-Net step and decoder of Stable Diffusion")]
pub struct Plan {
    #[command(flatten)]
    pub step: Step,
    /// Only the numbers
    #[arg(long)]
    pub summary: bool,
    /// Plan for a GPU that need not be here, by its name, like "RTX 4090"
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
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
    /// Storage of weights and activations in a training step [default: f32]
    #[arg(long, value_name = "TYPE", requires = "train")]
    pub precision: Option<Dtype>,
    /// Most memory of the device that a training step may take, as 2GiB: activations are computed twice
    /// where it would take more
    #[arg(long, value_name = "SIZE", value_parser = bytes, requires = "train")]
    pub memory: Option<u64>,
}

/// Time every kernel of a model on this device.
///
/// Prints the device's ceilings (multiply-adds in registers, a copy in memory), and the time of a
/// step by part of the model and by kernel: the median of the runs, the fastest and the slowest,
/// share, rates, and the share of the ceiling that applies. A part counts the operations and the
/// least traffic of its equations; a kernel its own operations (`-`: none to speak of) and the
/// bytes of the tensors that it binds. A convolution counts the operations of the direct sum:
/// minimal filtering, which does a third of them, may pass the ceiling. A part in parentheses is
/// what no layer computes: the sampler, the loss, the optimizer. The weights are as before
/// training: times do not depend on them.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ddim profile                          a sampling step of the demo's model
  ddim profile --train --batch 16       a training step of it
  ddim profile run --trace trace.json   open it in ui.perfetto.dev or chrome://tracing
  ddim profile run --json before.json   and after a change:
  ddim profile run --against before.json --html profile.html")]
pub struct Profile {
    #[command(flatten)]
    pub step: Step,
    /// Runs that are timed, after one that compiles
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = at_least_one)]
    pub runs: usize,
    /// Write the launches as a trace in Chrome's format
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Write times, ceilings and memory as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write a page: roofline, time by part of the model, memory by launch, kernels below half of their ceiling
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Compare with the profile that --json wrote earlier
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    #[command(flatten)]
    pub existing: Overwrite,
}

/// Measure which kernels are fastest for a model on this device, and use them from then on.
///
/// Times the candidates of each convolution, product and attention of a step in turn and keeps those that
/// win, in the user's cache, for this adapter, driver and version alone. A later `ddim tune` of another
/// model adds to them. Plans of all commands take them before the table; a run of `ddim train` that is
/// resumed goes on with those that it began with. Delete the file that is named at the end to be without.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ddim tune run --batch 16              a sampling step of a model
  ddim tune run --train --batch 64      a training step
  ddim tune --config config.json --seconds 600")]
pub struct Tune {
    #[command(flatten)]
    pub step: Step,
    /// Seconds after which what was not timed stays with the table
    #[arg(long, value_name = "N", default_value_t = 120)]
    pub seconds: u64,
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
/// diffusers made. Each element has its own tolerance. Cases that failed have a line each, and the
/// last line counts. The status is 1 if a case failed.
#[derive(Args)]
pub struct Verify {
    /// Every case on a line, those that passed or were skipped too
    #[arg(short, long)]
    pub verbose: bool,
    /// Folder of reference cases (tests/cases of the repository)
    #[arg(long, value_name = "DIR")]
    pub cases: Option<PathBuf>,
    /// Only these groups of them, like `ops,unet`
    #[arg(long, value_name = "GROUPS", value_delimiter = ',', requires = "cases")]
    pub group: Vec<String>,
    /// Random operations, gradients and small graphs for so long
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

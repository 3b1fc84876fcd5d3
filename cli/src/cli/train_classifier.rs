//! Arguments of `ddim train-classifier`.
use super::{Overwrite, at_least_one, below_one, positive};
use clap::Args;
use ddim::diffusion::schedule::BetaSchedule;
use std::path::PathBuf;

/// Train a classifier of noisy images, which then guides samples to a class.
///
/// The classifier sees images with as much noise as each timestep has: Dhariwal and Nichol 2021, section 4.
/// Any model that was trained on the same noise can be guided by it.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ddim train-classifier --data mnist --out judge --steps 2000
  ddim sample --model run --classifier judge --class 7 --classifier-scale 4 --out sevens.png

Writes below --out: config.json (guided-diffusion's flags), classifier.safetensors, scheduler/ and
training/ (weights, optimizer, settings, loss.csv, loss.svg).")]
pub struct TrainClassifier {
    /// Labelled images: a folder with MNIST's idx files, or with a folder of pictures for each class.
    /// The bare word `digits` is the embedded digits, `./digits` a folder
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
    /// Go on with the run in --out, with its data and settings, to --steps in all
    #[arg(long, conflicts_with_all = ["data", "config", "size", "batch", "lr", "schedule", "ema", "flip"])]
    pub resume: bool,
    /// The classifier: a config.json of guided-diffusion's flags [default: by the images]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Crop every image to its centre and resize it to N x N pixels [default: image_size of --config, else
    /// as they are]
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
    /// How the noise grows over the 1,000 timesteps: that of the model to guide [default: linear]
    #[arg(long, value_name = "NAME")]
    pub schedule: Option<BetaSchedule>,
    /// Decay of the moving average of the weights [default: by the images]
    #[arg(long, value_name = "DECAY", value_parser = below_one)]
    pub ema: Option<f64>,
    /// Same seed and same device, same bits
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub seed: u64,
    /// Mirror half of the images left to right
    #[arg(long)]
    pub flip: bool,
    /// Steps between checkpoints
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    pub save_every: u32,
}

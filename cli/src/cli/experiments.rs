//! Arguments of `ddim experiments`.
use super::{Overwrite, at_least_one};
use clap::Args;
use std::path::PathBuf;

/// Repeat the experiments of the DDIM paper on MNIST, and write them on one page.
///
/// A small U-Net is trained (or taken), and a classifier whose 64 features stand in for those of
/// Inception. Then: the Frechet distance by steps S and noise (table 1 of Song, Meng, Ermon 2021),
/// the error of reconstruction (table 2), sampling time against S, and the pictures: the same x_T
/// in 10 to 100 steps, interpolation, eta from 0 to 1, images encoded and decoded again.
///
/// Each number is appended to the CSV when it is measured. The same command goes on where it was stopped.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ddim experiments --data mnist --out out                 all of it: hours on two CPU cores
  ddim experiments --data mnist --out out --max-steps 100  without what takes more than 100 steps
  ddim experiments --data mnist --out out --model run     with a model that `ddim train` wrote

--data is a folder with MNIST's four files, packed or not; nothing is downloaded:
  train-images-idx3-ubyte.gz   train-labels-idx1-ubyte.gz
  t10k-images-idx3-ubyte.gz    t10k-labels-idx1-ubyte.gz

Writes below --out:
  experiments.html          one page with all of it, pictures inside
  results.csv               a row for each number: experiment, setting, steps, value, images, seconds
  samples.png, consistency.png, interpolation.png, eta.png, reconstruction.png
  classifier.safetensors    the classifier
  model/                    the model as a pipeline folder, if it was trained here
  settings.json             what all of these were made with")]
pub struct Experiments {
    /// Folder with MNIST's idx files
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Folder to write to, or to go on in
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    #[command(flatten)]
    pub existing: Overwrite,
    /// Folder of a pipeline for MNIST [default: train one]
    #[arg(long, value_name = "DIR", conflicts_with = "train_steps")]
    pub model: Option<PathBuf>,
    /// Training steps of the model [default: 7000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub train_steps: Option<u32>,
    /// Leave out what takes more than S sampling steps
    #[arg(long, alias = "steps", value_name = "S", default_value_t = 1000, value_parser = at_least_one)]
    pub max_steps: usize,
    /// Same seed and same device, same numbers
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub seed: u64,
}

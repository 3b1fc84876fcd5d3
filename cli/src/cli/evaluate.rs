//! Arguments of `ddim evaluate`.
use super::{Model, Overwrite, at_least_one};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Evaluate the variational bound of a model on images, in bits per dimension, or with --fid how far its samples are
/// from them.
///
/// The bound is L_T + L_{T-1} + .. + L_0 of Ho et al. 2020, equation 5, with the discretised
/// decoder of equation 13: how many bits a pixel's channel takes to code with this model. It is
/// relative to the values that the data's pixels can have: 256, or 17 of the embedded digits. Every
/// image is noised once at every timestep; its noise follows from --seed, its number and the
/// timestep alone.
///
/// With --fid images are sampled, and their Frechet distance to the data is printed, with precision and recall by third
/// neighbours (Kynkäänniemi et al. 2019), all in the features of a network.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ddim evaluate --model out/pipeline --data digits --split test
  ddim evaluate --model run --data mnist --split test --images 64 --out bound
  ddim evaluate --model run --data mnist --images 16 --timestep-count 50    an estimate, in minutes
  ddim evaluate --model run --data photos --fid pt_inception-2015-12-05-6726825d.pth --samples 5000
  ddim evaluate --model run --data mnist --split test --fid out/classifier.safetensors

Writes below --out: bound.csv, a row for each term, and bound.svg, L_t against t.")]
pub struct Evaluate {
    #[command(flatten)]
    pub model: Model,
    /// `digits`, or a folder with MNIST's idx files, pictures or folders of classes
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// One part of the data, where they are published in two [default: as `ddim train` takes them]
    #[arg(long, value_enum)]
    pub split: Option<Split>,
    /// Only the first N images [default: all]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub images: Option<usize>,
    /// Estimate from K timesteps, denser near the image [default: all of the model's]
    #[arg(long, alias = "timesteps", value_name = "K", value_parser = at_least_one)]
    pub timestep_count: Option<usize>,
    /// Images at a time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = at_least_one)]
    pub batch: usize,
    /// Measure samples instead, in the features of this network: InceptionV3 in the file that torch-fidelity or
    /// pytorch-fid downloads, or the classifier of `ddim experiments`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["out", "timestep_count"])]
    pub fid: Option<PathBuf>,
    /// Whose resizing of images InceptionV3 sees
    #[arg(
        long,
        value_enum,
        value_name = "NAME",
        default_value = "torch-fidelity",
        requires = "fid"
    )]
    pub fid_resizing: Resizing,
    /// Images to sample for --fid [default: as many as of the data]
    #[arg(long, value_name = "N", value_parser = at_least_one, requires = "fid")]
    pub samples: Option<usize>,
    /// Steps of the sampler that the model's scheduler means, for --fid
    #[arg(long, value_name = "S", default_value_t = 50, value_parser = at_least_one, requires = "fid")]
    pub sampling_steps: usize,
    /// Keys the noise
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub seed: u64,
    /// Folder for the terms as a table and a picture
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub existing: Overwrite,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Resizing {
    TorchFidelity,
    PytorchFid,
}

impl From<Resizing> for ddim::classifier::Resizing {
    fn from(resizing: Resizing) -> Self {
        match resizing {
            Resizing::TorchFidelity => Self::TorchFidelity,
            Resizing::PytorchFid => Self::PytorchFid,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Split {
    Train,
    Test,
}

impl From<Split> for ddim::data::Split {
    fn from(split: Split) -> Self {
        match split {
            Split::Train => Self::Train,
            Split::Test => Self::Test,
        }
    }
}

//! Arguments of the commands about models' files.
use super::{Beside, Overwrite};
use clap::{Args, ValueEnum};
use ddim::{nn::ElementTypes, value::ElementType, weights::Precision};
use std::path::PathBuf;

/// Tell what a file or folder of weights is.
///
/// Prints format and dialect, the configuration that is in it, given beside it or guessed from the shapes,
/// what no shape tells, and every tensor. No number is read.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ddim inspect run                              a folder of `ddim train` or diffusers
  ddim inspect ema_0.9999_250000.pt             of improved-diffusion or guided-diffusion
  ddim inspect sd-v1-4.ckpt                     of Stable Diffusion")]
pub struct Inspect {
    /// The file or folder
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    #[command(flatten)]
    pub beside: Beside,
}

/// Write a model that opens here as a folder of diffusers.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ddim convert ckpt.pth folder --flags cifar10.yml
  ddim convert ema.pt folder --flags flags.txt --dtype f16")]
pub struct Convert {
    /// The file or folder to read
    #[arg(value_name = "IN")]
    pub path: PathBuf,
    /// The folder to write
    #[arg(value_name = "OUT")]
    pub out: PathBuf,
    /// Numbers of the weights
    #[arg(long, value_enum, default_value = "f32")]
    pub dtype: Dtype,
    #[command(flatten)]
    pub beside: Beside,
    #[command(flatten)]
    pub existing: Overwrite,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Dtype {
    F32,
    F16,
    Bf16,
}

impl From<Dtype> for ElementType {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
            Dtype::Bf16 => Self::Bf16,
        }
    }
}

impl From<Dtype> for ElementTypes {
    fn from(dtype: Dtype) -> Self {
        Self::of(dtype.into())
    }
}

impl From<Dtype> for Precision {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
            Dtype::Bf16 => Self::Bf16,
        }
    }
}

//! Arguments of `ddim train-lora`.
use super::{Overwrite, at_least_one, convert::Dtype, positive};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Train a LoRA of a text-to-picture model on pictures with captions.
///
/// Two small matrices beside each layer learn; the model stays as it is: Hu et al. 2021. Pictures and captions are encoded
/// once, before the first step. Ctrl-C ends the run with a checkpoint.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ddim train-lora --model sd15 --data photos --out style           photos/a.jpg with its caption in photos/a.txt
  ddim train-lora --model sd15 --data photos --rank 16 --alpha 8 --steps 2000 --out style
  ddim train-lora --resume --out style --steps 3000                go on with a run, to 3,000 steps in all

Writes below --out: pytorch_lora_weights.safetensors, which `load_lora_weights` of Python's diffusers opens,
check.safetensors for scripts/check-diffusers, and training/ (weights, optimizer, settings, loss.csv, loss.svg).")]
pub struct TrainLora {
    /// A text-to-picture model: a folder of diffusers (StableDiffusionPipeline, StableDiffusionXLPipeline) or a single
    /// file of Stable Diffusion, with --tokenizer
    #[arg(long, value_name = "PATH", required_unless_present = "resume")]
    pub model: Option<PathBuf>,
    /// The variant of the folder's weights, such as fp16
    #[arg(long, value_name = "NAME")]
    pub variant: Option<String>,
    /// Folder of the vocabulary [default: the model's]
    #[arg(long, value_name = "DIR")]
    pub tokenizer: Option<PathBuf>,
    /// A folder of pictures, each with its caption in a text file of the same name, or all captions in metadata.jsonl
    /// (file_name, text), as Hugging Face's imagefolder has it
    #[arg(long, value_name = "DIR", required_unless_present = "resume")]
    pub data: Option<PathBuf>,
    /// Folder to write to
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    #[command(flatten)]
    pub existing: Overwrite,
    /// Columns of the first matrix and rows of the second
    #[arg(long, value_name = "R", default_value_t = 4, value_parser = at_least_one)]
    pub rank: usize,
    /// What they add is multiplied by A over the rank [default: the rank]
    #[arg(long, value_name = "A", value_parser = positive)]
    pub alpha: Option<f64>,
    /// Which layers of the U-Net have them
    #[arg(long, value_name = "NAME", value_enum, default_value_t = Layers::Attention)]
    pub layers: Layers,
    /// Storage of the model's own weights, which stay as they are
    #[arg(long, value_name = "TYPE", value_enum, default_value_t = Dtype::F32)]
    pub precision: Dtype,
    /// Learning rate of AdamW
    #[arg(long, value_name = "RATE", default_value_t = 1e-4, value_parser = positive)]
    pub learning_rate: f64,
    /// Training steps in all [default: 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub steps: Option<u32>,
    /// Go on with the run in --out, with its data and settings, to --steps in all
    #[arg(long, conflicts_with_all = ["model", "variant", "tokenizer", "data", "size"])]
    pub resume: bool,
    /// Pictures of a step
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    pub batch: usize,
    /// Crop every picture to its centre and resize it to N x N pixels [default: the model's size]
    #[arg(long, value_name = "N")]
    pub size: Option<usize>,
    /// Largest picture of --data that is read, in pixels [default: 67108864]
    #[arg(long, value_name = "N")]
    pub max_pixels: Option<u64>,
    /// Same seed and same device, same bits
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub seed: u64,
    /// Steps between checkpoints
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    pub save_every: u32,
}

/// Which layers of a U-Net have adapters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layers {
    /// The projections of attention: to_q, to_k, to_v and to_out.0
    Attention,
    /// All layers of the transformers
    Transformers,
    /// All layers, convolutions too
    All,
}

impl Layers {
    /// What they are called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Attention => "projections of attention",
            Self::Transformers => "layers of transformers",
            Self::All => "all layers",
        }
    }

    /// Whether a layer of this name is one of them.
    pub fn has(self, layer: &str) -> bool {
        const PROJECTIONS: [&str; 4] = [".to_q", ".to_k", ".to_v", ".to_out.0"];
        match self {
            Self::Attention => PROJECTIONS.iter().any(|end| layer.ends_with(end)),
            Self::Transformers => layer.contains(".attentions."),
            Self::All => true,
        }
    }
}

//! Arguments of `ddim generate`.
use super::{
    Beside, PictureFile, Trajectory, at_least_one, convert::Dtype, finite, images::size, number,
};
use clap::Args;
use ddim::weights::LoraFile;
use std::path::PathBuf;

/// Make pictures of a text, with a latent diffusion model.
///
/// The noise of picture number i follows from --seed and i alone, and one picture is made at a time: how many are asked for
/// changes none of them. No weights come with this program.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ddim generate --model sd15 --prompt \"a lighthouse at dusk\" --out lighthouse.png
  ddim generate --model sd15 --prompt \"a lighthouse\" --negative fog --steps 30 --guidance 6 --seed 7 --out new.png
  ddim generate --model v1-5.safetensors --tokenizer sd15/tokenizer --prompt \"a cat\" --size 512x768 --out cat.png
  ddim generate --model sd15 --prompt \"a cat\" --count 4 --out cats.png    cats-00000.png, cats-00001.png, ...
  ddim generate --model sd15 --prompt \"in oil\" --init photo.png --strength 0.6 --sampler ddim --out oil.png
  ddim generate --model sd15 --prompt \"a hat\" --init photo.png --mask hat.png --sampler ddim --out hat-on.png
  ddim generate --model sd15 --lora ink.safetensors:0.8 --lora faces.safetensors --prompt \"a cat\" --out ink.png
  ddim generate --model sdxl --embeddings text.safetensors --out new.png")]
pub struct Generate {
    /// A text-to-picture model: a folder of diffusers (StableDiffusionPipeline, StableDiffusionXLPipeline), or a single
    /// file of Stable Diffusion
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    #[command(flatten)]
    pub beside: Beside,
    /// What to show
    #[arg(long, value_name = "TEXT", required_unless_present = "embeddings")]
    pub prompt: Option<String>,
    /// What not to show [default: nothing]
    #[arg(long, value_name = "TEXT", requires = "prompt")]
    pub negative: Option<String>,
    /// Folder of the vocabulary [default: the model's, which single files lack]
    #[arg(long, value_name = "DIR", requires = "prompt")]
    pub tokenizer: Option<PathBuf>,
    /// Texts that were encoded elsewhere, instead: prompt_embeds, negative_prompt_embeds, and of SDXL
    /// pooled_prompt_embeds, negative_pooled_prompt_embeds, as diffusers calls them
    #[arg(long, value_name = "FILE.safetensors", conflicts_with = "prompt")]
    pub embeddings: Option<PathBuf>,
    #[command(flatten)]
    pub picture: PictureFile,
    #[command(flatten)]
    pub trajectory: Trajectory,
    /// Guidance u + W (c - u) away from --negative: 1 is none [default: 7.5, of SDXL 5]
    #[arg(long, value_name = "W", value_parser = finite)]
    pub guidance: Option<f64>,
    /// Width and height in pixels [default: those of --init, or the model's]
    #[arg(long, value_name = "WxH", value_parser = size)]
    pub size: Option<[usize; 2]>,
    /// Adapters of kohya, diffusers or `ddim train-lora`, and how strong they are [default strength: 1]; several add up
    #[arg(long, value_name = "FILE[:STRENGTH]")]
    pub lora: Vec<LoraFile>,
    /// Numbers of the U-Net: halves take half of the memory and round more
    #[arg(long, value_enum, default_value = "f32")]
    pub precision: Dtype,
    /// Pictures to make
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    pub count: usize,
    /// Same seed and same device, same bits
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub seed: u64,
    /// Start from this picture, not from noise
    #[arg(long, value_name = "PICTURE")]
    pub init: Option<PathBuf>,
    /// Share of the steps that change it: 1 leaves nothing of it [default: 0.8]
    #[arg(long, value_name = "S", value_parser = strength, requires = "init")]
    pub strength: Option<f64>,
    /// Change only what is bright in this picture of the same size
    #[arg(long, value_name = "PICTURE", requires = "init")]
    pub mask: Option<PathBuf>,
    /// Decode and encode in overlapping tiles, which takes less memory: their seams are blended, as diffusers'
    /// enable_tiling has it
    #[arg(long)]
    pub vae_tiles: bool,
    /// Write a page with the settings, the picture that each step predicts, times and memory
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
}

fn strength(text: &str) -> Result<f64, String> {
    number(text, "not above 0 and at most 1", |number| number > 0.0 && number <= 1.0)
}

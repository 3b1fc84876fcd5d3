//! Networks, and the files that their weights come from.

mod checkpoints;
mod classifier;
mod clip_text;
#[path = "../common/mod.rs"]
mod common;
mod files;
mod foreign;
mod inception;
mod latent;
mod loading;
mod lora;
mod open;
mod pipelines;
mod tokenizer;
mod torch;
mod unet_config;
mod unet_reference;
mod weights;

//! Data sets, optimizers and whole training runs.

mod augment;
mod averages;
#[path = "../common/mod.rs"]
mod common;
mod data;
mod data_formats;
mod graph_trainer;
mod lora_training;
mod not_finite;
mod precision;
mod ranks;
mod training;
mod training_data;
mod training_options;

//! Schedules, samplers and the variational bound, from a table to a picture.

#[path = "../common/mod.rs"]
mod common;
mod evaluate;
mod generate;
mod noise_schedules;
mod predict;
mod reference_cases;
mod sampler_tables;
mod samplers;
mod schedules;
mod timesteps;
mod trajectory;

//! Where the time of a sampling step goes: by part of the model and by kernel.
//!
//! `cargo run --release --example profile_step [CONFIG.json]`
use ddim::{
    diffusion::{Sampler, schedule::SchedulerConfig},
    gpu::{Gpu, GpuOptions},
    models::unet2d::{UNet, UNetConfig},
    nn::{self, Weights},
};
use std::fs;

/// Runs that are timed; the medians are printed.
const RUNS: usize = 10;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = match std::env::args().nth(1) {
        Some(path) => fs::read_to_string(path)?,
        None => include_str!("../benches/models/digits.json").into(),
    };
    let unet = UNet::new(UNetConfig::parse(&config)?)?;
    let sides = unet.config().sample_size.ok_or("the configuration names no size")?;
    let (height, width) = sides.sides();
    let gpu = Gpu::new(&GpuOptions::default())?;
    let size = [16, height, width];
    let weights = Weights::initial(&nn::parameters(&unet, size)?, 1);
    let table = SchedulerConfig::default().ddim(50, 0.0)?;
    let mut sampler = Sampler::new(&gpu, &unet, &weights, size, &table, None, 0)?;
    sampler.begin(0)?;
    sampler.advance(1)?;
    let profile = sampler.executor_mut().profile(RUNS)?;
    let total = profile.total();
    let seconds = total.time.as_secs_f64();
    println!("{}: {:.3} ms a step, {} launches", gpu.info().name, 1e3 * seconds, total.calls);
    println!("{}\n", profile.table(&profile.scopes(), "part of the model", None));
    println!("{}", profile.table(&profile.entry_points(), "entry point of a kernel", None));
    let parts: f64 = profile.scopes().iter().map(|part| part.time.as_secs_f64()).sum();
    if total.calls == 0 || parts < 0.5 * seconds {
        return Err(format!("the parts took {parts} s of {seconds} s").into());
    }
    Ok(())
}

//! Two models on one device, each sampled in a thread of its own.
//!
//! `cargo run --release --example two_models`
use ddim::{
    Error,
    diffusion::{Sampler, schedule::SchedulerConfig},
    gpu::{Gpu, GpuOptions},
    models::unet2d::{UNet, UNetConfig},
    nn::{self, Weights},
};
use std::thread;

const SIZE: [usize; 3] = [4, 8, 8];

/// Images of an untrained network of this width, so that the example needs no file.
fn images(gpu: &Gpu, width: usize, steps: usize) -> Result<Vec<f32>, Error> {
    let config = UNetConfig {
        in_channels: 1,
        out_channels: 1,
        block_out_channels: vec![width, 2 * width],
        norm_num_groups: 4,
        ..UNetConfig::parse(include_str!("../benches/models/digits.json"))?
    };
    let unet = UNet::new(config)?;
    let weights = Weights::initial(&nn::parameters(&unet, SIZE)?, 1);
    let table = SchedulerConfig::default().ddim(steps, 0.0)?;
    let mut sampler = Sampler::new(gpu, &unet, &weights, SIZE, &table, None, 7)?;
    sampler.sample(SIZE[0], |_| {})
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A `Gpu` is a handle: its clones share device, queue and compiled pipelines.
    let gpu = Gpu::new(&GpuOptions::default())?;
    let jobs = [(8, 10), (16, 5)];
    let alone: Vec<Vec<f32>> =
        jobs.iter().map(|&(width, steps)| images(&gpu, width, steps)).collect::<Result<_, _>>()?;
    let together = thread::scope(|scope| {
        let gpu = &gpu;
        let threads = jobs.map(|(width, steps)| scope.spawn(move || images(gpu, width, steps)));
        threads.map(|thread| thread.join().expect("the thread does not panic"))
    });
    for (((width, steps), alone), together) in jobs.into_iter().zip(alone).zip(together) {
        let same = alone == together?;
        println!("width {width}, {steps} steps: the same images as alone: {same}");
        if !same {
            return Err("a thread changed another's numbers".into());
        }
    }
    Ok(())
}

//! Trains a small DDPM on real handwritten digits and samples it with DDIM.
//!
//! `cargo run --release --example digits [STEPS]`
use ddim::{
    data::{self, Moments},
    diffusion::{Sampler, schedule::SchedulerConfig},
    gpu::{Gpu, GpuOptions},
    models::unet2d::{DownBlock, SampleSize, UNet, UNetConfig, UpBlock},
    training::{Trainer, TrainingOptions},
};
use std::ops::ControlFlow;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let steps = std::env::args().nth(1).map_or(Ok(100), |text| text.parse())?;
    let gpu = Gpu::new(&GpuOptions::default())?;
    println!("{}", gpu.info().name);

    // 701,345 parameters: two levels, attention on the 4x4 pixels of the second.
    let digits = data::digits();
    let unet = UNet::new(UNetConfig {
        sample_size: Some(SampleSize::Square(8)),
        in_channels: 1,
        out_channels: 1,
        block_out_channels: vec![32, 64],
        down_block_types: vec![DownBlock::Plain, DownBlock::Attention],
        up_block_types: vec![UpBlock::Attention, UpBlock::Plain],
        layers_per_block: 1,
        attention_head_dim: None,
        norm_num_groups: 8,
        ..UNetConfig::default()
    })?;
    let scheduler = SchedulerConfig::default();
    let options = TrainingOptions { learning_rate: 2e-3, ema_decay: 0.99, ..Default::default() };
    let mut trainer = Trainer::new(&gpu, unet.clone(), scheduler.clone(), [8, 8], options)?;
    trainer.train(&digits, steps, false, |metrics| {
        if let Some(last) = metrics.last() {
            println!("step {:5}  loss {:.4}", last.step, last.loss);
        }
        ControlFlow::Continue(())
    })?;

    let weights = trainer.averaged_weights()?;
    let table = scheduler.ddim(50, 0.0)?;
    let size = [100, 8, 8];
    let mut sampler = Sampler::new(&gpu, &unet, &weights, size, &table, None, 0)?;
    let images = sampler.sample(100, |done| println!("sampled {done}"))?;
    for row in images[..8 * 8].chunks(8) {
        let shades: String = row
            .iter()
            .map(|x| [' ', '.', 'o', '#'][((x + 1.0) * 1.99).clamp(0.0, 3.0) as usize])
            .collect();
        println!("{shades}");
    }
    let distance = Moments::of_images(&images, 64)?.distance(&Moments::of(&digits)?);
    println!("Frechet distance in pixel space: {distance:.3}");
    Ok(())
}

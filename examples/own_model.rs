//! A network of one's own, trained as a DDPM on handwritten digits and sampled with DDIM.
//!
//! `cargo run --release --example own_model [STEPS]`
use ddim::{
    Error, data,
    diffusion::{Sampler, schedule::SchedulerConfig},
    gpu::{Gpu, GpuOptions},
    nn::{Layers, Model, ModelInputs},
    ops::{Add, AddEmbedding, Conv2d, TimestepEmbedding},
    training::{Trainer, TrainingOptions},
    value::{ElementType, Value},
};
use std::ops::ControlFlow;

/// Residual blocks of one width at full resolution; each block learns the timestep.
struct Residual {
    width: usize,
    blocks: usize,
}

impl Model for Residual {
    fn channels(&self) -> usize {
        1
    }

    fn build(&self, layers: &mut Layers, inputs: &ModelInputs) -> Result<Value, Error> {
        let same = Conv2d { stride: 1, padding: [1; 4] };
        let sinusoid = TimestepEmbedding {
            width: self.width,
            flip_sin_to_cos: true,
            freq_shift: 0.0.into(),
            max_period: 10_000.0.into(),
            element: ElementType::F32,
        };
        let time = layers.push(sinusoid, &[inputs.timesteps])?;
        let time = layers.linear("time", time, self.width)?;
        let time = layers.silu(time)?;
        let mut h = layers.conv2d("first", inputs.x, self.width, 3, same)?;
        for block in 0..self.blocks {
            h = layers.scope(&format!("blocks.{block}"), |layers| {
                let normed = layers.group_norm("norm", h, 4, 1e-5)?;
                let active = layers.silu(normed)?;
                let change = layers.conv2d("conv", active, self.width, 3, same)?;
                let shift = layers.linear("time", time, self.width)?;
                let change = layers.push(AddEmbedding, &[change, shift])?;
                layers.push(Add, &[h, change])
            })?;
        }
        let h = layers.silu(h)?;
        layers.conv2d("last", h, 1, 3, same)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let steps = std::env::args().nth(1).map_or(Ok(60), |text| text.parse())?;
    let gpu = Gpu::new(&GpuOptions::default())?;
    let (digits, scheduler) = (data::digits(), SchedulerConfig::default());
    let options = TrainingOptions { learning_rate: 2e-3, ema_decay: 0.9, ..Default::default() };
    let model = Residual { width: 32, blocks: 3 };
    let mut trainer = Trainer::new(&gpu, model, scheduler.clone(), [8, 8], options)?;
    let mut losses = Vec::new();
    trainer.train(&digits, steps, false, |metrics| {
        losses.extend(metrics.iter().map(|of| of.loss));
        ControlFlow::Continue(())
    })?;
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    println!("{} parameters, loss {first:.3} to {last:.3}", trainer.arenas().elements());
    if last > 0.5 * first {
        return Err(format!("the loss stayed at {last}").into());
    }

    let weights = trainer.averaged_weights()?;
    let table = scheduler.ddim(20, 0.0)?;
    let model = trainer.model();
    let mut sampler = Sampler::new(&gpu, model, &weights, [4, 8, 8], &table, None, 0)?;
    for row in sampler.sample(4, |_| {})?[..8 * 8].chunks(8) {
        let shade = |x: &f32| [' ', '.', 'o', '#'][((x + 1.0) * 1.99).clamp(0.0, 3.0) as usize];
        println!("{}", row.iter().map(shade).collect::<String>());
    }
    Ok(())
}

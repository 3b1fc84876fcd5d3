//! Sampling from a tokio task: the steps run on a thread for blocking work, progress comes through a channel, and a
//! caller that loses interest stops it between two steps.
//!
//! `cargo run --release --example tokio_task`
use ddim::{
    Error,
    diffusion::{Sampler, schedule::SchedulerConfig},
    gpu::{Gpu, GpuOptions},
    models::unet2d::{UNet, UNetConfig},
    nn::{self, Weights},
};
use std::ops::ControlFlow;
use tokio::{sync::watch, task};

const SIZE: [usize; 3] = [4, 8, 8];
const STEPS: usize = 20;

/// Images, or none if nobody listens any more.
fn images(mut sampler: Sampler, told: &watch::Sender<usize>) -> Result<Option<Vec<f32>>, Error> {
    sampler.begin(0)?;
    let done = sampler.advance_while(STEPS, |done| match told.send(done) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    })?;
    if done == STEPS { sampler.images().map(Some) } else { Ok(None) }
}

fn sampler(gpu: &Gpu) -> Result<Sampler, Error> {
    // An untrained network, so that the example needs no file.
    let unet = UNet::new(UNetConfig::parse(include_str!("../benches/models/digits.json"))?)?;
    let weights = Weights::initial(&nn::parameters(&unet, SIZE)?, 1);
    let table = SchedulerConfig::default().ddim(STEPS, 0.0)?;
    Sampler::new(gpu, &unet, &weights, SIZE, &table, None, 0)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Waits too: for the adapter, and for the kernels' compilation.
    let (gpu, first) = task::spawn_blocking(|| {
        let gpu = Gpu::new(&GpuOptions::default())?;
        sampler(&gpu).map(|sampler| (gpu, sampler))
    })
    .await??;
    let (told, mut heard) = watch::channel(0);
    let work = task::spawn_blocking(move || images(first, &told));
    while heard.changed().await.is_ok() {
        println!("step {} of {STEPS}", *heard.borrow());
    }
    let drawn = work.await??.ok_or("it was listened to until the end")?;
    println!("{} numbers", drawn.len());

    let (told, mut heard) = watch::channel(0);
    let second = task::spawn_blocking(move || images(sampler(&gpu)?, &told));
    heard.changed().await?;
    drop(heard);
    match second.await?? {
        None => println!("stopped"),
        Some(_) => return Err("nobody listened, and it went on".into()),
    }
    Ok(())
}

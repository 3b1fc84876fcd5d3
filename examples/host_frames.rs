//! A host draws frames while a sampler makes a picture on the same device, and shows each step of it.
//! No window is needed: frames are drawn into a texture.
//!
//! `cargo run --release --example host_frames [MILLISECONDS]`
use ddim::{
    diffusion::{Sampler, schedule::SchedulerConfig},
    gpu::{Budget, Gpu, GpuOptions, TextureConverter},
    models::unet2d::{UNet, UNetConfig},
    nn::{self, Weights},
    value::ElementType,
    wgpu,
};
use std::time::{Duration, Instant};

/// Steps of the sampler.
const STEPS: usize = 10;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let budget = std::env::args().nth(1).map_or(Ok(4.0), |text| text.parse())?;
    let gpu = Gpu::new(&GpuOptions::default())?;
    let (device, queue) = (gpu.device().clone(), gpu.queue().clone());

    // The digits' network with random weights; a host opens a folder by `pipeline::open`.
    let config = include_str!("../benches/models/digits.json");
    let unet = UNet::new(UNetConfig::parse(config)?)?;
    let weights = Weights::initial(&nn::parameters(&unet, [1, 8, 8])?, 1);
    let table = SchedulerConfig::default().ddim(STEPS, 0.0)?;
    let mut sampler = Sampler::new(&gpu, &unet, &weights, [1, 8, 8], &table, None, 0)?;
    sampler.begin(0)?;
    // Budgets follow measured times from here on.
    let longest = sampler.executor_mut().profile(3)?.timings.into_iter();
    let longest = longest.filter_map(|of| of.times.into_iter().min()).max().unwrap_or_default();
    sampler.begin(0)?;

    let format = wgpu::TextureFormat::Rgba8Unorm;
    let screen = device.create_texture(&wgpu::TextureDescriptor {
        label: Some("screen"),
        size: wgpu::Extent3d { width: 8, height: 8, depth_or_array_layers: 1 },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format,
        usage: wgpu::TextureUsages::STORAGE_BINDING | wgpu::TextureUsages::COPY_SRC,
        view_formats: &[],
    });
    let converter = TextureConverter::new(&gpu, format, ElementType::F32)?;

    let (mut steps, mut times) = (0, Vec::new());
    while steps < STEPS {
        let start = Instant::now();
        let mut encoder = device.create_command_encoder(&Default::default());
        let budget = Budget::Time(Duration::from_secs_f64(budget / 1e3));
        if sampler.executor_mut().record(&mut encoder, budget)? {
            steps += 1;
            converter.to_texture(&mut encoder, &sampler.tensor()?, 0, &screen, [-1.0, 1.0])?;
        }
        queue.submit([encoder.finish()]);
        // In place of the display's own pace.
        device.poll(wgpu::PollType::wait_indefinitely())?;
        times.push(start.elapsed());
    }
    times.sort();
    let (median, slowest) = (times[times.len() / 2], times[times.len() - 1]);
    println!(
        "{} frames for {STEPS} steps, {median:.1?} in the median, {slowest:.1?} at most; \
         the longest launch takes {longest:.1?}",
        times.len(),
    );
    let images = sampler.images()?;
    println!(
        "pixels {:.3} to {:.3}",
        images.iter().copied().fold(1.0, f32::min),
        images.iter().copied().fold(-1.0, f32::max)
    );
    // One launch may pass the budget. Threads of other programs may take the processor of a software driver.
    if median > Duration::from_secs_f64(2.0 * budget / 1e3) + longest {
        return Err(format!("half of the frames take {median:?} and more").into());
    }
    Ok(())
}

//! How long the networks of a latent pipeline take, and what memory, from its configurations alone: random numbers stand for
//! weights and inputs.
//!
//! ```sh
//! cargo run --release --example latent_speed -- FOLDER 512 f16        # pictures of 512x512, the U-Net's weights in f16
//! cargo run --release --example latent_speed -- FOLDER 512 f16 f16    # its activations too
//! ```
use ddim::{
    Error,
    diffusion::samplers::{SamplerKind, SamplerOptions},
    gpu::{Executor, Gpu, GpuOptions},
    latent::{LatentNetworks, NetworkPlan, PictureRequest},
    nn::ElementTypes,
    ops::Input,
    pipeline::{LatentModel, Opening, TextEncoders},
    plan::Plan,
    value::{ElementType, TensorType},
};
use std::{
    env, fs,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

/// Runs that are timed after the first one.
const RUNS: usize = 2;

/// Anonymous memory of this process in MiB, where Linux says so: a software driver's device memory is part of it.
fn anonymous() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let number = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    number.unwrap_or(0) >> 10
}

/// The most anonymous memory while `work` runs.
fn most_anonymous<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let (most, done) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Relaxed) {
                most.fetch_max(anonymous(), Relaxed);
                thread::sleep(Duration::from_millis(5));
            }
        });
        let result = work();
        most.fetch_max(anonymous(), Relaxed);
        done.store(true, Relaxed);
        (most.load(Relaxed), result)
    })
}

/// Writes random numbers to every input but those of whole numbers, which stay zeros.
fn fill(executor: &mut Executor, of: TensorType, index: usize) -> Result<(), Error> {
    const PIECE: usize = 1 << 20;
    let numbers = Input::uniform(TensorType::f32(&[PIECE]), -0.03, 0.03).tensor(index as u64).data;
    let numbers: Vec<f32> = numbers.into_iter().map(|x| x as f32).collect();
    let value = executor.plan().inputs[index];
    let elements = of.shape.elements();
    if of.shape.len() > 1 {
        let all: Vec<f32> = numbers.iter().copied().cycle().take(elements).collect();
        return executor.write(value, &all);
    }
    // An arena of weights.
    let pieces = (0..elements.div_ceil(PIECE))
        .map(|at| Ok(numbers[..PIECE.min(elements - at * PIECE)].into()));
    executor.write_pieces(value, pieces)
}

/// Bytes that the device has given so far, if its API reports them.
fn allocated(gpu: &Gpu) -> u64 {
    let report = gpu.device().generate_allocator_report();
    report.map_or(0, |report| report.total_allocated_bytes)
}

/// Seconds of the first run, and of the fastest of those after it; and what the device gave.
fn measured(gpu: &Gpu, plan: Plan) -> Result<([f64; 2], u64), Error> {
    let types: Vec<Option<TensorType>> =
        plan.inputs.iter().map(|value| plan.find(*value)).collect();
    let (began, before) = (Instant::now(), allocated(gpu));
    let mut executor = Executor::new(gpu, plan)?;
    for (index, of) in types.into_iter().enumerate() {
        if let Some(of) = of.filter(|of| of.element != ElementType::U32) {
            fill(&mut executor, of, index)?;
        }
    }
    executor.run(1)?;
    executor.wait()?;
    let (first, mut fastest) = (began.elapsed().as_secs_f64(), f64::INFINITY);
    for _ in 0..RUNS {
        let began = Instant::now();
        executor.run(1)?;
        executor.wait()?;
        fastest = fastest.min(began.elapsed().as_secs_f64());
    }
    Ok(([first, fastest], allocated(gpu).saturating_sub(before)))
}

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [folder, rest @ ..] = &arguments[..] else {
        println!("latent_speed FOLDER [SIDE] [f32|f16|bf16] [f32|f16|bf16]");
        return Ok(());
    };
    let (folder, gpu) = (Path::new(folder), Gpu::new(&GpuOptions::default())?);
    let side = rest.first().and_then(|side| side.parse().ok()).unwrap_or(512);
    let element = |at: usize| match rest.get(at).map(String::as_str) {
        Some("f16") => ElementType::F16,
        Some("bf16") => ElementType::Bf16,
        _ => ElementType::F32,
    };
    let types = ElementTypes { weights: element(1), activations: element(2) };
    let LatentModel { unet, vae, scheduler } = LatentModel::read(folder, &Opening::default())?;
    let text = TextEncoders::networks(folder, gpu.target().max_binding)?;
    let table = SamplerKind::Ddim.table(&scheduler, &SamplerOptions::default())?;
    let request = PictureRequest { types, ..PictureRequest::new(&table, [side; 2], 1, 0) };
    println!(
        "a guided picture of {side}x{side}, the U-Net's weights in {}, its activations in {}, on {}",
        types.weights,
        types.activations,
        gpu.info().name,
    );
    let networks = LatentNetworks { text: &text, unet: &unet, vae: &vae };
    for NetworkPlan { name, plan } in networks.plans(gpu.target(), &request)? {
        let (launches, work) = (plan.dispatches().count(), plan.cost().flops as f64 / 1e9);
        let (planned, before) = (plan.peak_bytes() >> 20, anonymous());
        let (most, found) = most_anonymous(|| measured(&gpu, plan));
        let (([first, warm], given), taken) = (found?, most.saturating_sub(before));
        let rate = work / warm;
        println!(
            "{name}: {launches} launches, {work:.0} GFLOP; {warm:.2} s ({rate:.0} GFLOP/s), the first {first:.2} s; \
             {planned} MiB planned, {} MiB given by the device, {taken} MiB more in the process at most",
            given >> 20
        );
    }
    Ok(())
}

//! Weights stay in their file until they are written to the device, and are on the host once: what opening a model takes of
//! anonymous memory, as Linux counts it. One test, so that nothing else allocates meanwhile.
//!
//! `LARGE=1` takes a model of 3.4 GB: scripts/large-model.
#![cfg(target_os = "linux")]

use ddim::{
    diffusion::{Sampler, schedule::SchedulerConfig},
    error::Error,
    models::unet2d::{DownBlock, UNet, UNetConfig, UpBlock},
    pipeline,
    weights::Layout,
};
use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

#[path = "common/support.rs"]
mod support;

const MIB: u64 = 1 << 20;

/// Anonymous memory of this process in bytes.
fn anonymous() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux's account of the process");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("since 4.5");
    let number = line.trim().trim_end_matches("kB").trim();
    1024 * number.parse::<u64>().expect("a number of KiB")
}

/// The most anonymous memory while `f` runs.
fn most_anonymous<T>(f: impl FnOnce() -> T) -> (u64, T) {
    let (most, done) = (AtomicU64::new(anonymous()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Relaxed) {
                most.fetch_max(anonymous(), Relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let result = f();
        most.fetch_max(anonymous(), Relaxed);
        done.store(true, Relaxed);
        (most.load(Relaxed), result)
    })
}

fn unet(widths: &[usize], layers: usize) -> UNet {
    let config = UNetConfig {
        in_channels: 3,
        out_channels: 3,
        block_out_channels: widths.to_vec(),
        down_block_types: vec![DownBlock::Plain; widths.len()],
        up_block_types: vec![UpBlock::Plain; widths.len()],
        layers_per_block: layers,
        ..UNetConfig::default()
    };
    UNet::new(config).expect("a consistent model")
}

/// Writes a pipeline of random weights that never are on the host together; returns their bytes.
fn write(folder: &Path, unet: &UNet) -> u64 {
    pipeline::write(folder, unet.config(), &SchedulerConfig::default(), &Default::default())
        .expect("room");
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    let parameters = unet.parameters().expect("a list");
    for spec in &parameters {
        let (shape, start) = (spec.of.shape, end);
        end += 4 * shape.elements() as u64;
        let stored = Layout::of(&spec.name, &shape).stored_shape(&shape);
        let tensor =
            serde_json::json!({ "dtype": "F32", "shape": stored, "data_offsets": [start, end] });
        header.insert(spec.name.clone(), tensor);
    }
    let header = serde_json::Value::Object(header).to_string();
    let path = folder.join("unet/diffusion_pytorch_model.safetensors");
    let mut file = BufWriter::new(File::create(path).expect("room"));
    file.write_all(&(header.len() as u64).to_le_bytes()).expect("room");
    file.write_all(header.as_bytes()).expect("room");
    let mut state = 1_u64;
    for _ in 0..end / 4 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let number = ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) / 64.0;
        file.write_all(&number.to_le_bytes()).expect("room");
    }
    file.flush().expect("room");
    end
}

#[test]
fn a_model_takes_little_of_the_host_and_no_weight_is_there_twice() {
    let Some(gpu) = support::gpu() else { return };
    let large = std::env::var("LARGE").is_ok();
    // The largest tensor, the one that is on the host, is a twelfth of all here and a thirtieth there.
    let (unet, allowed) = match large {
        true => (unet(&[448, 768, 1280, 1280], 3), 200 * MIB),
        false => (unet(&[256, 512], 2), 100 * MIB),
    };
    let folder = tempfile::tempdir().expect("a folder for the test");
    let bytes = write(folder.path(), &unet);
    let before = anonymous();
    let table = SchedulerConfig::default().ddim(1, 0.0).expect("a step");
    let (most, sampler) = most_anonymous(|| -> Result<Sampler, Error> {
        let model = pipeline::open(folder.path())?;
        Sampler::new(&gpu, &model.unet, &*model.weights, [1, 8, 8], &table, None, 0)
    });
    let planned = sampler.expect("a whole model").plan().peak_bytes();
    let beyond = most.saturating_sub(planned);
    let [model, most, planned, beyond, before] =
        [bytes, most, planned, beyond, before].map(|bytes| bytes as f64 / MIB as f64);
    println!(
        "a model of {model:.0} MiB: {most:.0} MiB of anonymous memory at most ({before:.0} before it was opened), \
         {planned:.0} of them the device's as planned, {beyond:.0} beyond"
    );
    assert!(beyond * MIB as f64 <= allowed as f64, "{beyond:.0} MiB are more than allowed");
}

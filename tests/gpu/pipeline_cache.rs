//! The driver's compiled kernels in a file: used again, ignored where it is damaged, and without effect on a result.
use crate::common::support;
use ddim::{
    Error,
    gpu::{Executor, Gpu},
    graph::Graph,
    ops::{Linear, Silu},
    passes,
    value::TensorType,
    wgpu,
};
use std::fs;

/// A product and a SiLU of numbers that are not zero.
fn run(gpu: &Gpu) -> Result<Vec<f32>, Error> {
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(&[16, 24]));
    let weight = graph.constant(TensorType::f32(&[24, 20]));
    let y = graph.push(Linear, &[x, weight])?;
    let y = graph.push(Silu, &[y])?;
    graph.outputs.push(y);
    let mut executor = Executor::new(gpu, passes::compile(&graph, gpu.target())?)?;
    let numbers = |count: usize| -> Vec<f32> { (1..=count).map(|i| (i as f32).sin()).collect() };
    executor.write(x, &numbers(16 * 24))?;
    executor.write(weight, &numbers(24 * 20))?;
    executor.run(1)?;
    executor.read(y)
}

#[test]
fn a_damaged_file_is_ignored_and_written_anew() -> Result<(), Error> {
    let Some(gpu) = support::gpu() else { return Ok(()) };
    if !gpu.device().features().contains(wgpu::Features::PIPELINE_CACHE) {
        println!("skipped: the adapter has no pipeline cache");
        return Ok(());
    }
    let expected = run(&gpu)?;
    let folder = tempfile::tempdir().expect("room");
    // The folder need not be there.
    let folder = folder.path().join("new");
    let mut whole = Vec::new();
    let damages: [fn(&mut Vec<u8>); 9] = [
        // None was there, and a whole file.
        |_| (),
        |_| (),
        |file| file.truncate(3),
        |file| file.truncate(file.len() - 1),
        |file| file.clear(),
        |file| file.push(0),
        // Its checksum, wgpu's header, the driver's header.
        |file| file[0] ^= 1,
        |file| file[4] ^= 1,
        |file| *file.last_mut().expect("a file that is not empty") ^= 0x80,
    ];
    for damage in damages {
        let gpu = support::gpu().expect("it was there before");
        let path = gpu.keep_pipelines(&folder)?.expect("the device has the feature");
        assert!(gpu.keep_pipelines(&folder)?.is_none(), "a device keeps one file");
        assert_eq!(run(&gpu)?, expected);
        // A driver that keeps nothing itself writes a header alone.
        let mut file = fs::read(&path).expect("it was written");
        assert!(file.len() > 4 + 32, "{} bytes", file.len());
        assert_eq!(fs::read_dir(&folder).expect("it was made").count(), 1, "no part is left");
        if whole.is_empty() {
            whole = file.clone();
        }
        assert_eq!(file.len(), whole.len(), "it is whole again");
        damage(&mut file);
        fs::write(&path, file).expect("room");
    }
    Ok(())
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let Some(gpu) = support::gpu() else { return };
    let file = tempfile::NamedTempFile::new().expect("room");
    if gpu.device().features().contains(wgpu::Features::PIPELINE_CACHE) {
        let error = gpu.keep_pipelines(&file.path().join("inside")).expect_err("a file is there");
        assert!(matches!(error, Error::File(_)), "{error}");
        assert!(error.to_string().contains("inside"), "{error}");
    }
}

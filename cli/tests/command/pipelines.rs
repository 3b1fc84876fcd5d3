//! Commands refuse a folder, or data, that do not suit the model.

use crate::{
    command::{fails, folder, succeeds},
    common::{support, tiny},
};
use ddim::{
    diffusion::schedule::SchedulerConfig,
    training::{Trainer, TrainingOptions},
    weights::{Numbers, read_tensors},
};
use std::{fs, path::Path};

/// Ten classes of 8x8 pixels in MNIST's files, two images of each; the second half of a folder
/// of pictures is without labels.
fn digits(at: &Path) {
    let set = at.join("set");
    fs::create_dir(&set).expect("room");
    let (count, side) = (20_u32, 8_u32);
    let mut images = [0x803, count, side, side].map(u32::to_be_bytes).concat();
    images.extend((0..count * side * side).map(|pixel| (pixel * 7) as u8));
    fs::write(set.join("train-images-idx3-ubyte"), images).expect("room");
    let mut labels = [0x801, count].map(u32::to_be_bytes).concat();
    labels.extend((0..count).map(|image| (9 - image % 10) as u8));
    fs::write(set.join("train-labels-idx1-ubyte"), labels).expect("room");
}

/// A run of one step in `run`, of a model with this many rows of classes.
fn train(gpu: &ddim::gpu::Gpu, at: &Path, classes: usize, label_drop: f64) {
    let options = TrainingOptions { label_drop, ..tiny::options() };
    let unet = tiny::unet(Some(classes));
    let mut trainer =
        Trainer::new(gpu, unet, SchedulerConfig::default(), [8, 8], options).expect("small");
    trainer.save(at, serde_json::Value::Null).expect("room");
}

#[test]
fn guidance_needs_a_label_for_none() {
    let Some(gpu) = support::gpu() else { return };
    let at = folder();
    let line = "sample --model {}/run --guidance-scale 3 --steps 2 --count 1 --out {}/new.png";
    train(&gpu, &at.path().join("run"), 10, 0.0);
    let parts = ["run/training/settings.json", "label_drop", "found none dropped"];
    fails(line, at.path(), &parts);
    assert!(!at.path().join("new.png").exists());
    // The last class is one like the others.
    succeeds(&line.replace("--guidance-scale 3", "--class 9"), at.path());
    fs::remove_file(at.path().join("run/training/settings.json")).expect("it was written");
    fails(line, at.path(), &parts);
    train(&gpu, &at.path().join("run"), 11, 0.1);
    succeeds(line, at.path());
    let none = line.replace("--guidance-scale 3", "--class 10");
    fails(&none, at.path(), &["10 classes"]);
}

#[test]
fn images_are_encoded_as_what_they_are() {
    let Some(gpu) = support::gpu() else { return };
    let at = folder();
    digits(at.path());
    train(&gpu, &at.path().join("run"), 11, 0.1);
    let encode = "encode --model {}/run --data {}/set --count 20 --steps 4 --out {}/x.safetensors";
    succeeds(encode, at.path());
    let tensors = |file: &str| read_tensors(&at.path().join(file)).expect("a file of ours");
    let found = tensors("x.safetensors");
    let labels = found.iter().find(|of| of.name == "class_labels").expect("the labels");
    let expected: Vec<f32> = (0..20).map(|image| (9 - image % 10) as f32).collect();
    assert_eq!(labels.numbers, Numbers::F32(expected));
    let again = "reconstruct --model {}/run --data {}/set --count 20 --steps 4 --out {}/p.png";
    succeeds(again, at.path());
    let sample = "sample --model {}/run --latents {}/x.safetensors --spacing uniform --steps 4 --out {}/y.png";
    succeeds(sample, at.path());
    let of_file = fs::read(at.path().join("y.png")).expect("the picture");
    succeeds(&format!("{sample} --class 3"), at.path());
    assert_ne!(of_file, fs::read(at.path().join("y.png")).expect("the picture"));

    // Of the same images with other labels the noise is another.
    let path = at.path().join("set/train-labels-idx1-ubyte");
    let mut other = fs::read(&path).expect("the labels");
    other[8..].fill(2);
    fs::write(&path, other).expect("room");
    succeeds(encode, at.path());
    let noise = |of: &[ddim::weights::Stored]| {
        of.iter().find(|of| of.name == "x_T").expect("the noise").numbers.clone()
    };
    assert_ne!(noise(&found), noise(&tensors("x.safetensors")));

    // Images without labels, of more classes than the model's, and of another size.
    fs::remove_file(at.path().join("set/train-labels-idx1-ubyte")).expect("it was written");
    let line = |line: &str| line.replace("--count 20", "--count 2");
    let lines = [
        line(encode),
        line(again),
        "evaluate --model {}/run --data {}/set --images 2 --timesteps 2".into(),
    ];
    for line in &lines {
        let parts = ["run/unet/config.json: num_class_embeds: expected labels", "no labels"];
        fails(line, at.path(), &parts);
    }
    train(&gpu, &at.path().join("run"), 10, 0.1);
    for line in &lines {
        let digits = line.replace("{}/set", "digits");
        fails(&digits, at.path(), &["num_class_embeds: expected labels of 9 classes", "10"]);
    }
    let set = at.path().join("set/train-images-idx3-ubyte");
    let mut other = [0x803_u32, 2, 4, 4].map(u32::to_be_bytes).concat();
    other.extend([7; 32]);
    fs::write(set, other).expect("room");
    for line in &lines {
        fails(line, at.path(), &["sample_size: expected images of 8x8, found 4x4"]);
    }
}

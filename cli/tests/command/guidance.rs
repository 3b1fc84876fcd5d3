//! A classifier of noisy images: trained, gone on with, and guiding samples.

use crate::{
    command::{self, fails, names, succeeds},
    common::{support, tiny},
};
use serde_json::{Map, Value};
use std::{fs, path::Path};

const TRAIN: &str = "train-classifier --data digits --batch 4 --steps 2 --out {}/judge";

/// A folder with an untrained pipeline in `model` and a classifier of two steps in `judge`.
fn with_judge() -> tempfile::TempDir {
    let folder = command::folder();
    tiny::pipeline(&folder.path().join("model"));
    succeeds(TRAIN, folder.path());
    folder
}

/// The picture of two images that are sampled in four steps with more arguments.
fn sampled(at: &Path, more: &str) -> Vec<u8> {
    let line = format!(
        "sample --model {{}}/model --steps 4 --count 2 --scale 1 --overwrite {more} --out {{}}/new.png"
    );
    succeeds(&line, at);
    fs::read(at.join("new.png")).expect("a picture")
}

#[test]
fn a_classifier_is_trained_and_gone_on_with() {
    if support::gpu().is_none() {
        return;
    }
    let at = with_judge();
    let at = at.path();
    let written = names(&at.join("judge"));
    for name in ["config.json", "classifier.safetensors", "scheduler/scheduler_config.json"] {
        assert!(written.iter().any(|path| path == name), "{name}: {written:?}");
    }
    fails(TRAIN, at, &["judge", "--resume"]);
    let said = succeeds("train-classifier --resume --steps 3 --out {}/judge", at);
    assert!(said.contains("steps 3 to 3") && said.contains("3 steps, loss"), "{said}");
    // The bits of a run without a break.
    succeeds(&TRAIN.replace("--steps 2", "--steps 3").replace("judge", "whole"), at);
    let weights =
        |folder: &str| fs::read(at.join(folder).join("classifier.safetensors")).expect("weights");
    assert!(weights("judge") == weights("whole"));
}

#[test]
fn samples_are_guided_by_both_algorithms() {
    if support::gpu().is_none() {
        return;
    }
    let at = with_judge();
    let at = at.path();
    for sampler in ["ddim", "ddpm"] {
        let guided = |class: u32, scale: u32| {
            let more = "--classifier {}/judge --class";
            sampled(at, &format!("--sampler {sampler} {more} {class} --classifier-scale {scale}"))
        };
        let sevens = guided(7, 400);
        assert!(sevens == guided(7, 400), "{sampler}: the same bits");
        assert!(sevens != guided(3, 400), "{sampler}: the class counts");
        assert!(sevens != guided(7, 0), "{sampler}: the scale counts");
        assert!(
            guided(3, 0) == guided(7, 0),
            "{sampler}: the class counts through the scale alone"
        );
    }
    let none = sampled(at, "--sampler ddpm --classifier {}/judge --classifier-scale 0");
    assert!(none == sampled(at, "--sampler ddpm"), "algorithm 1 without a gradient is DDPM");
}

#[test]
fn what_does_not_guide_is_refused() {
    if support::gpu().is_none() {
        return;
    }
    let at = with_judge();
    let at = at.path();
    let guided = "sample --model {}/model --steps 2 --out {}/new.png --classifier {}/judge";
    fails(&format!("{guided} --class 10"), at, &["--class 10", "the classifier has 10 classes"]);
    fails(&format!("{guided} --sampler heun"), at, &["expected --sampler ddim or ddpm", "heun"]);
    fails(&format!("{guided} --size 16"), at, &["judge", "images of 8x8x1, found 16x16x1"]);
    let model = guided.replace("judge", "model");
    fails(&model, at, &["model", "expected a classifier", "classifier.safetensors"]);
    fails(&guided.replace("judge", "none"), at, &["none"]);
    succeeds(&format!("{} --schedule cosine", TRAIN.replace("judge", "other")), at);
    fails(&guided.replace("judge", "other"), at, &["other", "another noise schedule"]);
    let weights = at.join("judge/classifier.safetensors");
    fs::copy(&weights, at.join("alone.safetensors")).expect("room");
    fails(&guided.replace("judge", "alone.safetensors"), at, &["config.json", "flags"]);
    let flags =
        format!("{} --overwrite --classifier-flags", guided.replace("judge", "alone.safetensors"));
    succeeds(&format!("{flags} {{}}/judge/config.json"), at);
    // The same as a command line.
    let config = fs::read_to_string(at.join("judge/config.json")).expect("a configuration");
    let config: Map<String, Value> = serde_json::from_str(&config).expect("JSON");
    let mut line = String::from("CLASSIFIER_FLAGS=\"");
    for (flag, value) in &config {
        match value {
            Value::Bool(true) => line += &format!("--{flag} True "),
            Value::Bool(false) => line += &format!("--{flag} False "),
            Value::String(text) => line += &format!("--{flag}={text} "),
            other => line += &format!("--{flag} {other} "),
        }
    }
    fs::write(at.join("flags.txt"), line + "\"\n").expect("room");
    succeeds(&format!("{flags} {{}}/flags.txt"), at);
}

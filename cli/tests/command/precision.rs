//! Weights and activations in halves, and products in f16, by the command.
use crate::{
    command::{fails, folder, run, succeeds},
    common::{support, tiny},
};
use std::fs;

#[test]
fn a_run_in_halves_notes_its_loss_scale_and_goes_on_in_another_precision() {
    let at = folder();
    fs::write(at.path().join("config.json"), tiny::config(None).to_json()).expect("room");
    let plan = "plan --config {}/config.json --batch 4 --summary --precision bf16";
    let said = succeeds(&format!("{plan} --train"), at.path());
    assert!(said.contains("halves by name: "), "{said}");
    assert_eq!(run(plan, at.path()).status, Some(2), "a sampling step has no such argument");
    if support::gpu().is_none() {
        return;
    }
    let train = "train --data digits --config {}/config.json --batch 4 --steps 12 --save-every 6";
    let said = succeeds(&format!("{train} --precision f16 --out {{}}/run"), at.path());
    assert!(said.contains("seed 0, weights and activations in f16\n"), "{said}");
    let metrics = fs::read_to_string(at.path().join("run/metrics.csv")).expect("metrics");
    let scale = |row: &str| row.split(',').nth(5).and_then(|scale| scale.parse::<f64>().ok());
    let scales: Vec<f64> = metrics.lines().skip(1).filter_map(scale).collect();
    assert!(
        !scales.is_empty() && scales.iter().all(|of| (1.0..=65536.0).contains(of)),
        "{scales:?}"
    );
    // Every step that has no row was skipped, and said so.
    let skipped = 12 - scales.len();
    let told = said.lines().filter(|line| line.contains(" skipped, the loss scale is ")).count();
    assert_eq!(told > 0, skipped > 0, "{skipped} skipped: {said}");

    let said = succeeds("train --resume --steps 14 --precision bf16 --out {}/run", at.path());
    assert!(said.contains("precision was \"f16\", is \"bf16\""), "{said}");
    let settings = fs::read_to_string(at.path().join("run/training/settings.json"));
    let settings: serde_json::Value =
        serde_json::from_str(&settings.expect("settings")).expect("JSON");
    assert_eq!(settings["options"]["precision"], "bf16");
    assert_eq!(settings["history"][0]["settings"]["options"]["precision"], "f16");
}

#[test]
fn products_in_f16_want_f16_storage() {
    let Some(gpu) = support::gpu() else { return };
    let at = folder();
    fs::write(at.path().join("config.json"), tiny::config(None).to_json()).expect("room");
    let train = "train --data digits --config {}/config.json --batch 4 --steps 1 --out {}/run";
    succeeds(train, at.path());
    let sample = "sample --model {}/run --count 2 --steps 2 --arithmetic mixed --out {}/new.png";
    let wanted = "--arithmetic mixed goes with --precision f16, found";
    fails(sample, at.path(), &[wanted, "f32"]);
    fails(&format!("{sample} --precision bf16"), at.path(), &[wanted, "bf16"]);
    let sample = format!("{sample} --precision f16");
    if gpu.target().f16 {
        succeeds(&sample, at.path());
        assert!(at.path().join("new.png").exists());
    } else {
        fails(&sample, at.path(), &["has no f16 in shaders"]);
    }
}

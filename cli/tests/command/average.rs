//! Learning rates, Adam's numbers, averages and augmentations by the command; models of other averages.

use crate::{
    command::{fails, folder, succeeds},
    common::{support, tiny},
};
use std::fs;

const TRAIN: &str =
    "train --data digits --config {}/config.json --batch 4 --lr 1e-3 --save-every 2";

#[test]
fn models_of_other_averages() {
    if support::gpu().is_none() {
        return;
    }
    let at = folder();
    fs::write(at.path().join("config.json"), tiny::config(None).to_json()).expect("room");
    let how = "--averages 0.9,power-0.05,power-0.10 --lr-schedule cosine --betas 0.9,0.99 --eps 1e-7 \
               --weight-decay 0.01";
    succeeds(&format!("{TRAIN} --steps 4 {how} --out {{}}/run"), at.path());
    let said = succeeds("train --resume --exact --steps 4 --out {}/run", at.path());
    assert!(said.contains("all 4 steps are done"), "{said}");
    let settings = fs::read_to_string(at.path().join("run/training/settings.json"));
    let settings: serde_json::Value =
        serde_json::from_str(&settings.expect("settings")).expect("JSON");
    let options = &settings["options"];
    assert_eq!(options["rate_schedule"], "cosine");
    assert_eq!(options["decay_steps"], 4, "the last step");
    assert_eq!((&options["betas"][1], &options["epsilon"]), (&0.99.into(), &1e-7.into()));
    assert_eq!((&options["weight_decay"], &options["decoupled"]), (&0.01.into(), &true.into()));
    let metrics = fs::read_to_string(at.path().join("run/metrics.csv")).expect("metrics");
    let rate = |line: &str| line.split(',').nth(3).and_then(|rate| rate.parse::<f64>().ok());
    let rates: Vec<f64> = metrics.lines().skip(1).filter_map(rate).collect();
    let expected = [1e-3, 8.535_533_9e-4, 5e-4, 1.464_466_1e-4];
    assert!(rates.iter().zip(expected).all(|(found, of)| (found - of).abs() < 1e-9), "{rates:?}");

    let said = succeeds("average --model {}/run", at.path());
    for part in ["decay-0.9", "power-0.05", "power-0.1\n", "2 checkpoints, of steps 2 to 4"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    succeeds("average --model {}/run --name decay-0.9 --out {}/named", at.path());
    let said = succeeds("average --model {}/run --sigma-rel 0.07 --out {}/made", at.path());
    assert!(
        said.contains("a relative length of 0.07 at step 4, made of 4 kept averages"),
        "{said}"
    );
    // A length that was kept is found again.
    succeeds("average --model {}/run --sigma-rel 0.1 --out {}/again", at.path());
    succeeds("average --model {}/run --name power-0.1 --out {}/kept", at.path());
    let weights = |name: &str| {
        let path = at.path().join(name).join("unet/diffusion_pytorch_model.safetensors");
        let bytes = fs::read(path).expect("weights");
        let header = u64::from_le_bytes(*bytes.first_chunk().expect("a length")) as usize + 8;
        let (numbers, _) = bytes[header..].as_chunks::<4>();
        numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect::<Vec<f32>>()
    };
    let apart = |one: &str, other: &str| {
        let (one, other) = (weights(one), weights(other));
        assert_eq!(one.len(), other.len());
        one.iter().zip(&other).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max)
    };
    assert!(apart("again", "kept") < 1e-5, "{}", apart("again", "kept"));
    for other in ["named", "kept", "run"] {
        assert!(apart("made", other) > 0.0, "{other}");
    }
    succeeds("sample --model {}/made --steps 2 --count 1 --out {}/made.png", at.path());
    for (arguments, words) in [
        ("--name decay-0.8 --out {}/x", "the run has decay-0.9, power-0.05, power-0.1"),
        ("--sigma-rel 0.4 --out {}/x", "a relative length above 0.0001 and below 0.2886"),
        ("--sigma-rel 0.1 --step 1 --out {}/x", "--step 1: the first that was kept is 2"),
        ("--name decay-0.9 --out {}/run", "--overwrite"),
    ] {
        fails(&format!("average --model {{}}/run {arguments}"), at.path(), &[words]);
    }
    succeeds(&format!("{TRAIN} --steps 2 --out {{}}/plain"), at.path());
    fails("average --model {}/plain", at.path(), &["holds no other averages", "--averages"]);
    let words = ["averages: expected", "as in the steps before"];
    fails("train --resume --steps 6 --averages 0.5 --out {}/run", at.path(), &words);
    let words = ["--lr-schedule inverse-sqrt: give --decay-steps"];
    fails(&format!("{TRAIN} --lr-schedule inverse-sqrt --out {{}}/x"), at.path(), &words);
}

#[test]
fn augmentations_are_told_in_training_alone() {
    if support::gpu().is_none() {
        return;
    }
    let at = folder();
    fs::write(at.path().join("config.json"), tiny::config(None).to_json()).expect("room");
    let train = format!("{TRAIN} --augment --valid 0.01");
    succeeds(&format!("{train} --steps 5 --out {{}}/whole"), at.path());
    succeeds(&format!("{train} --steps 3 --workers 0 --out {{}}/run"), at.path());
    succeeds("train --resume --exact --steps 5 --workers 3 --out {}/run", at.path());
    for name in ["training/state.safetensors", "unet/config.json", "samples.png"] {
        let [one, other] =
            ["whole", "run"].map(|run| fs::read(at.path().join(run).join(name)).expect("a file"));
        assert!(one == other, "{name}");
    }
    let config = fs::read_to_string(at.path().join("run/unet/config.json")).expect("a U-Net");
    assert!(!config.contains("augment"), "{config}");
    succeeds("sample --model {}/run --steps 2 --count 1 --out {}/new.png", at.path());
    succeeds(&format!("{TRAIN} --steps 2 --out {{}}/plain"), at.path());
    let words = ["augment: expected false as in the steps before"];
    fails("train --resume --steps 4 --augment 0.2 --out {}/plain", at.path(), &words);
}

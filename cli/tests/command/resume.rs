//! Going on with a run by the command: what may change, what is refused, and the way out after bad
//! numbers.

use crate::{
    command::{fails, folder, succeeds},
    common::{support, tiny},
};
use std::{fs, path::Path};
use tempfile::TempDir;

/// Six steps of the tiny model in the folder `run`.
fn run() -> TempDir {
    let at = folder();
    fs::write(at.path().join("config.json"), tiny::config(None).to_json()).expect("room");
    let train = "train --data digits --config {}/config.json --batch 4 --steps 6 --save-every 4 \
                 --lr 1e-3 --decay-steps 8 --out {}/run";
    succeeds(train, at.path());
    at
}

fn settings(at: &Path) -> serde_json::Value {
    let text = fs::read_to_string(at.join("run/training/settings.json")).expect("settings");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn a_run_goes_on_with_other_settings_that_its_state_allows() {
    if support::gpu().is_none() {
        return;
    }
    let at = run();
    let resume = "train --resume --out {}/run";
    for (arguments, words) in [
        ("--steps 3", vec!["--steps 3: the run has done 6 already"]),
        (
            "--steps 9",
            vec!["--decay-steps 8", "steps 9 to 9 would learn nothing", "--decay-steps 0"],
        ),
        ("--seed 4", vec!["seed: expected 0 as in the steps before", "order of the data"]),
        ("--loss vlb", vec!["loss: expected Simple as in the steps before", "another objective"]),
        ("--prediction sample", vec!["--prediction may not change in a run", "another model"]),
        ("--schedule cosine", vec!["--schedule may not change"]),
        ("--conditional", vec!["--conditional may not change"]),
        ("--size 16", vec!["--size may not change"]),
        ("--valid 0.1", vec!["--valid may not change", "held out"]),
        ("--config {}/other.json", vec!["--config may not change"]),
        ("--lr 1e-5 --steps 7 --exact", vec!["--exact", "learning_rate was 0.001, is 0.00001"]),
    ] {
        let mut other = tiny::config(None);
        other.block_out_channels = vec![4, 4];
        fs::write(at.path().join("other.json"), other.to_json()).expect("room");
        fails(&format!("{resume} {arguments}"), at.path(), &words);
    }
    // What is repeated as it was is no change.
    let same = "--seed 0 --batch 4 --lr 1e-3 --config {}/config.json --data digits --exact";
    let said = succeeds(&format!("{resume} --steps 7 {same}"), at.path());
    assert!(said.contains("steps 7 to 7") && !said.contains("but    "), "{said}");
    assert_eq!(settings(at.path())["history"], serde_json::Value::Null);

    let change = "--steps 12 --lr 1e-5 --batch 3 --clip 0 --decay-steps 0 --ema 0.5 --save-every 2";
    let said = succeeds(&format!("{resume} {change}"), at.path());
    for words in ["steps 8 to 12, batch 3, learning rate 0.00001", "but    from here on not with"] {
        assert!(said.contains(words), "{said}");
    }
    let now = settings(at.path());
    assert_eq!(now["options"]["batch"], 3);
    assert_eq!(
        (&now["options"]["decay_steps"], &now["options"]["clip"]),
        (&serde_json::Value::Null, &serde_json::Value::Null)
    );
    assert_eq!(now["notes"]["save_every"], 2);
    assert_eq!(now["history"][0]["until"], 7);
    assert_eq!(now["history"][0]["settings"]["options"]["batch"], 4);

    let csv = at.path().join("run/training/loss.csv");
    let text = fs::read_to_string(&csv).expect("losses");
    assert!(
        text.lines().skip(1).zip(1..).all(|(line, step)| line.starts_with(&format!("{step},")))
    );
    assert_eq!(text.lines().count(), 13, "{text}");
    for (line, found) in
        [("seven,1,1,", "seven,1,1,"), ("7,NaN,1,", "7,NaN,1,"), ("1,1,1,", "1,1,1,")]
    {
        fs::write(&csv, text.replacen("\n7,", &format!("\n{line}\n7,"), 1)).expect("room");
        let words = ["loss.csv: line 8: expected step,loss,gradient_norm,held_out_loss", found];
        fails(&format!("{resume} --steps 14"), at.path(), &words);
    }
    fs::write(&csv, "nonsense").expect("room");
    fails(&format!("{resume} --steps 14"), at.path(), &["loss.csv: line 1: expected", "nonsense"]);
}

#[test]
fn bad_numbers_leave_a_way_out() {
    if support::gpu().is_none() {
        return;
    }
    let at = run();
    let resume = "train --resume --out {}/run --steps 20 --decay-steps 0";
    // The gradient of such weights is no number.
    let said =
        fails(&format!("{resume} --lr 1e30"), at.path(), &["run holds step ", "--resume --lr"]);
    assert!(said.contains("error: step 8: ") || said.contains("error: step 9: "), "{said}");
    let said = succeeds(&format!("{resume} --lr 1e-4"), at.path());
    assert!(said.contains("steps 7 to 20") || said.contains("steps 9 to 20"), "{said}");

    let train = "train --data digits --config {}/config.json --batch 4 --steps 6 --lr 1e30 \
                 --out {}/new";
    fails(train, at.path(), &["new holds step 0", "--resume --lr"]);
    let said = succeeds("train --resume --out {}/new --lr 1e-4", at.path());
    assert!(said.contains("steps 1 to 6"), "{said}");
}

#[test]
fn what_a_break_left_is_repaired_by_whoever_comes_first() {
    if support::gpu().is_none() {
        return;
    }
    let at = run();
    let path = |name: &str| at.path().join("run").join(name);
    let weights = "unet/diffusion_pytorch_model.safetensors";
    let before = fs::read(path(weights)).expect("weights");
    let half = path("training/generations/3");
    for line in [
        "sample --model {}/run --steps 1 --count 1 --out {}/new.png --overwrite",
        "plan {}/run --summary",
        "evaluate --model {}/run --data digits --images 1 --timesteps 2",
        "train --resume --out {}/run",
    ] {
        fs::remove_dir_all(path("unet")).expect("it is there");
        fs::create_dir(&half).expect("room");
        fs::write(half.join("state"), "half").expect("room");
        succeeds(line, at.path());
        assert!(fs::read(path(weights)).expect("weights") == before, "{line}");
        assert!(!half.exists(), "{line}");
    }
    // A first checkpoint that never became current is none.
    let new = at.path().join("new");
    fs::create_dir_all(new.join("training/generations/1/unet")).expect("room");
    fails("train --resume --out {}/new", at.path(), &["new: holds no checkpoint to go on from"]);
    let train = "train --data digits --config {}/config.json --batch 4 --steps 1 --out {}/new";
    fs::create_dir_all(new.join("training/generations/1/unet")).expect("room");
    succeeds(train, at.path());
}

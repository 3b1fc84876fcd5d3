//! Other people's folders and configurations: which open, and what is said of those that do not.

use crate::{
    command::{self, Ran, fails, folder, run, succeeds},
    common::tiny,
};
use std::{fs, path::Path};

const UNET: &str = "unet/config.json";
const SCHEDULER: &str = "scheduler/scheduler_config.json";
const WEIGHTS: &str = "unet/diffusion_pytorch_model.safetensors";

/// No device is needed to open a model.
const PLAN: &str = "plan {}/model --summary";

fn with_model() -> tempfile::TempDir {
    let folder = folder();
    tiny::pipeline(&folder.path().join("model"));
    folder
}

/// Replaces text in a file of the model.
fn edit(at: &Path, file: &str, from: &str, to: &str) {
    let path = at.join("model").join(file);
    let text = fs::read_to_string(&path).expect("a file of the pipeline");
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replacen(from, to, 1)).expect("room");
}

/// Runs a command that warns of something and goes on.
fn warns(line: &str, at: &Path, parts: &[&str]) {
    let Ran { status, error, .. } = run(line, at);
    assert_eq!(status, Some(0), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(parts.iter().all(|part| error.contains(part)), "{error}\nlacks one of {parts:?}");
}

#[test]
fn what_python_writes_is_read() {
    let at = with_model();
    let plan = succeeds(PLAN, at.path());
    edit(at.path(), SCHEDULER, "{", r#"{"lambda_min_clipped": -Infinity, "eta": NaN,"#);
    edit(at.path(), SCHEDULER, r#""clip_sample_range": 1.0"#, r#""clip_sample_range": null"#);
    edit(at.path(), SCHEDULER, r#""steps_offset": 0"#, r#""steps_offset": null"#);
    edit(at.path(), UNET, r#""dropout": 0.1"#, r#""dropout": null, "_note": Infinity"#);
    edit(at.path(), UNET, r#""freq_shift": 0"#, r#""freq_shift": null"#);
    edit(at.path(), "model_index.json", "{", r#"{"_score": NaN, "threshold": Infinity,"#);
    for file in ["model_index.json", SCHEDULER, UNET] {
        // As editors of Windows begin a file.
        edit(at.path(), file, "{", "\u{feff}{");
    }
    assert_eq!(succeeds(PLAN, at.path()), plan);
    edit(at.path(), SCHEDULER, r#""beta_end": 0.02"#, r#""beta_end": NaN"#);
    fails(PLAN, at.path(), &[SCHEDULER, "beta_end", "NaN"]);
}

#[test]
fn keys_that_nobody_reads_are_named() {
    let at = with_model();
    edit(at.path(), UNET, r#""norm_eps""#, r#""norm_esp""#);
    edit(at.path(), UNET, "{", r#"{"attention": true,"#);
    warns(PLAN, at.path(), &[UNET, r#""norm_esp" (is norm_eps meant?)"#, r#""attention""#]);
    // The default that then holds does not fit the others: the warning says why.
    edit(at.path(), UNET, r#""block_out_channels""#, r#""block_out_chanels""#);
    let Ran { status, error, .. } = run(PLAN, at.path());
    assert_eq!(status, Some(1), "{error}");
    assert!(error.contains("(is block_out_channels meant?)"), "{error}");
    let at = with_model();
    edit(at.path(), SCHEDULER, r#""beta_start""#, r#""beta_strat""#);
    edit(at.path(), SCHEDULER, "{", r#"{"solver_order": 2, "use_karras_sigmas": false,"#);
    warns(PLAN, at.path(), &[SCHEDULER, r#"read: "beta_strat" (is beta_start meant?)"#]);
    let at = with_model();
    fs::write(at.path().join("model").join(UNET), r#"{"sample_size": 32}"#).expect("room");
    warns(
        &format!("{PLAN} --batch 1"),
        at.path(),
        &[UNET, "no block_out_channels", "274 million parameters"],
    );
}

#[test]
fn a_model_that_sees_a_second_picture_is_refused_in_a_sentence() {
    let at = with_model();
    edit(at.path(), UNET, r#""in_channels": 1"#, r#""in_channels": 6"#);
    edit(at.path(), UNET, r#""out_channels": 1"#, r#""out_channels": 3"#);
    fails(PLAN, at.path(), &[UNET, "in_channels: expected 3", "super-resolution", "found 6"]);
}

#[test]
fn folders_without_subfolders_and_lone_variants_open() {
    let at = with_model();
    let model = at.path().join("model");
    let plan = succeeds(PLAN, at.path());
    for (from, to) in [
        (UNET, "config.json"),
        (SCHEDULER, "scheduler_config.json"),
        (WEIGHTS, "diffusion_pytorch_model.fp16.safetensors"),
    ] {
        fs::rename(model.join(from), model.join(to)).expect("it is there");
    }
    fs::remove_dir(model.join("unet")).expect("it is empty");
    fs::remove_dir(model.join("scheduler")).expect("it is empty");
    assert_eq!(succeeds(PLAN, at.path()), plan);
    let opened = ddim::pipeline::open(&model).expect("a whole pipeline");
    let untrained = tiny::untrained(&opened.unet);
    assert_eq!(opened.weights.load().expect("an open file"), untrained);

    let weights = model.join("diffusion_pytorch_model.fp16.safetensors");
    let other = model.join("diffusion_pytorch_model.non_ema.safetensors");
    fs::copy(&weights, &other).expect("room");
    let error = ddim::pipeline::open(&model).expect_err("two").to_string();
    assert!(error.contains("fp16") && error.contains("non_ema"), "{error}");
    fs::remove_file(other).expect("it was written");
    fs::rename(weights, model.join("diffusion_pytorch_model.bin")).expect("it is there");
    // Formats are told by content.
    let again = ddim::pipeline::open(&model).expect("one file");
    assert_eq!(again.weights.load().expect("an open file"), untrained);
    fs::remove_file(model.join("model_index.json")).expect("it was written");
    fails(PLAN, at.path(), &["model_index.json", "config.json of a model alone"]);
}

#[test]
fn another_projects_file_is_told_and_becomes_a_folder() {
    let at = folder();
    let model = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/cases_more/checkpoints/improved_diffusion/ema_0.9999_000100.pt"
    );
    let told = succeeds(&format!("inspect {model}"), at.path());
    for part in [
        "format         PyTorch zip",
        "dialect        improved-diffusion",
        "the file does not hold image_size",
        "input_blocks.0.0.weight [32, 3, 3, 3]",
    ] {
        assert!(told.contains(part), "{told} lacks {part}");
    }
    let convert = format!("convert {model} {{}}/model --dtype f16");
    fails(&convert, at.path(), &["num_heads", "--flags", "num_channels 32"]);
    let flags = "MODEL_FLAGS=\"--image_size 8 --num_channels 32 --num_res_blocks 1 --learn_sigma True \
                 --use_scale_shift_norm False --attention_resolutions 8 --channel_mult 1\"";
    fs::write(at.path().join("flags"), flags).expect("room");
    succeeds(&format!("{convert} --flags {{}}/flags"), at.path());
    succeeds(PLAN, at.path());
    let told = succeeds("inspect {}/model", at.path());
    assert!(told.contains("dialect        diffusers") && told.contains("learned_range"), "{told}");
    fails(&format!("{convert} --flags {{}}/flags"), at.path(), &["is there"]);
    let misspelt = flags.replace("num_res_blocks 1", "num_res_blocks 2");
    fs::write(at.path().join("flags"), misspelt).expect("room");
    let parts = ["input_blocks.2.0.in_layers.0.weight", "no such tensor"];
    fails(&format!("{convert} --flags {{}}/flags --overwrite"), at.path(), &parts);
}

#[test]
fn a_folder_named_digits_is_one_where_a_path_is_given() {
    let at = folder();
    let digits = at.path().join("digits");
    fs::create_dir(&digits).expect("room");
    for (source, expected) in [("digits/", "digits: expected"), ("./digits", "digits: expected")] {
        let mut train = command::ddim(["train", "--data", source, "--out", "run", "--steps", "1"]);
        let ran = Ran::from(train.current_dir(at.path()).output().expect("the command starts"));
        // Without a device that is what is missing.
        assert!(ran.error.contains(expected) || ran.error.contains("adapter"), "{}", ran.error);
        assert_eq!(ran.status, Some(1));
    }
}

//! The commands that draw: every sampler by its name, strips, animations, encoding and back.

use crate::{
    command::{fails, run, succeeds},
    common::{support, tiny},
};
use ddim::{
    models::unet2d::{TimeEmbedding, UNetConfig},
    training::TrainingObjective,
    weights::read_tensors,
};
use std::{fs, path::Path};

/// A folder with an untrained pipeline in `model`.
fn with_model() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder for the test");
    tiny::pipeline(&folder.path().join("model"));
    folder
}

/// Width and height of a PNG, and how many pictures it holds.
fn png(path: &Path) -> (u32, u32, usize) {
    let bytes = fs::read(path).expect("a picture");
    let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let frames = bytes.windows(4).filter(|window| window == b"fcTL").count();
    (word(16), word(20), frames.max(1))
}

#[test]
fn every_objective_is_trained_and_sampled_as_it_was_trained() {
    if support::gpu().is_none() {
        return;
    }
    let at = tempfile::tempdir().expect("a folder for the test");
    let told = tiny::config(None);
    fs::write(at.path().join("tiny.json"), told.to_json()).expect("room");
    let config = UNetConfig { time_embedding_type: TimeEmbedding::None, ..told };
    fs::write(at.path().join("untold.json"), config.to_json()).expect("room");
    let objectives = TrainingObjective::ALL.map(|(name, objective)| (name, "tiny", objective));
    // The network of ncsnv2 is not told the level.
    let untold =
        objectives.iter().find(|(name, ..)| *name == "ncsn").map(|of| (of.0, "untold", of.2));
    for (name, config, objective) in objectives.into_iter().chain(untold) {
        let class = objective.scheduler().expect("one of its own").class_name;
        let train = format!(
            "train --data digits --config {{}}/{config}.json --batch 4 --steps 2 --overwrite --objective {name} \
             --out {{}}/{name}"
        );
        succeeds(&train, at.path());
        let sample = format!(
            "sample --model {{}}/{name} --steps 3 --count 2 --overwrite --out {{}}/new.png"
        );
        let sampled = run(&sample, at.path());
        assert_eq!(sampled.status, Some(0), "{name}: {}", sampled.error);
        let scheduler = sampled.scheduler.unwrap_or_default();
        assert!(scheduler.starts_with(&format!("scheduler {class}: sampler ")), "{scheduler}");
    }
}

#[test]
fn every_sampler_draws_by_its_name() {
    if support::gpu().is_none() {
        return;
    }
    let at = with_model();
    let mut pictures = Vec::new();
    for name in [
        "ddim",
        "ddpm",
        "sigma-hat",
        "probability-flow",
        "heun",
        "dpm-solver++",
        "vp-sde",
        "vp-flow",
        "ve-sde",
        "predictor-corrector",
        "langevin",
        "euler",
        "euler-ancestral",
        "edm",
        "dpm-solver++-sde",
        "dpm-solver++-single",
        "unipc",
        "pndm",
        "plms",
        "lcm",
    ] {
        let line = format!(
            "sample --model {{}}/model --sampler {name} --steps 4 --count 2 --out {{}}/{name}.png"
        );
        let said = succeeds(&line, at.path());
        let steps = match name {
            "heun" | "edm" => 7,
            "pndm" => 13,
            "plms" => 5,
            "predictor-corrector" => 8,
            "langevin" => 40,
            _ => 4,
        };
        assert!(said.contains(&format!("{steps} steps")), "{name}: {said}");
        pictures.push(fs::read(at.path().join(format!("{name}.png"))).expect("a picture"));
    }
    pictures.sort();
    pictures.dedup();
    // Along the model's own timesteps ancestral Euler is DDPM.
    assert!(pictures.len() >= 19, "each other sampler goes its own way: {}", pictures.len());
    let listed = succeeds("sample --list", at.path());
    assert_eq!(listed.lines().count(), 20, "{listed}");
    assert!(listed.contains("unipc") && listed.contains("FlowMatchEulerDiscreteScheduler"));
}

/// The scheduler of a model decides how it is sampled, and is named on standard error.
#[test]
fn the_sampler_is_that_of_the_scheduler() {
    if support::gpu().is_none() {
        return;
    }
    let at = with_model();
    let path = at.path().join("model/scheduler/scheduler_config.json");
    let line = "sample --model {}/model --steps 4 --count 1 --out {}/x.png";
    let scheduler = |rest: &str| run(&format!("{line} {rest}"), at.path()).scheduler;
    assert_eq!(scheduler("").as_deref(), Some("scheduler DDPMScheduler: sampler ddim"));
    assert_eq!(scheduler("--quiet"), None);
    for (config, kind) in [
        (r#"{"_class_name": "EulerDiscreteScheduler"}"#, "euler"),
        (r#"{"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}"#, "euler"),
        (r#"{"_class_name": "EDMEulerScheduler"}"#, "euler"),
        (r#"{"_class_name": "UniPCMultistepScheduler", "use_karras_sigmas": true}"#, "unipc"),
        (r#"{"_class_name": "PNDMScheduler"}"#, "pndm"),
        (r#"{"_class_name": "PNDMScheduler", "skip_prk_steps": true}"#, "plms"),
    ] {
        fs::write(&path, config).expect("room");
        let said = scheduler("").expect(config);
        assert!(said.ends_with(&format!(": sampler {kind}")), "{config}: {said}");
    }
    // What no sampler here means is refused by name, unless the user names another.
    fs::write(&path, r#"{"_class_name": "LMSDiscreteScheduler"}"#).expect("room");
    fails(line, at.path(), &["LMSDiscreteScheduler", "--sampler"]);
    assert_eq!(
        scheduler("--sampler ddim").as_deref(),
        Some("scheduler LMSDiscreteScheduler: sampler ddim"),
    );
    fs::write(&path, r#"{"_class_name": "FlowMatchEulerDiscreteScheduler"}"#).expect("room");
    fails(&format!("{line} --sampler ddim"), at.path(), &["a scheduler with betas", "FlowMatch"]);
}

#[test]
fn a_run_is_shown_as_strip_and_animation() {
    if support::gpu().is_none() {
        return;
    }
    let at = with_model();
    succeeds(
        "sample --model {}/model --timesteps 999,500,250,0 --count 3 --scale 1 --strip {}/strip.png \
         --animation {}/moving.png --out {}/new.png",
        at.path(),
    );
    // Tiles of 8 pixels and gaps of one: 5 moments wide, 3 images high; the grid is 2 by 2.
    assert_eq!(png(&at.path().join("strip.png")), (46, 28, 1));
    assert_eq!(png(&at.path().join("moving.png")), (19, 19, 5));
    assert_eq!(png(&at.path().join("new.png")), (19, 19, 1));
}

#[test]
fn encoding_and_drawing_again_gives_the_images_back() {
    if support::gpu().is_none() {
        return;
    }
    let at = with_model();
    let error = |steps: usize| -> f64 {
        let line = format!(
            "reconstruct --model {{}}/model --data digits --count 5 --steps {steps} --out {{}}/p.png"
        );
        let said = succeeds(&line, at.path());
        let number = said.rsplit_once("error per dimension ").expect("a number").1;
        number.trim().parse().expect("a number")
    };
    // The method is of first order, so twenty times the steps leave a twentieth at best.
    let errors = [50, 1000].map(error);
    assert!(errors[1] < errors[0] / 5.0, "{errors:?}");
    succeeds(
        "encode --model {}/model --data digits --count 5 --steps 50 --out {}/x.safetensors",
        at.path(),
    );
    let stored = read_tensors(&at.path().join("x.safetensors")).expect("a file of ours");
    assert_eq!((stored[0].name.as_str(), &stored[0].shape[..]), ("x_T", &[5, 1, 8, 8][..]));
    let said = succeeds(
        "sample --model {}/model --latents {}/x.safetensors --spacing uniform --steps 50 --out \
         {}/again.png",
        at.path(),
    );
    assert!(said.contains("5 images of 8x8, 50 steps"), "{said}");
    fails(
        "sample --model {}/model --latents {}/model/unet/diffusion_pytorch_model.safetensors --out \
         {}/again.png",
        at.path(),
        &["no tensor x_T"],
    );
}

#[test]
fn points_between_two_samples_begin_and_end_with_them() {
    if support::gpu().is_none() {
        return;
    }
    let at = with_model();
    succeeds(
        "interpolate --model {}/model --rows 2 --columns 3 --steps 4 --out {}/arc.png",
        at.path(),
    );
    // Tiles of 64 pixels and gaps of 4.
    assert_eq!(png(&at.path().join("arc.png")), (208, 140, 1));
    fails(
        "interpolate --model {}/model --eta 0.5 --out {}/arc.png",
        at.path(),
        &["without noise", "eta 0"],
    );
}

#[test]
fn what_does_not_go_together_is_said() {
    let at = with_model();
    let line = |rest: &str| format!("sample --model {{}}/model --out {{}}/x.png {rest}");
    for (rest, parts) in [
        ("--timesteps 10,20,15", ["timesteps", "strictly increasing", "15 after 20"]),
        ("--steps 2000", ["steps", "1 to 1000", "2000"]),
        ("--guidance-scale 2", ["guidance", "no classes", ""]),
        ("--guidance-rescale 0.5", ["--guidance-rescale", "--guidance-scale", ""]),
        ("--sampler heun --eta 1", ["--eta", "ddim", ""]),
        ("--sampler ddim --churn 1", ["--churn", "euler, heun and edm", ""]),
        ("--sampler vp-sde --spacing quad", ["vp-sde", "--steps alone", ""]),
    ] {
        if support::gpu().is_some() {
            fails(&line(rest), at.path(), &parts);
        }
    }
}

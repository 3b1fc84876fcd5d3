//! Models and noise that are not finite: the commands name them and write nothing.

use crate::{
    command::{self, fails, names},
    common::{support, tiny},
};
use ddim::weights::{Numbers, Precision, read_tensors, write_tensors};
use std::path::Path;

const WEIGHTS: &str = "model/unet/diffusion_pytorch_model.safetensors";

/// The first element of each of these tensors of a file becomes this number.
fn spoil(path: &Path, number: f32, tensors: &[&str]) {
    let mut stored = read_tensors(path).expect("a file of ours");
    let mut spoiled = 0;
    for stored in stored.iter_mut().filter(|stored| tensors.contains(&&stored.name[..])) {
        let Numbers::F32(numbers) = &mut stored.numbers else { panic!("floats") };
        numbers[0] = number;
        spoiled += 1;
    }
    assert_eq!(spoiled, tensors.len());
    let rows: Vec<_> = stored
        .into_iter()
        .map(|stored| (stored.name, stored.shape, stored.numbers.into_f32()))
        .collect();
    let rows = rows.iter().map(|(name, shape, numbers)| (&name[..], &shape[..], &numbers[..]));
    write_tensors(path, Precision::F32, rows).expect("room");
}

const COMMANDS: [&str; 5] = [
    "sample --model {}/model --steps 3 --count 2 --out {}/new.png --strip {}/way.png",
    "interpolate --model {}/model --steps 3 --rows 1 --columns 2 --out {}/new.png",
    "encode --model {}/model --data digits --count 1 --steps 2 --out {}/x.safetensors",
    "reconstruct --model {}/model --data digits --count 1 --steps 2 --out {}/new.png",
    "evaluate --model {}/model --data digits --images 1 --timesteps 2 --out {}/bound",
];

#[test]
fn weights_that_are_not_finite_are_refused_by_name() {
    if support::gpu().is_none() {
        return;
    }
    let at = command::folder();
    tiny::pipeline(&at.path().join("model"));
    spoil(&at.path().join(WEIGHTS), f32::INFINITY, &["conv_out.bias", "conv_in.weight"]);
    let before = names(at.path());
    for line in COMMANDS {
        fails(line, at.path(), &["conv_in.weight", "not finite", "2 of its tensors"]);
        assert_eq!(names(at.path()), before, "{line}");
    }
}

#[test]
fn what_they_make_of_an_output_is_found_on_the_device() {
    if support::gpu().is_none() {
        return;
    }
    let at = command::folder();
    tiny::pipeline(&at.path().join("model"));
    spoil(&at.path().join(WEIGHTS), f32::NAN, &["conv_out.bias"]);
    let before = names(at.path());
    for line in COMMANDS {
        let first =
            if line.starts_with("evaluate") { "image 0 at timestep 0" } else { "step 1 of" };
        let said = [first, "the network's output is not finite"];
        fails(&format!("{line} --allow-non-finite"), at.path(), &said);
        assert_eq!(names(at.path()), before, "{line}");
    }
}

#[test]
fn noise_that_is_not_finite_is_found_too() {
    if support::gpu().is_none() {
        return;
    }
    let at = command::folder();
    tiny::pipeline(&at.path().join("model"));
    command::succeeds(COMMANDS[2], at.path());
    spoil(&at.path().join("x.safetensors"), f32::NAN, &["x_T"]);
    let line = "sample --model {}/model --latents {}/x.safetensors --steps 3 --out {}/new.png";
    fails(line, at.path(), &["step 1 of 3", "the sample before the step is not finite"]);
    assert!(!at.path().join("new.png").exists());
}

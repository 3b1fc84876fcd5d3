//! `ddim evaluate`: what it prints and writes.

use crate::{
    command::{fails, folder, run, succeeds},
    common::{support, tiny},
};
use ddim::{
    models::classifier::ConvClassifier,
    nn::Weights,
    weights::{self, Precision},
};

#[test]
fn the_command_prints_and_writes_the_terms() {
    if support::gpu().is_none() {
        return;
    }
    let at = folder();
    tiny::pipeline(&at.path().join("model"));
    const LINE: &str = "evaluate --model {}/model --data digits --split test --images 2";
    let line = format!("{LINE} --timesteps 6 --batch 5 --seed 4 --out {{}}/bound");
    let said = succeeds(&line, at.path());
    let number = |name: &str| -> f64 {
        let line = said.lines().find(|line| line.starts_with(name)).expect("the term's line");
        let words = line[name.len()..].split_whitespace().collect::<Vec<_>>();
        assert_eq!(words[1].trim_end_matches(','), "bits/dim", "{line}");
        words[0].parse().expect("a number")
    };
    let sum = number("L_T ") + number("L_1 to L_999") + number("L_0");
    // Four numbers of five decimals.
    assert!((sum - number("total")).abs() < 2.5e-5, "{said}");
    assert!(said.contains("2 of 297 images"), "{said}");
    assert!(said.contains("an estimate: 6 of 1000 timesteps"), "{said}");
    let table = std::fs::read_to_string(at.path().join("bound/bound.csv")).expect("a table");
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.len(), 1 + 6 + 1, "{table}");
    assert!(rows[1].starts_with("0,1,") && rows[7].starts_with("1000,1,"), "{table}");
    let picture = std::fs::read_to_string(at.path().join("bound/bound.svg")).expect("a picture");
    assert!(picture.starts_with("<svg") && picture.contains("L_t"));

    let terms = |said: &str| -> Vec<String> {
        said.lines().filter(|line| line.contains("bits/dim")).map(str::to_owned).collect()
    };
    // A run of its own with another batch, of the same kernels, says the same to the last digit.
    let again = succeeds(&line.replace("--batch 5", "--batch 7"), at.path());
    assert_eq!(terms(&again), terms(&said));
    // One of other kernels, up to their rounding and that of five decimals.
    let other = succeeds(&line.replace("--batch 5", "--batch 12"), at.path());
    let numbers = |said: &str| -> Vec<f64> {
        let words = terms(said).join(" ");
        words.split_whitespace().filter_map(|word| word.parse().ok()).collect()
    };
    let (first, second) = (numbers(&said), numbers(&other));
    assert_eq!((first.len(), second.len()), (5, 5), "{said}{other}");
    let near = |(one, other): (&f64, &f64)| (one - other).abs() < 1.5e-5;
    assert!(first.iter().zip(&second).all(near), "{said}{other}");

    fails(&format!("{LINE} --timesteps 1"), at.path(), &["timesteps: expected 2 to 1000", "1"]);
    fails(&format!("{LINE} --timesteps 1001"), at.path(), &["2 to 1000", "1001"]);
    fails(&LINE.replace("--images 2", "--images 298"), at.path(), &["--images 298", "297"]);
    fails(&LINE.replace("digits", "{}/model"), at.path(), &["t10k-images-idx3-ubyte"]);
    fails(&LINE.replace("/model", "/nothing"), at.path(), &["nothing"]);
}

#[test]
fn samples_are_measured_in_the_features_of_a_network() {
    if support::gpu().is_none() {
        return;
    }
    let at = folder();
    tiny::pipeline(&at.path().join("model"));
    let network = ConvClassifier { size: [8, 8, 1], classes: 10 };
    let judge = Weights::initial(&network.parameters().expect("a network"), 1);
    let file = at.path().join("judge.safetensors");
    weights::write(&file, &judge, Precision::F32).expect("room for a small file");
    const LINE: &str = "evaluate --model {}/model --data digits --batch 7 --sampling-steps 2";
    let line = format!("{LINE} --images 9 --samples 7 --fid {{}}");
    let said = succeeds(&format!("{line}/judge.safetensors"), at.path());
    let number = |name: &str| -> f64 {
        let found = said.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        found.trim().parse().expect("a number")
    };
    // Samples of a model that nobody trained look like no digits.
    assert!(number("Frechet distance") > 0.0, "{said}");
    assert!([number("precision"), number("recall")].iter().all(|x| (0.0..=1.0).contains(x)));
    assert!(said.contains("9 images, and 7 samples"), "{said}");
    assert!(said.contains("of 64 images or fewer"), "{said}");

    let other = format!("{line}/model/unet/diffusion_pytorch_model.safetensors");
    fails(&other, at.path(), &["Conv2d_1a_3x3.conv.weight", "found no such tensor"]);
    let few = line.replace("--samples 7", "--samples 3");
    fails(&format!("{few}/judge.safetensors"), at.path(), &["expected 4", "found 9 and 3"]);
    let both = run(&format!("{line}/judge.safetensors --out {{}}/bound"), at.path());
    assert!(both.status == Some(2) && both.error.contains("--fid"), "{both:?}");
}

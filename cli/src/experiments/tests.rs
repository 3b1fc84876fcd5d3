//! All of the experiments in little: images of four shapes, a model that learns nothing. `a_row_that_is_lost_is_all_that_is_done_again` is
//! above 60 lines: it follows one folder.
use super::{jobs::Sizes, run_all};
use crate::{
    cli::{self, Device},
    presets::Preset,
};
use ddim::{
    gpu::{Gpu, GpuOptions},
    models::unet2d::UNetConfig,
    training::TrainingOptions,
};
use std::{fs, path::Path};
use tempfile::TempDir;

const SIDE: usize = 8;

/// Where there is no adapter, and the environment does not insist on one, tests pass.
fn has_gpu() -> bool {
    let found = Gpu::new(&GpuOptions::default()).is_ok();
    assert!(found || std::env::var_os("REQUIRE_GPU").is_none(), "no adapter");
    found
}

/// An idx file.
fn idx(path: &Path, extents: &[u32], bytes: &[u8]) {
    let mut file = vec![0, 0, 8, extents.len() as u8];
    extents.iter().for_each(|extent| file.extend(extent.to_be_bytes()));
    file.extend(bytes);
    fs::write(path, file).expect("room");
}

/// Squares in one of four corners, the corner being the class.
fn data(folder: &Path) {
    for (part, count) in [("train", 64), ("t10k", 16)] {
        let mut pixels = Vec::new();
        let labels: Vec<u8> = (0..count).map(|index| (index % 4) as u8).collect();
        for (index, label) in labels.iter().enumerate() {
            for (row, column) in (0..SIDE).flat_map(|row| (0..SIDE).map(move |c| (row, c))) {
                let corner =
                    [row / 4, column / 4] == [usize::from(label / 2), usize::from(label % 2)];
                pixels.push(if corner { 200 + index as u8 % 50 } else { (row * column) as u8 });
            }
        }
        let extents = [count, SIDE as u32, SIDE as u32];
        idx(&folder.join(format!("{part}-images-idx3-ubyte")), &extents, &pixels);
        idx(&folder.join(format!("{part}-labels-idx1-ubyte")), &[count], &labels);
    }
}

fn preset() -> Preset {
    let unet = UNetConfig::parse(
        r#"{"sample_size": 8, "in_channels": 1, "out_channels": 1, "layers_per_block": 1,
            "block_out_channels": [4, 8], "norm_num_groups": 2,
            "down_block_types": ["DownBlock2D", "DownBlock2D"],
            "up_block_types": ["UpBlock2D", "UpBlock2D"]}"#,
    );
    let options = TrainingOptions { batch: 4, learning_rate: 1e-3, ..Default::default() };
    Preset { unet: unet.expect("a consistent model"), options, steps: 6 }
}

fn sizes() -> Sizes {
    Sizes {
        distances: vec![(2, 12), (5, 12), (10, 8)],
        reconstructions: vec![2, 5, 10],
        reconstructed: 4,
        judged: (4, 8),
        consistency: vec![2, 4],
        shown_steps: 4,
        classifier_steps: 20,
    }
}

fn arguments(at: &TempDir) -> cli::Experiments {
    cli::Experiments {
        data: at.path().join("data"),
        out: at.path().join("out"),
        model: None,
        train_steps: None,
        max_steps: 1000,
        seed: 0,
        existing: cli::Overwrite { overwrite: false },
    }
}

fn device() -> Device {
    Device { adapter: None, backend: None, cooperative_matrices: false }
}

fn with_data() -> TempDir {
    let at = tempfile::tempdir().expect("a folder for the test");
    fs::create_dir(at.path().join("data")).expect("room");
    data(&at.path().join("data"));
    at
}

/// Rows without their times, in order.
fn rows(csv: &str) -> Vec<String> {
    let untimed = |line: &str| line.rsplit_once(',').map(|(rest, _)| rest.to_owned());
    let mut rows: Vec<String> = csv.lines().skip(1).filter_map(untimed).collect();
    rows.sort();
    rows
}

#[test]
fn a_row_that_is_lost_is_all_that_is_done_again() {
    if !has_gpu() {
        return;
    }
    let at = with_data();
    let out = at.path().join("out");
    let csv = || fs::read_to_string(out.join("results.csv")).expect("results");
    let page = || fs::read_to_string(out.join("experiments.html")).expect("a page");

    // At first without the longest runs.
    let short = cli::Experiments { max_steps: 5, ..arguments(&at) };
    run_all(&device(), &short, preset(), &sizes()).expect("experiments");
    let first = csv();
    // The classifier, two columns of five, two errors, and five shares.
    assert_eq!(first.lines().count(), 1 + 1 + 10 + 2 + 5, "{first}");
    assert!(!first.contains(",10,"), "{first}");
    let weights = fs::read(out.join("model/unet/diffusion_pytorch_model.safetensors"));
    let pictures = ["samples", "consistency", "interpolation", "eta", "reconstruction"];
    for picture in pictures {
        let bytes = fs::read(out.join(format!("{picture}.png"))).expect("a picture");
        assert!(image::load_from_memory(&bytes).is_ok(), "{picture}");
    }
    assert!(page().matches("data:image/png;base64,").count() == pictures.len());
    assert!(!page().contains("{{"), "every hole is filled");
    assert!(page().contains("trained here for 6 steps of 4"));

    run_all(&device(), &arguments(&at), preset(), &sizes()).expect("the rest");
    let whole = csv();
    assert!(whole.starts_with(&first), "rows are only appended");
    assert_eq!(whole.lines().count(), first.lines().count() + 5 + 1);
    let same = fs::read(out.join("model/unet/diffusion_pytorch_model.safetensors"));
    assert!(weights.expect("a model") == same.expect("a model"), "it is not trained again");

    // One row is lost: it comes back, the same, and no other is touched.
    let (lost, kept): (Vec<&str>, Vec<&str>) =
        whole.lines().partition(|line| line.starts_with("distance,sigma-hat,5,"));
    assert_eq!(lost.len(), 1);
    fs::write(out.join("results.csv"), kept.join("\n") + "\n").expect("room");
    fs::remove_file(out.join("eta.png")).expect("it is there");
    let untouched = fs::metadata(out.join("samples.png")).and_then(|of| of.modified());
    run_all(&device(), &arguments(&at), preset(), &sizes()).expect("the lost row");
    let again = csv();
    assert!(again.starts_with(&(kept.join("\n") + "\n")), "{again}");
    assert_eq!(rows(&again), rows(&whole));
    assert!(out.join("eta.png").exists());
    let now = fs::metadata(out.join("samples.png")).and_then(|of| of.modified());
    assert_eq!(untouched.expect("a time"), now.expect("a time"));

    // Another seed belongs into another folder; the model may be taken along.
    let other = cli::Experiments { seed: 1, ..arguments(&at) };
    let refused = run_all(&device(), &other, preset(), &sizes()).expect_err("another seed");
    assert!(refused.line().contains("seed is 1, there it was 0"), "{}", refused.line());
    assert!(refused.line().contains("settings.json"), "{}", refused.line());
    let taken = cli::Experiments {
        model: Some(out.join("model")),
        out: at.path().join("taken"),
        max_steps: 2,
        ..arguments(&at)
    };
    run_all(&device(), &taken, preset(), &sizes()).expect("a model that is there");
    let csv = fs::read_to_string(at.path().join("taken/results.csv")).expect("results");
    let of_two = |rows: Vec<String>| -> Vec<String> {
        rows.into_iter().filter(|row| row.starts_with("distance") && row.contains(",2,")).collect()
    };
    assert_eq!(of_two(rows(&csv)), of_two(rows(&whole)), "the same model, the same numbers");
    let page = fs::read_to_string(at.path().join("taken/experiments.html")).expect("a page");
    assert!(page.contains("was taken; it was trained for 6 steps"));
}

#[test]
fn data_that_are_missing_are_asked_for_by_name() {
    let at = with_data();
    let missing = at.path().join("data/t10k-labels-idx1-ubyte");
    fs::remove_file(missing).expect("it was there");
    let error = run_all(&device(), &arguments(&at), preset(), &sizes()).expect_err("no labels");
    let said = error.line();
    for words in [
        "/data: expected t10k-images-idx3-ubyte and its labels",
        "put MNIST's four files there",
        "train-images-idx3-ubyte.gz",
    ] {
        assert!(said.contains(words), "{said}");
    }
    assert!(!at.path().join("out").exists(), "nothing is begun");
}

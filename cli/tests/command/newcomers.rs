//! What a newcomer does first: folders of classes, a configuration, fine-tuning, single images.

use crate::{
    command::{self, fails, folder, names, succeeds},
    common::{support, tiny},
};
use ddim::{
    models::unet2d::{UNet, UNetConfig},
    pipeline,
};
use image::{GrayImage, Luma};
use std::{fs, path::Path};

/// Pictures of 8x8 grey pixels, below a folder that is made.
fn pictures(folder: &Path, names: &[&str]) {
    fs::create_dir_all(folder).expect("room");
    for (index, name) in names.iter().enumerate() {
        let shade = |x: u32, y: u32| Luma([(x * 20 + y + index as u32) as u8]);
        GrayImage::from_fn(8, 8, shade).save(folder.join(name)).expect("room");
    }
}

fn with_config() -> tempfile::TempDir {
    let at = folder();
    fs::write(at.path().join("config.json"), tiny::config(None).to_json()).expect("room");
    at
}

const SAMPLE: &str = "sample --model {}/run --steps 2 --count 2 --out {}/new.png --overwrite";

#[test]
fn classes_go_by_their_names_from_folders_to_samples() {
    if support::gpu().is_none() {
        return;
    }
    let at = with_config();
    pictures(&at.path().join("pets/cat"), &["a.png", "b.png"]);
    pictures(&at.path().join("pets/dog"), &["c.jpg"]);
    let train = "train --data {}/pets --config {}/config.json --conditional --batch 2 --steps 1 --out {}/run";
    let said = succeeds(train, at.path());
    assert!(said.contains("pets: 3 images of 8x8x1, classes cat, dog"), "{said}");
    let picture = |class: &str| {
        succeeds(&format!("{SAMPLE} --class {class}"), at.path());
        fs::read(at.path().join("new.png")).expect("the picture")
    };
    assert_eq!(picture("dog"), picture("1"));
    assert_ne!(picture("dog"), picture("cat"));
    for class in ["bird", "2"] {
        let parts = ["--class", class, "the classes cat, dog"];
        fails(&format!("{SAMPLE} --class {class}"), at.path(), &parts);
    }
    // Images of the one class keep its label, and another class is refused.
    let resume = "train --resume --out {}/run --steps 2";
    fs::remove_dir_all(at.path().join("pets/cat")).expect("the cats");
    succeeds(resume, at.path());
    assert_eq!(pipeline::open(&at.path().join("run")).expect("a run").class_names, ["cat", "dog"]);
    let tune = "train --init {}/run --data {}/pets/dog --steps 1 --batch 2 --out {}/tuned";
    fails(tune, at.path(), &["--init has classes", "labelled images"]);
    succeeds(&tune.replace("pets/dog", "pets"), at.path());
    assert_eq!(
        pipeline::open(&at.path().join("tuned")).expect("a run").class_names,
        ["cat", "dog"]
    );
    pictures(&at.path().join("pets/bird"), &["d.png"]);
    fails(&resume.replace('2', "3"), at.path(), &["class: expected cat, dog", "bird"]);
}

#[test]
fn what_a_class_takes_is_said() {
    if support::gpu().is_none() {
        return;
    }
    let at = with_config();
    pictures(&at.path().join("pets"), &["a.png", "b.png"]);
    let train = "train --data {}/pets --config {}/config.json --batch 2 --steps 1 --out {}/run";
    fails(&format!("{train} --conditional"), at.path(), &["no labels", "a folder for each class"]);
    fails(&format!("{train} --label-drop 0.1"), at.path(), &["--label-drop", "add --conditional"]);
    succeeds(train, at.path());
    for asked in ["--class 3", "--guidance-scale 2"] {
        fails(&format!("{SAMPLE} {asked}"), at.path(), &["no classes", "--conditional"]);
    }
}

#[test]
fn samples_on_the_way_change_no_step() {
    if support::gpu().is_none() {
        return;
    }
    let at = with_config();
    let train =
        "--quiet train --data digits --config {}/config.json --batch 2 --steps 5 --save-every 4";
    assert_eq!(succeeds(&format!("{train} --sample-every 2 --out {{}}/run"), at.path()), "");
    assert_eq!(succeeds(&format!("{train} --out {{}}/plain"), at.path()), "");
    let run = at.path().join("run");
    assert_eq!(names(&run.join("samples")), ["step-0000002.png", "step-0000004.png"]);
    for file in ["training/state.safetensors", "samples.png"] {
        let [one, other] =
            ["run", "plain"].map(|run| fs::read(at.path().join(run).join(file)).expect("a file"));
        assert!(one == other, "{file}");
    }
    // A run remembers; data that lie in its folder are not its samples.
    succeeds("train --resume --out {}/run --steps 6", at.path());
    assert_eq!(names(&run.join("samples")).len(), 3);
    pictures(&run, &["a.png"]);
    let inside = "train --data {}/run --config {}/config.json --batch 1 --steps 1 --out {}/inside";
    let said = run_of(inside, at.path());
    assert!(said.contains("1 image of 8x8x1"), "{said}");
}

#[test]
fn pictures_become_what_the_configuration_says() {
    if support::gpu().is_none() {
        return;
    }
    let at = folder();
    let colour = UNetConfig { in_channels: 3, out_channels: 3, ..tiny::config(None) };
    fs::write(at.path().join("config.json"), colour.to_json()).expect("room");
    let data = at.path().join("photos");
    fs::create_dir(&data).expect("room");
    GrayImage::from_pixel(20, 14, Luma([90])).save(data.join("a.png")).expect("room");
    let train = "train --data {}/photos --config {}/config.json --batch 1 --steps 1 --out {}/";
    for (size, out, said) in [("", "run", "8x8x3"), ("--size 16", "larger", "16x16x3")] {
        let heard = succeeds(&format!("{train}{out} {size}"), at.path());
        assert!(heard.contains(&format!("1 image of {said}")), "{heard}");
    }
    let tune = "train --init {}/run --data {}/photos --batch 1 --steps 1 --out {}/tuned";
    assert!(succeeds(tune, at.path()).contains("8x8x3"));
    succeeds("train --resume --out {}/tuned --steps 2", at.path());
}

#[test]
fn a_batch_that_fits_is_named() {
    if support::gpu().is_none() {
        return;
    }
    let at = with_config();
    let train = "train --data digits --config {}/config.json --steps 1 --out {}/run --batch";
    fails(&format!("{train} 1000000"), at.path(), &["of 8x8", "MiB; the device", "fits"]);
    let error = fails(&format!("{train} 16777216"), at.path(), &["of 8x8", "fits"]);
    let fits = error.trim().strip_suffix(" fits").and_then(|text| text.rsplit(' ').next());
    let fits: usize = fits.expect("a number").parse().expect("a number");
    assert!(fits > 0 && fits < 16777216 && !at.path().join("run").join("unet").exists());
}

#[test]
fn a_run_in_the_folder_of_its_data_goes_on_with_these() {
    if support::gpu().is_none() {
        return;
    }
    let at = with_config();
    pictures(at.path(), &["a.png", "b.png", "c.png"]);
    for run in ["run", "."] {
        let train = "train --data {} --config {}/config.json --batch 2 --steps 1 --out {}/";
        let said = run_of(&format!("{train}{run}"), at.path());
        assert!(said.contains("3 images of 8x8x1"), "{said}");
        let said = run_of(&format!("train --resume --out {{}}/{run} --steps 2"), at.path());
        assert!(said.contains("3 images of 8x8x1"), "{said}");
    }
}

/// What a command prints that may warn of files left out.
fn run_of(line: &str, at: &Path) -> String {
    let ran = command::run(line, at);
    assert_eq!(ran.status, Some(0), "{}", ran.error);
    ran.out
}

#[test]
fn a_pipeline_is_tuned_to_images_of_its_owner() {
    if support::gpu().is_none() {
        return;
    }
    let at = folder();
    let model = at.path().join("model");
    tiny::pipeline(&model);
    let data = at.path().join("photos");
    fs::create_dir(&data).expect("room");
    // Of sizes that are not the model's.
    GrayImage::from_pixel(16, 12, Luma([9])).save(data.join("a.png")).expect("room");
    GrayImage::from_pixel(9, 9, Luma([99])).save(data.join("b.png")).expect("room");
    let train = "train --init {}/model --data {}/photos --batch 2 --steps 1 --lr 1e-9 --out {}/run";
    succeeds(train, at.path());
    let (before, after) = (
        pipeline::open(&model).expect("a model"),
        pipeline::open(&at.path().join("run")).expect("a run"),
    );
    assert_eq!(before.unet.config().block_out_channels, after.unet.config().block_out_channels);
    let [old, new] = [&before, &after].map(|of| of.weights.load().expect("an open file"));
    for ((name, before), (same, after)) in old.iter().zip(new.iter()) {
        assert_eq!(name, same);
        let close = before.data.iter().zip(&after.data).all(|(x, y)| (x - y).abs() < 1e-7);
        assert!(close, "{name} is not what it was before a step of 1e-9");
    }
    succeeds("train --resume --out {}/run --steps 2", at.path());
    let again = train.replace("{}/run", "{}/other");
    fails(&format!("{again} --conditional"), at.path(), &["--conditional", "--init", "no classes"]);
    let other = command::run(&format!("{again} --schedule cosine"), at.path());
    assert_eq!(other.status, Some(2), "{}", other.error);
    assert!(other.error.contains("--schedule"), "{}", other.error);
}

#[test]
fn images_are_written_one_by_one() {
    if support::gpu().is_none() {
        return;
    }
    let at = folder();
    tiny::pipeline(&at.path().join("run"));
    let line = "sample --model {}/run --steps 2 --count 3 --each {}/singles --npz {}/all.npz";
    let said = succeeds(line, at.path());
    assert!(said.contains("singles, ") && said.contains("all.npz: 3 images of 8x8"), "{said}");
    let singles = at.path().join("singles");
    assert_eq!(names(&singles), ["00000.png", "00001.png", "00002.png"]);
    let archive = fs::read(at.path().join("all.npz")).expect("the archive");
    let pixels: Vec<u8> = names(&singles)
        .iter()
        .flat_map(|name| {
            let picture = image::open(singles.join(name)).expect("a picture").into_luma8();
            assert_eq!(picture.dimensions(), (8, 8));
            picture.into_raw()
        })
        .collect();
    assert!(archive.windows(pixels.len()).any(|part| part == pixels), "the same bytes");
    let shape = b"'shape': (3, 8, 8, 1)";
    assert!(archive.windows(shape.len()).any(|part| part == shape));
    // Its own files are replaced, those of others are not.
    succeeds(line, at.path());
    let fewer = command::run(&line.replace("--count 3", "--count 1"), at.path());
    assert_eq!(fewer.status, Some(0), "{}", fewer.error);
    assert!(fewer.error.contains("2 other pictures stay there"), "{}", fewer.error);
    assert_eq!(names(&singles).len(), 3);
    fs::write(singles.join("00001.png"), "mine").expect("room");
    fails(line, at.path(), &["00001.png", "--overwrite"]);
    fs::remove_file(singles.join("00001.png")).expect("it was written");
    fs::write(at.path().join("all.npz"), "mine").expect("room");
    fails(line, at.path(), &["all.npz", "--overwrite"]);
    let nothing = command::run("sample --model {}/run --steps 2", at.path());
    assert!(nothing.status == Some(2) && nothing.error.contains("--out"), "{}", nothing.error);
}

#[test]
fn a_configuration_is_written_and_trains() {
    let at = folder();
    let text = succeeds("config --size 64 --channels 3 --classes 4 --small", at.path());
    let config = UNetConfig::parse(&text).expect("a configuration");
    assert_eq!((config.in_channels, config.num_class_embeds), (3, Some(4)));
    assert_eq!(config.block_out_channels[0], 32);
    UNet::new(config).expect("a model");
    let line = "config --size 32 --cifar --out {}/config.json";
    assert_eq!(succeeds(line, at.path()), "");
    let config = UNetConfig::read(&at.path().join("config.json")).expect("a configuration");
    assert_eq!(config.block_out_channels, [128, 256, 256, 256]);
    fails(line, at.path(), &["config.json", "--overwrite"]);
    succeeds(&format!("{line} --overwrite"), at.path());
    if support::gpu().is_some() {
        succeeds(
            "config --size 8 --channels 1 --small --out {}/config.json --overwrite",
            at.path(),
        );
        let train = "train --data digits --config {}/config.json --steps 1 --batch 2 --out {}/run";
        succeeds(train, at.path());
    }
}

//! The command line trains and samples: what it writes, and that the same seed writes the same.

use crate::{
    command::{self, files, folder, names, run, succeeds, untimed},
    common::{support, tiny},
};
use std::{fs, path::Path};

/// Fifty steps of the tiny model, its config written beside.
const TRAIN: &str = "train --data digits --config {}/config.json --steps 50 --batch 4 --lr 1e-3 \
                     --warmup 3 --ema 0.9 --seed 3 --flip --valid 0.01 --save-every 20";

fn with_config() -> tempfile::TempDir {
    let folder = folder();
    fs::write(folder.path().join("config.json"), tiny::config(None).to_json()).expect("room");
    folder
}

fn same_files(left: &Path, right: &Path) {
    let (left, right) = (untimed(left), untimed(right));
    for ((name, left), (other, right)) in left.iter().zip(&right) {
        assert_eq!(name, other);
        assert!(left == right, "{} differs", name.display());
    }
    assert_eq!(left.len(), right.len());
}

#[test]
fn same_seed_same_bytes_also_after_a_break() {
    if support::gpu().is_none() {
        return;
    }
    let at = with_config();
    let said = succeeds(&format!("{TRAIN} --out {{}}/run"), at.path());
    for words in ["data   digits: 1,797 images of 8x8x1", "steps 1 to 50, batch 4", "held-out loss"]
    {
        assert!(said.contains(words), "{said}");
    }
    let run = at.path().join("run");
    let expected = [
        "check.safetensors",
        "metrics.csv",
        "model_index.json",
        "report.html",
        "samples.png",
        "scheduler/scheduler_config.json",
        "training/current.json",
        "training/loss.csv",
        "training/loss.svg",
        "training/settings.json",
        "training/state.safetensors",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    ];
    let (generation, names): (Vec<_>, Vec<_>) =
        names(&run).into_iter().partition(|name| name.starts_with("training/generations/"));
    assert_eq!(names, expected);
    // Three checkpoints were made, the last one is kept: all but what is no part of it.
    let parts = expected.iter().filter(|name| {
        let beside = ["metrics.csv", "report.html", "samples.png", "training/current.json"];
        **name != "check.safetensors" && !beside.contains(name)
    });
    assert_eq!(
        generation,
        parts.map(|name| format!("training/generations/3/{name}")).collect::<Vec<_>>()
    );
    let csv = fs::read_to_string(run.join("training/loss.csv")).expect("losses");
    assert_eq!(csv.lines().count(), 51, "{csv}");
    let held_out = csv.lines().skip(1).filter(|line| !line.ends_with(','));
    let steps: Vec<_> = held_out.filter_map(|line| line.split(',').next()).collect();
    assert_eq!(steps, ["20", "40", "50"]);

    succeeds(&format!("{TRAIN} --out {{}}/again"), at.path());
    same_files(&run, &at.path().join("again"));

    let shorter = TRAIN.replace("--steps 50", "--steps 40");
    succeeds(&format!("{shorter} --out {{}}/broken"), at.path());
    let said = succeeds("train --resume --out {}/broken --steps 50 --save-every 20", at.path());
    assert!(said.contains("steps 41 to 50"), "{said}");
    same_files(&run, &at.path().join("broken"));

    for picture in ["a.png", "b.png"] {
        let line =
            format!("sample --model {{}}/run --steps 10 --count 9 --seed 4 --out {{}}/{picture}");
        let said = succeeds(&line, at.path());
        assert!(said.contains("9 images of 8x8, 10 steps"), "{said}");
    }
    let picture = |name: &str| fs::read(at.path().join(name)).expect("a picture");
    assert!(picture("a.png") == picture("b.png"));
    let image = image::load_from_memory(&picture("a.png")).expect("a PNG").into_luma8();
    // Three by three images of 64 pixels a side, with gaps of 4 around each.
    assert_eq!(image.dimensions(), (3 * 68 + 4, 3 * 68 + 4));
    assert_ne!(image.get_pixel(8, 8), image.get_pixel(0, 0), "an image, not only its frame");
}

#[test]
fn a_count_above_the_batch_draws_the_same_images() {
    if support::gpu().is_none() {
        return;
    }
    let at = folder();
    tiny::pipeline(&at.path().join("model"));
    let mut pictures = Vec::new();
    for (batch, seed) in [(7, 1), (3, 1), (1, 1), (7, 2)] {
        let line = format!(
            "sample --model {{}}/model --steps 10 --eta 0.7 --count 7 --batch {batch} --seed {seed} \
             --out {{}}/{batch}-{seed}.png"
        );
        succeeds(&line, at.path());
        let path = at.path().join(format!("{batch}-{seed}.png"));
        pictures.push(fs::read(path).expect("a picture"));
    }
    assert!(pictures[0] == pictures[1], "three at a time");
    assert!(pictures[0] == pictures[2], "one at a time");
    assert!(pictures[0] != pictures[3], "another seed");
}

#[test]
fn a_run_is_not_overwritten() {
    if support::gpu().is_none() {
        return;
    }
    let at = with_config();
    let line = TRAIN.replace("--steps 50", "--steps 2") + " --out {}/run";
    succeeds(&line, at.path());
    let before = files(&at.path().join("run"));
    command::fails(&line, at.path(), &["/run: holds a run already", "--resume"]);
    assert!(files(&at.path().join("run")) == before);
    // A finished run has nothing left to do, and says so without harm.
    let said = succeeds("train --resume --out {}/run", at.path());
    assert!(said.contains("2 steps"), "{said}");
    assert!(files(&at.path().join("run")) == before);
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_with_a_checkpoint() {
    use std::{
        io::{BufRead, BufReader, Read},
        process::{Command, Stdio},
    };
    if support::gpu().is_none() {
        return;
    }
    let at = with_config();
    let line = TRAIN.replace("--steps 50", "--steps 100000").replace("--save-every 20", "");
    let line = line.replace("{}", at.path().to_str().expect("a plain name"));
    let out = at.path().join("what's$left");
    let mut child = command::ddim(line.split_whitespace())
        .arg("--out")
        .arg(&out)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut said = BufReader::new(child.stdout.take().expect("its output"));
    let mut text = String::new();
    // The last line before training: from here on ctrl-c is heard, if not from before the
    // first step on.
    while !text.contains("run    steps") {
        assert!(said.read_line(&mut text).expect("text") > 0, "{text}");
    }
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.expect("a shell's command").success());
    said.read_to_string(&mut text).expect("text");
    let ran = command::Ran::from(child.wait_with_output().expect("it ends"));
    assert_eq!((ran.status, ran.error.as_str()), (Some(0), ""), "{text}");
    let (_, rest) = text.split_once("stopped after step ").expect("the last words");
    let (steps, rest) = rest.split_once(';').expect("a number");
    let steps: u64 = steps.parse().expect("a number");
    assert!((1..100_000).contains(&steps), "{text}");
    let (_, line) = rest.split_once("go on with: ").expect("a command line");
    assert!(line.contains("ddim train --resume --out "), "{text}");
    assert!(names(&out).contains(&"training/state.safetensors".to_owned()));

    let more = steps + 1;
    let line = format!("{} --steps {more}", line.lines().next().expect("a line"));
    let said = command::pasted(&line, at.path());
    assert!(said.contains(&format!("steps {more} to {more}")), "{said}");
    assert_eq!(
        run("sample --model {}/what's$left --count 1 --steps 2 --out {}/one.png", at.path()).status,
        Some(0)
    );
}

#[test]
fn what_a_model_learns_goes_by_arguments() {
    if support::gpu().is_none() {
        return;
    }
    let at = folder();
    let mut config = tiny::config(None);
    config.out_channels = 2;
    fs::write(at.path().join("config.json"), config.to_json()).expect("room");
    let train = "train --data digits --config {}/config.json --batch 4 --steps 3 --out {}/run \
                 --prediction v_prediction --loss hybrid --min-snr-gamma 5 --timesteps importance \
                 --conditional --label-drop 0.2 --schedule cosine --decay-steps 9";
    succeeds(train, at.path());
    let run = at.path().join("run");
    let read = |name: &str| -> serde_json::Value {
        let text = fs::read_to_string(run.join(name)).expect("a file of the run");
        serde_json::from_str(&text).expect("JSON")
    };
    // Ten classes, and the null label.
    assert_eq!(read("unet/config.json")["num_class_embeds"], 11);
    let scheduler = read("scheduler/scheduler_config.json");
    assert_eq!(scheduler["variance_type"], "learned_range");
    assert_eq!(scheduler["prediction_type"], "v_prediction");
    let options = &read("training/settings.json")["options"];
    for (name, value) in [("loss", "hybrid"), ("timesteps", "importance")] {
        assert_eq!(options[name], value);
    }
    assert_eq!((&options["min_snr_gamma"], &options["label_drop"]), (&5.0.into(), &0.2.into()));
    assert_eq!(options["decay_steps"], 9);

    let said = succeeds("train --resume --out {}/run --steps 5", at.path());
    assert!(said.contains("steps 4 to 5"), "{said}");
    let sample = "sample --model {}/run --sampler ddpm --steps 3 --count 2 --class 7 \
                  --guidance-scale 2 --out {}/sevens.png";
    succeeds(sample, at.path());
    let unlabelled = "train --data {}/data --conditional --out {}/none";
    let data = at.path().join("data");
    fs::create_dir(&data).expect("room");
    let pixels = image::GrayImage::from_pixel(8, 8, image::Luma([9]));
    pixels.save(data.join("a.png")).expect("room");
    command::fails(unlabelled, at.path(), &["--conditional: the images have no labels"]);
}

//! What a user can get wrong on the command line: one line that names it, and nothing half-written.

use crate::{
    command::{self, Ran, ddim, fails, fails_with, folder, names, plain, succeeds},
    common::{support, tiny},
};
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

/// A folder with a pipeline in `model`.
fn with_model() -> tempfile::TempDir {
    let folder = folder();
    tiny::pipeline(&folder.path().join("model"));
    folder
}

const SAMPLE: &str = "sample --model {}/model --steps 2 --count 1 --out {}/new.png";
const TRAIN: &str = "train --data {}/data --config {}/config.json --batch 2 --steps 2 --out {}/run";

#[test]
fn damaged_models_are_named() {
    if support::gpu().is_none() {
        return;
    }
    let at = with_model();
    let damaged = |file: &str, damage: fn(String) -> String, parts: &[&str]| {
        let path = at.path().join("model").join(file);
        let whole = fs::read(&path).expect("a file of the pipeline");
        // Bytes as characters, and back.
        let text = damage(whole.iter().map(|&byte| char::from(byte)).collect());
        let bytes: Vec<u8> = text.chars().map(|c| u8::try_from(c).expect("a byte")).collect();
        fs::write(&path, bytes).expect("room");
        let mut all = vec![file];
        all.extend(parts);
        fails(SAMPLE, at.path(), &all);
        fs::write(&path, whole).expect("room");
    };
    let half = |text: String| text[..text.len() / 2].to_owned();
    let weights = "unet/diffusion_pytorch_model.safetensors";
    damaged(weights, |text| text.chars().take(5000).collect(), &["not a whole safetensors file"]);
    damaged(weights, |_| String::new(), &["not a whole safetensors file"]);
    damaged(weights, |text| text.replacen("conv_in.bias", "conv_in.bios", 1), &["conv_in.bi"]);
    damaged("unet/config.json", half, &["EOF"]);
    let unknown = |text: String| text.replacen("\"DownBlock2D", "\"SkipDownBlock2D", 1);
    damaged("unet/config.json", unknown, &["down_block_types[0]", "SkipDownBlock2D"]);
    let groups =
        |text: String| text.replacen("\"norm_num_groups\": 2", "\"norm_num_groups\": 3", 1);
    damaged("unet/config.json", groups, &["norm_num_groups: expected a divisor of 4"]);
    damaged("scheduler/scheduler_config.json", half, &["EOF"]);
    let scheduler = at.path().join("model/scheduler/scheduler_config.json");
    fs::rename(&scheduler, at.path().join("aside")).expect("a file");
    fails(SAMPLE, at.path(), &["scheduler_config.json: expected the file of that name", "noise"]);
    fs::rename(at.path().join("aside"), &scheduler).expect("a file");
    let schedule = |text: String| text.replacen("\"linear\"", "\"sigmoidal\"", 1);
    damaged("scheduler/scheduler_config.json", schedule, &["beta_schedule", "sigmoidal"]);
    assert!(!at.path().join("new.png").exists());
    succeeds(SAMPLE, at.path());
}

#[test]
fn sizes_and_classes_that_do_not_fit_are_named() {
    if support::gpu().is_none() {
        return;
    }
    let at = with_model();
    fails(&format!("{SAMPLE} --size 9"), at.path(), &["9x9", "multiple"]);
    fails("plan {}/model --size 9", at.path(), &["9x9", "multiple"]);
    fails(&format!("{SAMPLE} --class 1"), at.path(), &["--class", "no classes"]);
    fails(&SAMPLE.replace("--steps 2", "--steps 1001"), at.path(), &["1001", "1000"]);
    let list = |list: &str| SAMPLE.replace("--steps 2", list);
    fails(&list("--respacing ddim999"), at.path(), &["integer stride", "1000", "ddim999"]);
    fails(&list("--timesteps 9,3,3"), at.path(), &["strictly decreasing", "3 after 3"]);
    fails(&list("--timesteps 0,1000"), at.path(), &["below 1000", "found 1000"]);
    fails(&format!("{SAMPLE} --sampler ddpm --eta 1"), at.path(), &["--eta"]);
    assert_eq!(fs::read_dir(at.path()).expect("the folder").count(), 1, "only the model");
}

#[test]
fn pictures_too_large_are_refused_before_anything_is_drawn() {
    if support::gpu().is_none() {
        return;
    }
    let at = with_model();
    let interpolate = "interpolate --model {}/model --steps 2 --out {}/new.png";
    let reconstruct = "reconstruct --model {}/model --data digits --steps 2 --out {}/new.png";
    for line in [
        format!("{SAMPLE} --scale 1000000"),
        format!("{SAMPLE} --scale 16777216 --size 16777216"),
        SAMPLE.replace("--count 1", "--count 16777216"),
        SAMPLE.replace(
            "--count 1",
            "--count 16777216 --scale 16777216 --max-pixels 18446744073709551615",
        ),
        format!("{SAMPLE} --scale 400 --max-pixels 20000000 --strip {{}}/strip.png"),
        format!("{SAMPLE} --scale 400 --max-pixels 20000000 --animation {{}}/moving.png"),
        format!("{interpolate} --rows 16777216"),
        format!("{interpolate} --rows 16777216 --columns 16777216"),
        format!("{reconstruct} --count 1000 --max-pixels 1000000"),
    ] {
        fails(&line, at.path(), &["a picture of", "--max-pixels"]);
    }
    assert_eq!(fs::read_dir(at.path()).expect("the folder").count(), 1, "only the model");
    // A step of a network that nobody can run so often is refused by its number too.
    let line = format!("{SAMPLE} --sampler vp-flow").replace("--steps 2", "--steps 16777216");
    fails(&line, at.path(), &["steps: expected 1 to 1000, found 16777216"]);
    succeeds(&format!("{SAMPLE} --scale 400 --max-pixels 13000000"), at.path());
}

#[test]
fn arguments_out_of_range_are_named() {
    // The argument parser's own words and status; no device is opened.
    for (line, parts) in [
        ("sample --model m --out o --count 0", ["--count", "1 to 16777216"]),
        ("train --data digits --out o --lr 0", ["--lr", "not above 0"]),
        ("train --data digits --out o --lr -1", ["--lr", "not above 0"]),
        ("train --data digits --out o --batch -4", ["--batch", "1 to 16777216"]),
        ("sample --model m --out o --eta -0.5", ["--eta", "not 0 or above"]),
        ("train --data digits --out o --valid 1", ["--valid", "not between 0 and 1"]),
        ("train --data digits --out o --schedule cosin", ["--schedule", "sigmoid"]),
        ("train --data digits --out o --exact", ["--resume", "required"]),
        ("sample --model m --out o --spacing even", ["--spacing", "quadratic"]),
        ("sample --model m --out o --respacing fast", ["--respacing", "ddimN"]),
        ("verify --group ops", ["--cases", "required"]),
        ("devices --backend opengl", ["opengl", "vulkan"]),
    ] {
        let ran = command::run(line, Path::new(""));
        assert_eq!(ran.status, Some(2), "{line}");
        assert!(parts.iter().all(|part| ran.error.contains(part)), "{}", ran.error);
    }
}

#[test]
fn what_is_missing_is_named() {
    if support::gpu().is_none() {
        return;
    }
    let at = folder();
    for line in [
        "sample --model {}/none --out {}/new.png",
        "train --data {}/none --out {}/run",
        "verify --cases {}/none",
        "plan {}/none",
        "plan --config {}/none",
    ] {
        // A folder of a model says that nothing is downloaded.
        let missing = if line.contains("/none --out {}/new.png") || line == "plan {}/none" {
            "no such folder"
        } else {
            "No such file"
        };
        fails(line, at.path(), &["/none", missing]);
    }
    fs::write(at.path().join("photos.zip"), "PK").expect("room");
    let zip = "train --data {}/photos.zip --out {}/run";
    fails(zip, at.path(), &["photos.zip: expected a folder", "found a file"]);
    fs::remove_file(at.path().join("photos.zip")).expect("a file");
    fails("train --resume --out {}/none", at.path(), &["/none: holds no checkpoint to go on from"]);
    fails("train --data {} --out {}/run", at.path(), &[at.path().to_str().expect("a name")]);
    fails("sample --model {} --out x.png --adapter nosuch", at.path(), &["\"nosuch\""]);
    fails("devices --adapter nosuch", at.path(), &["looked for \"nosuch\" (vulkan", " among "]);
    fails("plan --adapter nosuch", at.path(), &["\"nosuch\""]);
    assert!(names(at.path()).is_empty(), "nothing was written");
}

fn png(path: &Path, width: u32, height: u32) {
    image::GrayImage::from_fn(width, height, |x, y| image::Luma([(x * 20 + y) as u8]))
        .save(path)
        .expect("room");
}

#[test]
fn pictures_that_do_not_fit_are_named() {
    if support::gpu().is_none() {
        return;
    }
    let at = folder();
    // Of no size of its own.
    let config = ddim::models::unet2d::UNetConfig { sample_size: None, ..tiny::config(None) };
    fs::write(at.path().join("config.json"), config.to_json()).expect("room");
    let data = at.path().join("data");
    fs::create_dir(&data).expect("room");
    png(&data.join("a.png"), 8, 8);
    png(&data.join("b.png"), 9, 8);
    fails(TRAIN, at.path(), &["data/b.png", "8x8", "8x9"]);
    fs::write(data.join("b.png"), "no picture").expect("room");
    let ran = command::run(TRAIN, at.path());
    assert_eq!(ran.status, Some(0), "one is whole: {}", ran.error);
    assert!(ran.error.contains("left out: 1 of other formats (b.png)"), "{}", ran.error);
    fs::remove_dir_all(at.path().join("run")).expect("a run");
    fs::remove_file(data.join("b.png")).expect("the file");
    // One colour picture makes all of them RGB, and the model takes grey ones.
    image::RgbImage::from_pixel(8, 8, image::Rgb([9, 0, 0]))
        .save(data.join("c.png"))
        .expect("room");
    fails(TRAIN, at.path(), &["8x8x1 (height", "8x8x3"]);
    fs::remove_file(data.join("c.png")).expect("the file");
    png(&data.join("d.png"), 9, 9);
    fails(TRAIN, at.path(), &["data/d.png"]);
    fails(&format!("{TRAIN} --size 7"), at.path(), &["7x7", "multiple"]);
    assert!(!at.path().join("run/training").exists());
    succeeds(&format!("{TRAIN} --size 8"), at.path());
}

#[test]
fn places_that_cannot_be_written_are_named() {
    if support::gpu().is_none() {
        return;
    }
    let at = with_model();
    fs::write(at.path().join("file"), "in the way").expect("room");
    let out = |place: &str| SAMPLE.replace("new.png", place);
    fails(&out("file/new.png"), at.path(), &["/file"]);
    fails(&out("model"), at.path(), &["/model: is a folder"]);
    fails(&out("folder/"), at.path(), &["/folder/: names a folder"]);
    fails(&out("new.jpg"), at.path(), &["/new.jpg: pictures are written as PNG"]);
    fails(&SAMPLE.replace("{}/new.png", "-"), at.path(), &["-: standard output takes no file"]);
    let twice = format!("{SAMPLE} --strip {{}}/./new.png");
    fails(&twice, at.path(), &["--out and --strip name one place"]);
    fails("train --data digits --steps 1 --out {}/file", at.path(), &["/file"]);
    fails("train --data digits --steps 1 --out {}/file/run", at.path(), &["/file"]);
    #[cfg(unix)]
    {
        let socket = at.path().join("socket");
        let _listening = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        fails(&out("socket"), at.path(), &["/socket: ", "stays as it is"]);
        assert!(!socket.metadata().expect("still there").is_file());
        fs::remove_file(socket).expect("the socket");
    }
    assert_eq!(fs::read_dir(at.path()).expect("the folder").count(), 2, "model and file");
    assert_eq!(fs::read(at.path().join("file")).expect("the file"), b"in the way");
}

/// Runs the command where no file may grow beyond `kilobytes`, as on a full disk. The driver's cache of
/// shaders has what it wants from a run before: compiling all of them anew takes half a minute.
#[cfg(unix)]
fn cramped(kilobytes: usize, line: &str, path: &Path) -> Ran {
    let line = line.replace("{}", path.to_str().expect("a plain name"));
    let script = format!("ulimit -f {}; exec \"$@\"", kilobytes * 2);
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_ddim")]).args(line.split_whitespace());
    plain(&mut command);
    let output: Output = command.output().expect("a shell");
    output.into()
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_nothing_half_written() {
    if support::gpu().is_none() {
        return;
    }
    let at = with_model();
    let sample = SAMPLE.replace("--count 1", "--count 4");
    succeeds(&sample, at.path());
    fs::remove_file(at.path().join("new.png")).expect("it was written");
    let ran = cramped(0, &sample, at.path());
    fails_with(&ran, &["new.png: ", "too large"]);
    assert_eq!(fs::read_dir(at.path()).expect("the folder").count(), 1, "only the model");

    // The state is larger than this, the other files are not.
    fs::write(at.path().join("config.json"), tiny::config(None).to_json()).expect("room");
    let train = TRAIN.replace("{}/data", "digits");
    succeeds(&train, at.path());
    fs::remove_dir_all(at.path().join("run")).expect("it was written");
    let ran = cramped(100, &train, at.path());
    fails_with(&ran, &["/training/state.safetensors: ", "too large"]);
    assert!(names(&at.path().join("run")).is_empty(), "{:?}", names(&at.path().join("run")));
    succeeds(&train, at.path());
    // A run that cannot save leaves the checkpoint from before as it was.
    let before = command::untimed(&at.path().join("run"));
    let ran = cramped(100, "train --resume --out {}/run --steps 4", at.path());
    fails_with(&ran, &["/training/state.safetensors: ", "too large"]);
    assert!(command::untimed(&at.path().join("run")) == before);
}

#[test]
fn without_an_adapter_the_remedy_is_named() {
    let at = with_model();
    let blind = |line: &str| {
        let line = line.replace("{}", at.path().to_str().expect("a plain name"));
        let mut command = ddim(line.split_whitespace());
        let nowhere = at.path().join("no_driver.json");
        command.env("VK_DRIVER_FILES", &nowhere).env("VK_ICD_FILENAMES", &nowhere);
        Ran::from(command.output().expect("the command starts"))
    };
    let vulkan_only = cfg!(all(unix, not(target_vendor = "apple")));
    if vulkan_only {
        for line in
            ["devices", "verify", SAMPLE, "train --data digits --out {}/run", "demo --out {}"]
        {
            let remedy = "sudo apt-get install mesa-vulkan-drivers";
            fails_with(&blind(line), &["no GPU adapter found", "vulkan", "no adapters", remedy]);
        }
        assert_eq!(fs::read_dir(at.path()).expect("the folder").count(), 1, "only the model");
        // Planning needs none.
        let ran = blind("plan {}/model --summary");
        assert_eq!((ran.status, ran.error.as_str()), (Some(0), ""));
        assert!(ran.out.contains("no adapter found: WebGPU's least limits"), "{}", ran.out);
    }
}

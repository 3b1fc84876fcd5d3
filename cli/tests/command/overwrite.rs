//! Nothing is replaced that a command did not write, unless `--overwrite` allows it; what it wrote
//! itself is. One process at a time writes to a run's folder.

use crate::{
    command::{self, fails, files, folder, succeeds},
    common::{support, tiny},
};
use std::{fs, path::Path};

const TRAIN: &str = "train --data digits --config {}/config.json --batch 2 --steps 2";

fn with_model() -> tempfile::TempDir {
    let folder = folder();
    fs::write(folder.path().join("config.json"), tiny::config(None).to_json()).expect("room");
    tiny::pipeline(&folder.path().join("model"));
    folder
}

/// A command that writes `file` refuses to as long as it is somebody else's: text, or a picture of
/// another program. It replaces what it wrote itself.
fn respects(line: &str, file: &str, at: &Path) {
    let path = at.join(file);
    fs::create_dir_all(path.parent().expect("a folder")).expect("room");
    let mut theirs = std::io::Cursor::new(Vec::new());
    let picture = image::GrayImage::from_pixel(3, 3, image::Luma([7]));
    picture.write_to(&mut theirs, image::ImageFormat::Png).expect("a PNG");
    for theirs in [theirs.into_inner(), b"my own words".to_vec(), Vec::new()] {
        fs::write(&path, &theirs).expect("room");
        let before = files(at);
        fails(line, at, &[file, "did not write it", "--overwrite"]);
        assert!(files(at) == before, "{line}");
    }
    succeeds(&format!("{line} --overwrite"), at);
    let ours = fs::read(&path).expect("the file");
    assert_ne!(ours, b"");
    succeeds(line, at);
}

#[test]
fn files_of_others_stay() {
    if support::gpu().is_none() {
        return;
    }
    let at = with_model();
    let sample = "sample --model {}/model --steps 2 --count 1 --scale 1";
    let strip = format!("{sample} --out {{}}/a.png --strip {{}}/b.png --animation {{}}/c.png");
    for file in ["a.png", "b.png", "c.png"] {
        respects(&strip, file, at.path());
    }
    let interpolate = "interpolate --model {}/model --steps 2 --rows 1 --columns 2 --out {}/d.png";
    respects(interpolate, "d.png", at.path());
    let images = "--model {}/model --data digits --count 1 --steps 2";
    respects(&format!("reconstruct {images} --out {{}}/e.png"), "e.png", at.path());
    respects(&format!("encode {images} --out {{}}/f.safetensors"), "f.safetensors", at.path());
    let evaluate = "evaluate --model {}/model --data digits --images 1 --timesteps 2 --out {}/g";
    respects(evaluate, "g/bound.csv", at.path());
    fs::remove_file(at.path().join("g/bound.csv")).expect("it was written");
    fails(evaluate, at.path(), &["g/bound.svg", "--overwrite"]);
    let profile = "profile {}/model --batch 1 --runs 1 --trace {}/h.json";
    respects(profile, "h.json", at.path());
    let profile = "profile {}/model --batch 1 --runs 1";
    respects(&format!("{profile} --json {{}}/j.json"), "j.json", at.path());
    respects(&format!("{profile} --html {{}}/k.html"), "k.html", at.path());
    respects("measure report --out {}/i", "i/report.json", at.path());
    respects("measure device --rehearse --out {}/i", "i/device.json", at.path());
    succeeds("measure report --out {}/i", at.path());
    let report = fs::read_to_string(at.path().join("i/report.md")).expect("the report");
    assert!(report.contains("## Ceilings") && report.starts_with("# "), "{report}");
}

#[test]
fn folders_of_others_stay() {
    if support::gpu().is_none() {
        return;
    }
    let at = with_model();
    let before = files(at.path());
    fails(&format!("{TRAIN} --out {{}}/model"), at.path(), &["model_index.json", "--overwrite"]);
    fs::create_dir(at.path().join("mine")).expect("room");
    fs::write(at.path().join("mine/samples.png"), "mine").expect("room");
    fails(&format!("{TRAIN} --out {{}}/mine"), at.path(), &["mine/samples.png", "--overwrite"]);
    fails("demo --steps 1 --out {}/mine", at.path(), &["mine/samples.png", "--overwrite"]);
    fs::remove_dir_all(at.path().join("mine")).expect("it is there");
    assert!(files(at.path()) == before);

    succeeds(&format!("{TRAIN} --overwrite --out {{}}/model"), at.path());
    fails(&format!("{TRAIN} --out {{}}/model"), at.path(), &["--resume"]);
    let said = succeeds(&format!("{TRAIN} --overwrite --out {{}}/model"), at.path());
    assert!(said.contains("steps 1 to 2"), "{said}");
    // A demo replaces its own pipeline, but none that somebody trained.
    succeeds(&format!("{TRAIN} --out {{}}/out/pipeline"), at.path());
    let before = files(at.path());
    fails("demo --steps 1 --out {}/out", at.path(), &["out/pipeline", "--overwrite"]);
    assert!(files(at.path()) == before);
}

#[cfg(unix)]
#[test]
fn one_process_writes_to_a_run_and_a_killed_one_leaves_no_lock() {
    use std::{process::Stdio, thread::sleep, time::Duration};
    if support::gpu().is_none() {
        return;
    }
    let at = with_model();
    let place = at.path().to_str().expect("a plain name");
    let line = TRAIN.replace("{}", place).replace("--steps 2", "--steps 100000 --save-every 1");
    let run = at.path().join("run");
    let mut child = command::ddim(line.split_whitespace())
        .arg("--out")
        .arg(&run)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the command starts");
    // The last file of a first checkpoint.
    while !run.join("training/loss.svg").exists() {
        assert!(child.try_wait().expect("a child").is_none(), "it trains on");
        sleep(Duration::from_millis(20));
    }
    let holder = format!("process {} writes there now", child.id());
    fails("train --resume --out {}/run --steps 3", at.path(), &["/run: ", &holder]);
    fails(&format!("{TRAIN} --overwrite --out {{}}/run"), at.path(), &["/run: ", &holder]);
    child.kill().expect("it is there");
    child.wait().expect("it ends");
    assert!(run.join(".ddim-lock").exists(), "the lock of a killed process is there, and free");
    let csv = fs::read_to_string(run.join("training/loss.csv")).expect("losses");
    // The state may be a step ahead of the losses.
    let more = csv.lines().count() + 1;
    succeeds(&format!("train --resume --out {{}}/run --steps {more}"), at.path());
    assert!(!run.join(".ddim-lock").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn paths_are_bytes() {
    use std::{
        ffi::{OsStr, OsString},
        os::unix::ffi::OsStrExt,
    };
    if support::gpu().is_none() {
        return;
    }
    let at = folder();
    let odd = |name: &[u8]| at.path().join(OsStr::from_bytes(name));
    let [data, config, out] = [odd(b"data\xff"), odd(b"config\xfe.json"), odd(b"run\xfd")];
    fs::create_dir(&data).expect("room");
    for name in [&b"one\xff.png"[..], b"two\xc0.PNG", b"three.png"] {
        let picture = image::GrayImage::from_fn(8, 8, |x, y| image::Luma([(9 * x + y) as u8]));
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut bytes, image::ImageFormat::Png).expect("a PNG");
        fs::write(data.join(OsStr::from_bytes(name)), bytes.into_inner()).expect("room");
    }
    fs::write(&config, tiny::config(None).to_json()).expect("room");
    let run = |line: &str, paths: &[(&str, &Path)]| {
        let mut arguments: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        for (name, path) in paths {
            arguments.extend([OsString::from(name), path.into()]);
        }
        let output = command::ddim(arguments).current_dir(at.path()).output().expect("it starts");
        let error = String::from_utf8_lossy(&output.stderr);
        // What a command says of the scheduler is no complaint.
        let error: String =
            error.split_inclusive('\n').filter(|line| !line.starts_with("scheduler ")).collect();
        assert!(!error.contains("panicked"), "{error}");
        (output.status.success(), error)
    };
    let well = |line: &str, paths: &[(&str, &Path)]| {
        assert_eq!(run(line, paths), (true, String::new()), "{line}");
    };
    let train = "train --batch 2 --steps 1";
    well(train, &[("--data", &data), ("--config", &config), ("--out", &out)]);
    // The data are found again by the path in the settings.
    well("train --resume --steps 2", &[("--out", &out)]);
    well("plan --summary", &[("--config", &config)]);
    let (model, picture) = (("--model", out.as_path()), odd(b"\xffnew.png"));
    let pictures = [model, ("--out", &picture), ("--strip", &odd(b"\xffstrip.png"))];
    well("sample --count 1 --steps 2", &pictures);
    well("interpolate --rows 1 --columns 2 --steps 2", &[model, ("--out", &picture)]);
    let latents = odd(b"x\xff.safetensors");
    well("encode --steps 2", &[model, ("--data", &data), ("--out", &latents)]);
    well("sample --steps 2", &[model, ("--latents", &latents), ("--out", &picture)]);
    well("reconstruct --steps 2", &[model, ("--data", &data), ("--out", &picture)]);
    let bound = odd(b"bound\xff");
    let evaluate = "evaluate --images 1 --timesteps 2";
    well(evaluate, &[model, ("--data", &data), ("--out", &bound)]);
    well("profile --batch 1 --runs 1", &[("--trace", &odd(b"trace\xff"))]);
    // What goes wrong says so, with the bytes that are no text replaced.
    let none = odd(b"none\xff");
    for line in [
        ("sample --out new.png", "--model"),
        ("train --out new", "--data"),
        ("train --data digits --out new", "--config"),
        ("train --resume", "--out"),
        ("verify", "--cases"),
        ("experiments --out new", "--data"),
    ] {
        let (succeeded, error) = run(line.0, &[(line.1, &none)]);
        assert!(
            !succeeded && error.starts_with("error: ") && error.contains("none\u{fffd}"),
            "{error}"
        );
    }
}

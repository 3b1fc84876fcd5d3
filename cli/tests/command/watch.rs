//! A run that can be watched and kept: metrics, events, the page, checkpoints beside the last, patience, dry runs.

use crate::{
    command::{fails, folder, names, succeeds},
    common::{support, tiny},
};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

const TRAIN: &str =
    "train --data digits --config {}/config.json --batch 4 --lr 1e-3 --save-every 2";

fn place() -> TempDir {
    let at = folder();
    fs::write(at.path().join("config.json"), tiny::config(None).to_json()).expect("room");
    at
}

fn read(at: &Path, name: &str) -> String {
    fs::read_to_string(at.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Rows of `metrics.csv`, the first number of each as a step.
fn rows(at: &Path) -> Vec<(u64, Vec<String>)> {
    let text = read(at, "run/metrics.csv");
    let mut lines = text.lines();
    let header = "step,loss,gradient_norm,learning_rate,images_per_second,loss_scale,held_out_loss";
    assert_eq!(lines.next(), Some(header));
    let row = |line: &str| {
        let cells: Vec<String> = line.split(',').map(str::to_owned).collect();
        assert_eq!(cells.len(), 7, "{line}");
        (cells[0].parse().expect("a step"), cells[1..].to_vec())
    };
    lines.map(row).collect()
}

#[test]
fn metrics_and_the_page_follow_a_run() {
    if support::gpu().is_none() {
        return;
    }
    let at = place();
    let watched = "--valid 0.01 --sample-every 3 --samples 9 --tensorboard --warmup 4";
    let said = succeeds(&format!("{TRAIN} --steps 6 {watched} --out {{}}/run"), at.path());
    assert!(said.contains("samples.png shows 9 new images"), "{said}");
    // What a break leaves: rows of steps that are done again, and the half of one.
    let path = at.path().join("run/metrics.csv");
    let text = read(at.path(), "run/metrics.csv");
    fs::write(&path, format!("{text}7,1,1,1,1,,\n8,0.5")).expect("room");
    succeeds("train --resume --steps 10 --out {}/run", at.path());
    let rows = rows(at.path());
    let of_steps: Vec<_> = rows.iter().filter(|(_, cells)| cells[5].is_empty()).collect();
    assert_eq!(
        of_steps.iter().map(|(step, _)| *step).collect::<Vec<_>>(),
        (1..=10).collect::<Vec<_>>()
    );
    let held_out: Vec<u64> =
        rows.iter().filter(|(_, cells)| !cells[5].is_empty()).map(|(step, _)| *step).collect();
    assert_eq!(held_out, [2, 4, 6, 8, 10]);
    // The same losses as the checkpoint's, and the rates of the warm-up.
    let losses = read(at.path(), "run/training/loss.csv");
    for ((step, cells), line) in of_steps.iter().zip(losses.lines().skip(1)) {
        assert!(line.starts_with(&format!("{step},{},{},", cells[0], cells[1])), "{line}");
        let rate: f64 = cells[2].parse().expect("a rate");
        assert!((rate - 1e-3 * (*step as f64 / 4.0).min(1.0)).abs() < 1e-12, "{step}: {rate}");
        assert!(cells[3].parse::<f64>().expect("a speed") > 0.0);
        assert!(cells[4].is_empty(), "no loss scale in f32");
    }
    let page = read(at.path(), "run/report.html");
    for part in
        ["10 of 10", "ended after step 10", "samples/step-0000009.png", "held out", "digits: 1,797"]
    {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("http-equiv=\"refresh\"") && !page.contains("{{"), "it has ended");
    let found = names(&at.path().join("run"));
    for name in ["samples/step-0000003.png", "samples/step-0000009.png", "film.png"] {
        assert!(found.iter().any(|of| of == name), "{name}: {found:?}");
    }
    // Two sessions, whose records are whole.
    let events: Vec<_> = found.iter().filter(|name| name.contains("tfevents")).collect();
    assert_eq!(events.len(), 2, "{events:?}");
    let mut tags = String::new();
    for name in events {
        let bytes = fs::read(at.path().join("run").join(name)).expect("events");
        let (mut rest, mut records) = (&bytes[..], 0);
        while let Some((length, after)) = rest.split_first_chunk::<8>() {
            let length = u64::from_le_bytes(*length) as usize;
            tags += &String::from_utf8_lossy(&after[4..][..length]);
            rest = &after[4 + length + 4..];
            records += 1;
        }
        assert!(rest.is_empty() && records > 5, "{records}");
    }
    for tag in ["brain.Event:2", "learning_rate", "held_out_loss", "images_per_second", "samples"] {
        assert!(tags.contains(tag), "{tag}");
    }
}

#[test]
fn checkpoints_are_kept_and_go_on() {
    if support::gpu().is_none() {
        return;
    }
    let at = place();
    let keeping = "--valid 0.01 --keep 2 --keep-best";
    succeeds(&format!("{TRAIN} --steps 10 {keeping} --out {{}}/run"), at.path());
    let kept = |name: &str| at.path().join("run").join(name);
    let steps: Vec<PathBuf> = {
        let entries = fs::read_dir(kept("checkpoints")).expect("a folder");
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        paths
    };
    let expected = ["step-0000006", "step-0000008"].map(|name| kept("checkpoints").join(name));
    assert_eq!(steps, expected);
    // The best by the losses that were measured.
    let held_out: Vec<(u64, f32)> = rows(at.path())
        .into_iter()
        .filter_map(|(step, cells)| Some((step, cells[5].parse().ok()?)))
        .collect();
    let best = held_out.iter().min_by(|one, other| one.1.total_cmp(&other.1)).expect("losses").0;
    let losses = read(at.path(), "run/best/training/loss.csv");
    assert!(losses.lines().last().is_some_and(|line| line.starts_with(&format!("{best},"))));
    succeeds("sample --model {}/run/best --steps 2 --count 1 --out {}/best.png", at.path());
    // A kept checkpoint goes on to the bits of the run.
    let again = "train --resume --steps 10 --out {}/run/checkpoints/step-0000006";
    succeeds(again, at.path());
    for name in ["training/state.safetensors", "training/loss.csv"] {
        let one = fs::read(kept(name)).expect("a file");
        let other = fs::read(kept("checkpoints/step-0000006").join(name)).expect("a file");
        assert!(one == other, "{name}");
    }
    // What a break left of keeping is undone.
    fs::rename(kept("best"), kept("best.old")).expect("it is there");
    fs::create_dir(kept("best.part")).expect("room");
    succeeds("train --resume --steps 11 --out {}/run", at.path());
    assert!(
        kept("best/unet").exists() && !kept("best.old").exists() && !kept("best.part").exists()
    );
}

#[test]
fn patience_ends_a_run_that_learns_nothing() {
    if support::gpu().is_none() {
        return;
    }
    let at = place();
    // A rate of next to nothing: no loss is lower than the first by more than rounding, and most are equal.
    let line = "train --data digits --config {}/config.json --batch 4 --lr 1e-30 --save-every 1 \
                --valid 0.01 --patience 3 --steps 40 --out {}/run";
    let said = succeeds(line, at.path());
    assert!(said.contains("no lower held-out loss for 3 measurements"), "{said}");
    assert_eq!(rows(at.path()).iter().filter(|(_, cells)| !cells[5].is_empty()).count(), 4);
    assert!(at.path().join("run/samples.png").exists());
    for flag in ["--patience 3", "--keep-best"] {
        let line = format!("{TRAIN} --steps 2 {flag} --out {{}}/other");
        fails(&line, at.path(), &["no images are held out", "--valid"]);
    }
}

#[test]
fn a_dry_run_writes_nothing() {
    if support::gpu().is_none() {
        return;
    }
    let at = place();
    let said =
        succeeds(&format!("{TRAIN} --steps 600 --valid 0.1 --dry-run --out {{}}/run"), at.path());
    for part in
        ["data   digits", "plan   ", "MiB", "step   ", "images a second", "in all ", "600 steps"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(names(at.path()), ["config.json"]);
}

#[test]
fn data_beyond_squares_in_memory_train_the_same_wherever_they_are_kept() {
    if support::gpu().is_none() {
        return;
    }
    let at = folder();
    let pictures = at.path().join("pictures");
    fs::create_dir(&pictures).expect("room");
    for index in 0..12u8 {
        let picture = image::GrayImage::from_fn(20, 12, |x, y| {
            image::Luma([(index * 20).wrapping_add((x * y) as u8)])
        });
        picture.save(pictures.join(format!("{index}.png"))).expect("room");
    }
    fs::write(at.path().join("config.json"), tiny::config(None).to_json()).expect("room");
    let train = "train --data {}/pictures --valid {}/pictures --config {}/config.json --size 16x8 --crop random \
                 --flip --background teal --batch 4 --steps 5 --save-every 5";
    let mut states = Vec::new();
    for (name, how) in [
        ("a", "--workers 0"),
        ("b", "--workers 3"),
        ("c", "--cache {}/cache"),
        ("d", "--cache {}/cache"),
    ] {
        let said = succeeds(&format!("{train} {how} --out {{}}/{name}"), at.path());
        assert!(said.contains("12 images of 8x16x1"), "{said}");
        states.push(
            fs::read(at.path().join(name).join("training/state.safetensors")).expect("a state"),
        );
    }
    assert!(states.iter().all(|state| *state == states[0]));
    let resume = "train --resume --steps 6 --out {}/d";
    for (flag, words) in
        [("--size 8x16", "--size may not change"), ("--valid 0.5", "--valid may not change")]
    {
        fails(&format!("{resume} {flag}"), at.path(), &[words]);
    }
    succeeds(resume, at.path());
}

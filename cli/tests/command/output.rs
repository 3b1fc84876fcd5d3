//! Output that nobody reads costs no work: a reader that goes away, a full disk behind a
//! redirection, a standard output that is closed.
#![cfg(target_os = "linux")]

use crate::{
    command::{Ran, fails_with, folder, names, plain},
    common::{support, tiny},
};
use std::{fs, path::Path, process::Command};

/// Runs a line of a shell in `at`, where `ddim` is the command.
fn shell(line: &str, at: &Path) -> Ran {
    let mut command = Command::new("bash");
    let script = format!("ddim() {{ {:?} \"$@\"; }}; {line}", env!("CARGO_BIN_EXE_ddim"));
    command.args(["-c", &script]).current_dir(at);
    plain(&mut command);
    command.output().expect("a shell").into()
}

/// The status of `ddim` itself, where its output goes into a pipe that nobody reads.
fn unread(arguments: &str, at: &Path) -> Ran {
    // The sleep makes sure that `true` has closed the pipe.
    shell(&format!("{{ sleep 0.2; ddim {arguments}; }} | true; exit ${{PIPESTATUS[0]}}"), at)
}

fn is_quiet(ran: &Ran) {
    assert_eq!((ran.status, ran.error.as_str()), (Some(0), ""), "{ran:?}");
}

#[test]
fn work_goes_on_when_nobody_reads_what_it_says() {
    if support::gpu().is_none() {
        return;
    }
    let at = folder();
    fs::write(at.path().join("config.json"), tiny::config(None).to_json()).expect("room");
    let train = "train --data digits --config config.json --batch 2 --steps 4 --save-every 2";
    is_quiet(&unread(&format!("{train} --valid 0.01 --out run"), at.path()));
    let run = names(&at.path().join("run"));
    for file in ["training/state.safetensors", "samples.png", "check.safetensors"] {
        assert!(run.contains(&file.to_owned()), "{run:?}");
    }
    let sample = "sample --model run --steps 2 --count 1 --out";
    is_quiet(&unread(&format!("{sample} unread.png"), at.path()));
    is_quiet(&shell(&format!("ddim {sample} closed.png >&-"), at.path()));
    is_quiet(&shell(&format!("ddim {sample} nothing.png >&- 2>&- <&-"), at.path()));
    let ran = shell(&format!("ddim {sample} full.png >/dev/full"), at.path());
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.error.starts_with("warning: messages lost, files written: No space"), "{ran:?}");
    is_quiet(&shell(&format!("ddim {sample} dark.png >/dev/full 2>/dev/full"), at.path()));
    let picture = |name: &str| fs::read(at.path().join(name)).expect("a picture");
    for name in ["closed.png", "nothing.png", "full.png", "dark.png"] {
        assert!(picture(name) == picture("unread.png"), "{name}");
    }
    let evaluate = "evaluate --model run --data digits --images 2 --timesteps 2";
    is_quiet(&unread(&format!("{evaluate} --out bound"), at.path()));
    assert_eq!(names(&at.path().join("bound")), ["bound.csv", "bound.svg"]);
    is_quiet(&unread(evaluate, at.path()));
}

#[test]
fn what_only_prints_ends_quietly_without_a_reader_and_fails_without_room() {
    let at = folder();
    for line in ["plan", "plan --train", "--help"] {
        is_quiet(&unread(line, at.path()));
    }
    let ran = shell("ddim plan --summary >/dev/full", at.path());
    fails_with(&ran, &["standard output: No space left on device"]);
}

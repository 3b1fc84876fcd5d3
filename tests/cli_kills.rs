//! A run of three checkpoints, killed for good: it goes on to the bits of one without a break. Every
//! operation of a checkpoint is broken by the library's own tests; here a few are, with the rest of
//! the command around them.
#![cfg(all(feature = "cli", target_os = "linux"))]

use command::{files, folder};
use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Output, Stdio},
};

mod command;
mod support;
mod tiny;

const CALLS: [&str; 2] = ["rename,renameat,renameat2", "fsync"];

/// Runs the command under strace, which kills it at that call, if at any.
fn traced(line: &str, at: &Path, calls: &str, kill: Option<usize>) -> Output {
    let text = at.to_str().expect("temporary folders have plain names");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o"]).arg(at.join("trace")).arg("-e").arg(format!("trace={calls}"));
    if let Some(when) = kill {
        strace.arg("-e").arg(format!("inject={calls}:signal=SIGKILL:when={when}"));
    }
    strace.arg(env!("CARGO_BIN_EXE_ddim")).args(line.replace("{}", text).split_whitespace());
    command::quiet(&mut strace);
    strace.output().expect("strace starts")
}

#[test]
fn a_killed_run_goes_on_to_the_same_bytes() {
    if support::gpu().is_none() {
        return;
    }
    let strace = Command::new("strace").arg("-V").stdout(Stdio::null()).status();
    if strace.is_err() {
        assert!(std::env::var_os("REQUIRE_STRACE").is_none(), "no strace");
        return;
    }
    let at = folder();
    fs::write(at.path().join("config.json"), tiny::config(None).to_json()).expect("room");
    let train = "train --data digits --config {}/config.json --batch 4 --steps 6 --save-every 2";
    let mut expected = Vec::new();
    for calls in CALLS {
        let out = at.path().join("unbroken");
        let _ = fs::remove_dir_all(&out);
        let ran = traced(&format!("{train} --out {{}}/unbroken"), at.path(), calls, None);
        assert!(ran.status.success(), "{ran:?}");
        expected = files(&out);
        let trace = fs::read_to_string(at.path().join("trace")).expect("a trace");
        let count = trace.lines().filter(|line| line.contains('(')).count();
        assert!(count > 20, "{trace}");
        // In the first, second and third checkpoint, and in what comes after them.
        for when in [1, count / 6, count / 2, count - count / 6, count] {
            let case = format!("{calls} {when} of {count}");
            let out = at.path().join("broken");
            let line = format!("{train} --out {{}}/broken");
            let ran = traced(&line, at.path(), calls, Some(when));
            assert_eq!(ran.status.signal(), Some(9), "{case}: {ran:?}");
            let held = out.join("training/current.json").exists();
            let line = if held { "train --resume --out {}/broken" } else { &line };
            command::succeeds(line, at.path());
            let found = files(&out);
            let names = |files: &[(std::path::PathBuf, Vec<u8>)]| {
                files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>()
            };
            assert_eq!(names(&found), names(&expected), "{case}");
            for ((name, found), (_, expected)) in found.iter().zip(&expected) {
                assert!(found == expected, "{case}: {} differs", name.display());
            }
            fs::remove_dir_all(out).expect("it is there");
        }
    }
    assert!(!expected.is_empty());
}

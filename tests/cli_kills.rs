//! A run of three checkpoints, killed for good: it goes on to the bits of one without a break. Every
//! operation of a checkpoint is broken by the library's own tests; here a few are, with the rest of
//! the command around them.
#![cfg(all(feature = "cli", target_os = "linux"))]

use command::{files, folder};
use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

mod command;
mod support;
mod tiny;

const RENAMES: &str = "rename,renameat,renameat2";
const SYNCS: &str = "fsync";

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
    // The driver's cache renames files too, as long as it fills.
    strace.env("MESA_SHADER_CACHE_DIR", at.join("cache"));
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
    let unbroken = format!("{train} --out {{}}/unbroken --overwrite");
    assert!(traced(&unbroken, at.path(), SYNCS, None).status.success());
    let out = at.path().join("unbroken");
    // One in each checkpoint, and in what comes after the last.
    for (calls, parts) in [(RENAMES, vec![(0, 1), (2, 5), (4, 5), (1, 1)]), (SYNCS, vec![(1, 2)])] {
        fs::remove_dir_all(&out).expect("it is there");
        assert!(traced(&unbroken, at.path(), calls, None).status.success());
        let expected = files(&out);
        let trace = fs::read_to_string(at.path().join("trace")).expect("a trace");
        let count = trace.lines().filter(|line| line.contains('(')).count();
        assert!(count > 20, "{trace}");
        for (part, of) in parts {
            kill(at.path(), train, calls, (count * part / of).max(1), &expected);
        }
    }
}

/// Kills a run at that call, goes on with it, and compares.
fn kill(at: &Path, train: &str, calls: &str, when: usize, expected: &[(PathBuf, Vec<u8>)]) {
    let case = format!("{calls} {when}");
    let out = at.join("broken");
    let line = format!("{train} --out {{}}/broken");
    let ran = traced(&line, at, calls, Some(when));
    assert_eq!(ran.status.signal(), Some(9), "{case}: {ran:?}");
    let held = out.join("training/current.json").exists();
    command::succeeds(if held { "train --resume --out {}/broken" } else { &line }, at);
    let found = files(&out);
    for ((name, found), (other, expected)) in found.iter().zip(expected) {
        assert_eq!(name, other, "{case}");
        assert!(found == expected, "{case}: {} differs", name.display());
    }
    assert_eq!(found.len(), expected.len(), "{case}");
    fs::remove_dir_all(out).expect("it is there");
}

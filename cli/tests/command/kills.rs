//! A run of three checkpoints, killed for good: it goes on to the bits of one without a break. Every
//! operation of a checkpoint is broken by the library's own tests; here a few are, with the rest of
//! the command around them.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use crate::{
    command::{self, folder, untimed},
    common::{support, tiny},
};
use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// Views and pointer are renamed by the first, what comes after the last checkpoint by the second.
const CALLS: &str = "rename,renameat,fsync";

/// Runs the command under strace, which may inject a fault.
fn traced(line: &str, at: &Path, inject: Option<String>) -> Output {
    let text = at.to_str().expect("temporary folders have plain names");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o"]).arg(at.join("trace")).arg("-e").arg(format!("trace={CALLS}"));
    if let Some(inject) = inject {
        strace.arg("-e").arg(format!("inject={inject}"));
    }
    strace.arg(env!("CARGO_BIN_EXE_ddim")).args(line.replace("{}", text).split_whitespace());
    command::plain(&mut strace);
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
    let train = "train --data digits --config {}/config.json --batch 4 --steps 6 --save-every 2 --samples 4";
    let unbroken = format!("{train} --out {{}}/unbroken");
    let out = at.path().join("unbroken");
    // The driver's cache of shaders renames files too, as long as it fills.
    command::succeeds(&unbroken, at.path());
    fs::remove_dir_all(&out).expect("it is there");
    assert!(traced(&unbroken, at.path(), None).status.success());
    let expected = untimed(&out);
    let trace = fs::read_to_string(at.path().join("trace")).expect("a trace");
    for (call, least, parts) in [
        ("rename", 15, vec![(0, 1), (2, 5), (1, 1)]),
        ("renameat", 2, vec![(1, 1)]),
        ("fsync", 40, vec![(1, 2)]),
    ] {
        let count = trace.lines().filter(|line| line.contains(&format!(" {call}("))).count();
        assert!(count >= least, "{call}: {count} in {trace}");
        for (part, of) in parts {
            kill(at.path(), train, call, (count * part / of).max(1), &expected);
        }
    }
}

/// Kills a run at that call, goes on with it, and compares.
fn kill(at: &Path, train: &str, call: &str, when: usize, expected: &[(PathBuf, Vec<u8>)]) {
    let case = format!("{call} {when}");
    let out = at.join("broken");
    let line = format!("{train} --out {{}}/broken");
    let ran = traced(&line, at, Some(format!("{call}:signal=SIGKILL:when={when}")));
    assert_eq!(ran.status.signal(), Some(9), "{case}: {ran:?}");
    let held = out.join("training/current.json").exists();
    command::succeeds(if held { "train --resume --out {}/broken" } else { &line }, at);
    let found = untimed(&out);
    for ((name, found), (other, expected)) in found.iter().zip(expected) {
        assert_eq!(name, other, "{case}");
        assert!(found == expected, "{case}: {} differs", name.display());
    }
    assert_eq!(found.len(), expected.len(), "{case}");
    fs::remove_dir_all(out).expect("it is there");
}

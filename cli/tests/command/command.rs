//! Runs the command line and hears what it says.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

/// What a finished command left behind.
#[derive(Debug)]
pub struct Ran {
    pub status: Option<i32>,
    pub out: String,
    pub error: String,
    /// The line of a command that samples: which scheduler, which sampler.
    pub scheduler: Option<String>,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("text is UTF-8");
        let (out, error) = (text(output.stdout), text(output.stderr));
        assert!(!out.contains("panicked") && !error.contains("panicked"), "{out}\n{error}");
        let (named, error): (Vec<&str>, Vec<&str>) =
            error.split_inclusive('\n').partition(|line| line.starts_with("scheduler "));
        let scheduler = named.first().map(|line| line.trim_end().to_owned());
        Self { status: output.status.code(), out, error: error.concat(), scheduler }
    }
}

/// The command with these arguments, as from a shell. Training ends with a picture of few samples: the usual 64 take
/// half a minute in a build with checks.
pub fn ddim<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ddim"));
    let arguments: Vec<A> = arguments.into_iter().collect();
    command.args(&arguments);
    let words: Vec<&OsStr> = arguments.iter().map(AsRef::as_ref).collect();
    if words.first().is_some_and(|first| *first == "train")
        && !words.contains(&"--samples".as_ref())
    {
        command.args(["--samples", "4"]);
    }
    plain(&mut command);
    command
}

/// Without what the environment of the tests may set for the command.
pub fn plain(command: &mut Command) {
    command.env_remove("RUST_LOG").env_remove("NODEVICE_SELECT");
}

/// Runs a command line of words, `{}` standing for `path`.
pub fn run(line: &str, path: &Path) -> Ran {
    Ran::from(ddim(words(line, path)).output().expect("the command starts"))
}

/// The words of a command line, `{}` standing for `path`.
pub fn words(line: &str, path: &Path) -> Vec<String> {
    let path = path.to_str().expect("temporary folders have plain names");
    line.split_whitespace().map(|word| word.replace("{}", path)).collect()
}

/// What the command prints, which must succeed and have nothing to complain of.
pub fn succeeds(line: &str, path: &Path) -> String {
    let ran = run(line, path);
    assert_eq!((ran.status, ran.error.as_str()), (Some(0), ""), "{line}: {}", ran.out);
    ran.out
}

/// The one line in which a command must say why it fails, with all of `parts` in it.
pub fn fails(line: &str, path: &Path, parts: &[&str]) -> String {
    let ran = run(line, path);
    fails_with(&ran, parts);
    ran.error
}

pub fn fails_with(ran: &Ran, parts: &[&str]) {
    assert_eq!(ran.status, Some(1), "{ran:?}");
    let line = ran.error.strip_suffix('\n').expect("a whole line");
    assert!(line.starts_with("error: ") && !line.contains('\n'), "{line}");
    for part in parts {
        assert!(line.contains(part), "{line}\nlacks {part}");
    }
}

/// Runs a line as a shell does that stands in `folder`.
#[cfg(unix)]
pub fn pasted(line: &str, folder: &Path) -> String {
    let mut shell = Command::new("sh");
    plain(&mut shell);
    let ran = Ran::from(shell.args(["-c", line]).current_dir(folder).output().expect("a shell"));
    assert_eq!((ran.status, ran.error.as_str()), (Some(0), ""), "{line}: {}", ran.out);
    ran.out
}

pub fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder for the test")
}

/// Every file below a folder with its bytes, in order of names.
pub fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            let below = files(&path).into_iter();
            let name = PathBuf::from(path.file_name().expect("a name"));
            found.extend(below.map(|(below, bytes)| (name.join(below), bytes)));
        } else {
            let bytes = std::fs::read(&path).expect("a file");
            found.push((path.file_name().expect("a name").into(), bytes));
        }
    }
    found.sort();
    found
}

/// The files of a run but those that say when, or how quickly, steps were done.
pub fn untimed(run: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let timed = ["metrics.csv", "report.html"].map(Path::new);
    files(run).into_iter().filter(|(name, _)| !timed.contains(&&**name)).collect()
}

/// The names alone.
pub fn names(folder: &Path) -> Vec<String> {
    files(folder).into_iter().map(|(path, _)| path.display().to_string()).collect()
}

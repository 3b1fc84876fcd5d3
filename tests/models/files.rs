//! Input files are regular files of a bounded size; nothing else is waited for.
#![cfg(target_os = "linux")]

use ddim::{data::Dataset, files, models::unet2d::UNetConfig, weights::read_tensors};
use std::{
    fs,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::Command,
};

/// A folder with everything that is no regular file.
fn zoo() -> (tempfile::TempDir, Vec<(PathBuf, &'static str)>) {
    let at = tempfile::tempdir().expect("a folder for the test");
    let name = |name: &str| at.path().join(name);
    fs::create_dir(name("folder")).expect("room");
    fifo(&name("fifo"));
    UnixListener::bind(name("socket")).expect("a socket");
    let all = vec![
        (name("folder"), "a folder"),
        (name("fifo"), "a FIFO"),
        (name("socket"), "a socket"),
        ("/dev/zero".into(), "a device"),
    ];
    (at, all)
}

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo").success());
}

fn names(error: impl std::fmt::Display, path: &Path, found: &str) {
    let text = error.to_string();
    let expected = format!("{}: expected a regular file, found {found}", path.display());
    assert_eq!(text, expected);
}

#[test]
fn what_is_no_regular_file_is_refused_by_every_reader() {
    let (at, all) = zoo();
    for (path, found) in &all {
        names(UNetConfig::read(path).expect_err("no file"), path, found);
        names(read_tensors(path).expect_err("no file"), path, found);
        let open = ddim::diffusion::schedule::SchedulerConfig::read(path);
        names(open.expect_err("no file"), path, found);
    }
    let pictures = at.path().join("pictures");
    fs::create_dir(&pictures).expect("room");
    fifo(&pictures.join("a.png"));
    if cfg!(feature = "pictures") {
        let error = Dataset::open(&pictures, None).expect_err("a FIFO");
        names(error, &pictures.join("a.png"), "a FIFO");
    }
    let digits = at.path().join("digits");
    fs::create_dir(&digits).expect("room");
    fifo(&digits.join("train-images-idx3-ubyte"));
    let error = Dataset::open(&digits, None).expect_err("a FIFO");
    names(error, &digits.join("train-images-idx3-ubyte"), "a FIFO");
}

#[test]
fn a_file_above_the_limit_is_refused_before_it_is_read() {
    let at = tempfile::tempdir().expect("a folder for the test");
    let path = at.path().join("config.json");
    // Sparse: a petabyte without a block on the disk.
    let file = fs::File::create(&path).expect("room");
    file.set_len(1 << 50).or_else(|_| file.set_len(1 << 40)).expect("a sparse file");
    let error = files::read_text(&path).expect_err("too large").to_string();
    assert!(error.contains("expected at most 16777216 bytes, found 1"), "{error}");
    assert_eq!(files::read(Path::new("/proc/self/status"), 9).map(|bytes| bytes.len()).ok(), None);
    let error = files::read(Path::new("/proc/self/status"), 9).expect_err("more than 9 bytes");
    assert_eq!(error.kind(), std::io::ErrorKind::FileTooLarge);
}

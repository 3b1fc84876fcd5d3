//! A program in C that links the library.
use ddim::{
    diffusion::schedule::SchedulerConfig,
    models::unet2d::{UNet, UNetConfig},
    nn::{self, Weights},
    pipeline,
};
use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// The folder that cargo builds libraries to, for tests.
fn built() -> PathBuf {
    let test = env::current_exe().expect("this test");
    test.parent().expect("target/debug/deps").to_owned()
}

fn run(program: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).env("LD_LIBRARY_PATH", built()).env("DYLD_LIBRARY_PATH", built());
    command.output().expect("a program that was just built")
}

#[test]
fn a_program_in_c_samples_is_stopped_and_reads_errors() {
    if env::var_os("REQUIRE_GPU").is_none() && ddim::gpu::Gpu::new(&Default::default()).is_err() {
        return;
    }
    let folder = tempfile::tempdir().expect("a place for files");
    let model = folder.path().join("model");
    let config =
        UNetConfig::parse(include_str!("../../benches/models/digits.json")).expect("sound");
    let unet = UNet::new(config).expect("sound");
    let weights = Weights::initial(&nn::parameters(&unet, [1, 8, 8]).expect("sound"), 1);
    pipeline::write(&model, unet.config(), &SchedulerConfig::default(), &weights)
        .expect("a place for files");

    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = folder.path().join("sample");
    let compiled = Command::new(env::var_os("CC").unwrap_or("cc".into()))
        .arg(root.join("examples/sample.c"))
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-I"])
        .arg(root.join("include"))
        .arg("-L")
        .arg(built())
        .args(["-lddim_capi", "-o"])
        .arg(&program)
        .output()
        .expect("a C compiler, as Rust's linker is one");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));

    let model = model.to_str().expect("a plain path");
    let sampled = run(&program, &[model]);
    let (out, told) =
        (String::from_utf8_lossy(&sampled.stdout), String::from_utf8_lossy(&sampled.stderr));
    assert!(sampled.status.success(), "{told}");
    assert_eq!(out.lines().filter(|line| line.len() == 8).count(), 8, "{out}");
    assert!(told.contains("step 5 of 5"), "{told}");

    let stopped = run(&program, &[model, "2"]);
    assert_eq!(String::from_utf8_lossy(&stopped.stdout), "cancelled\n");
    assert!(!String::from_utf8_lossy(&stopped.stderr).contains("step 4"));

    let missing = run(&program, &["/no/such/folder"]);
    assert!(!missing.status.success());
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/no/such/folder"));
}

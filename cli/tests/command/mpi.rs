//! `mpirun ddim train`: the bits of threads, and one end for all ranks.

use crate::{
    command::{self, Ran, folder, run, succeeds, untimed, words},
    common::{support, tiny},
};
use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

const TRAIN: &str = "train --data digits --config {}/config.json --batch 4 --lr 1e-3 --warmup 3 --samples 4 --out {}";

/// A run that does not come to its end.
const LONG: &str = "--steps 1000000 --save-every 1000000";

/// Longest wait for what is to happen at once.
const SOON: Duration = Duration::from_secs(300);

/// `mpirun` as root, with more ranks than cores, of which none spins.
pub fn mpirun() -> Command {
    let mut command = Command::new("mpirun");
    command::plain(&mut command);
    command
        .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
        .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
        // OpenMPI 4, then 5.
        .env("OMPI_MCA_rmaps_base_oversubscribe", "1")
        .env("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe")
        .env("OMPI_MCA_hwloc_base_binding_policy", "none")
        .env("OMPI_MCA_mpi_yield_when_idle", "1")
        // Reading another process's memory, and ssh: a container may have neither.
        .env("OMPI_MCA_btl_vader_single_copy_mechanism", "none")
        .env("OMPI_MCA_plm_rsh_agent", "false");
    command
}

/// The command with two ranks.
fn both(line: &str, at: &Path) -> Command {
    let mut command = mpirun();
    command.args(["-n", "2", env!("CARGO_BIN_EXE_ddim")]).args(words(line, at));
    command
}

fn finished(line: &str, at: &Path) -> Ran {
    Ran::from(both(line, at).output().expect("mpirun starts"))
}

fn place() -> Option<TempDir> {
    support::gpu()?;
    let at = folder();
    fs::write(at.path().join("config.json"), tiny::config(None).to_json()).expect("room");
    Some(at)
}

/// Losses and gradient norms of a run's steps.
fn losses(run: &Path) -> Vec<[f64; 2]> {
    let text = fs::read_to_string(run.join("training/loss.csv")).expect("losses");
    let number = |cell: Option<&str>| -> f64 { cell.expect("a cell").parse().expect("a number") };
    let row = |line: &str| {
        let mut cells = line.split(',').skip(1);
        [number(cells.next()), number(cells.next())]
    };
    text.lines().skip(1).map(row).collect()
}

#[test]
fn processes_train_as_threads_do() {
    let Some(at) = place() else { return };
    let (at, train) = (at.path(), format!("{TRAIN}/NAME --save-every 2"));
    let named = |name: &str, options: &str| train.replace("NAME", name) + options;
    succeeds(&named("threads", " --steps 4 --ranks 2"), at);
    let ran = finished(&named("processes", " --steps 4"), at);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    // The first rank alone speaks.
    for line in ["rank 0  ", "rank 1  ", "data   digits", "samples.png shows 4 new images"] {
        assert_eq!(ran.out.matches(line).count(), 1, "{line}: {ran:?}");
    }
    let (threads, processes) = (untimed(&at.join("threads")), untimed(&at.join("processes")));
    assert_eq!(threads.len(), processes.len());
    for ((name, one), (other, two)) in threads.iter().zip(&processes) {
        assert_eq!(name, other);
        assert!(one == two, "{} differs", name.display());
    }

    // The same after a break.
    let ran = finished(&named("parts", " --steps 2"), at);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let ran = finished("train --resume --exact --steps 4 --samples 4 --out {}/parts", at);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let state = |name: &str| fs::read(at.join(name).join("training/state.safetensors"));
    assert!(state("parts").expect("a state") == state("threads").expect("a state"));

    // Within what rounding does to steps of Adam, the first of which are signs of gradients.
    succeeds(&named("alone", " --steps 4 --accumulate 2"), at);
    let (found, wanted) = (losses(&at.join("processes")), losses(&at.join("alone")));
    assert_eq!((found.len(), wanted.len()), (4, 4));
    for (step, (found, wanted)) in found.iter().zip(&wanted).take(3).enumerate() {
        let far = |index: usize| (found[index] - wanted[index]).abs() / wanted[index];
        assert!(far(0) <= 1e-4, "{found:?} {wanted:?}");
        assert!(step > 0 || far(0) <= 1e-5 && far(1) <= 1e-4, "{found:?} {wanted:?}");
    }
}

#[test]
fn a_dry_run_and_other_ranks_than_processes() {
    let Some(at) = place() else { return };
    let ran = finished(&format!("{TRAIN}/run --steps 9 --dry-run"), at.path());
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.out.contains("rank 1  ") && ran.out.contains("nothing was written"), "{ran:?}");
    let ran = finished(&format!("{TRAIN}/run --ranks 3"), at.path());
    assert_ne!(ran.status, Some(0), "{ran:?}");
    assert!(ran.error.contains("--ranks 3: mpirun started 2 processes"), "{ran:?}");
    // What only the first rank sees.
    fs::create_dir_all(at.path().join("run/unet")).expect("room");
    let ran = finished(&format!("{TRAIN}/run --steps 9"), at.path());
    speaks_first(&ran, "run/unet: is there, and this command did not write it");
}

#[test]
fn numbers_that_are_not_finite_end_all_ranks() {
    let Some(at) = place() else { return };
    let train = TRAIN.replace("--lr 1e-3", "--lr 1e30");
    let ran = finished(&format!("{train}/run --steps 40"), at.path());
    speaks_first(&ran, "run holds step 0: go on from there at a smaller rate");
    assert!(at.path().join("run/training/current.json").exists());
}

#[test]
fn a_checkpoint_that_cannot_be_written_ends_all_ranks() {
    let Some(at) = place() else { return };
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        assert!(std::env::var_os("REQUIRE_STRACE").is_none(), "no strace");
        return;
    }
    let line = words(&format!("{TRAIN}/run --steps 1000000 --save-every 2"), at.path());
    let ddim = env!("CARGO_BIN_EXE_ddim");
    let mut command = mpirun();
    // The disk of the first rank is full.
    command.args(["-n", "1", "strace", "-f", "-qq", "-e", "trace=fsync", "-o"]);
    command.arg(at.path().join("trace")).args(["-e", "inject=fsync:error=ENOSPC", ddim]);
    command.args(&line).args([":", "-n", "1", ddim]).args(&line);
    let ran = Ran::from(command.output().expect("mpirun starts"));
    speaks_first(&ran, "No space left on device");
}

#[test]
fn a_rank_that_is_killed_or_stands_still_ends_the_other() {
    let Some(at) = place() else { return };
    let (killed, still) = (at.path().join("killed"), at.path().join("still"));
    let mut one = begin(&format!("{TRAIN}/killed {LONG}"), at.path());
    let mut other = begin(&format!("{TRAIN}/still {LONG} --timeout 30"), at.path());
    until("steps", &mut [&mut one, &mut other], || steps(&killed) > 3 && steps(&still) > 3);
    signal("-KILL", 1, &killed);
    signal("-STOP", 1, &still);
    let ran = end(one);
    assert_ne!(ran.status, Some(0), "{ran:?}");
    speaks_first(&end(other), "error: rank 1: it did not come within 30s");
    let gone = |run: &Path| (0..2).all(|rank| process(rank, run).is_none());
    until("end of all", &mut [], || gone(&killed) && gone(&still));
}

#[test]
fn ctrl_c_ends_all_ranks_with_a_checkpoint() {
    let Some(at) = place() else { return };
    let out = at.path().join("run");
    let mut started = begin(&format!("{TRAIN}/run {LONG}"), at.path());
    until("steps", &mut [&mut started], || steps(&out) > 3);
    // To the second rank a signal says nothing.
    signal("-INT", 1, &out);
    signal("-USR1", 0, &out);
    let ran = end(started);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.out.contains("stopped after step "), "{ran:?}");
    // It goes on in one process.
    let ran = run("train --resume --dry-run --out {}/run", at.path());
    assert!(ran.out.contains("rank 1  "), "{ran:?}");
}

/// All ranks end with an error, which is the first that is said.
fn speaks_first(ran: &Ran, error: &str) {
    assert_ne!(ran.status, Some(0), "{ran:?}");
    let said = ran.error.find(error).unwrap_or_else(|| panic!("{error}: {ran:?}"));
    let before = &ran.error[..said];
    assert_eq!(before.matches("error: ").count(), usize::from(!error.starts_with("error: ")));
    assert!(!before.contains("MPI_ABORT"), "{ran:?}");
}

fn begin(line: &str, at: &Path) -> Child {
    let mut command = both(line, at);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("mpirun starts")
}

/// Waits for what comes before these runs end.
fn until(what: &str, runs: &mut [&mut Child], is: impl Fn() -> bool) {
    let start = Instant::now();
    while !is() {
        let ended = runs.iter_mut().any(|run| run.try_wait().expect("it was started").is_some());
        assert!(!ended && start.elapsed() < SOON, "no {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// What a run left behind, which must end now.
fn end(mut started: Child) -> Ran {
    let start = Instant::now();
    while started.try_wait().expect("it was started").is_none() {
        if start.elapsed() > SOON {
            started.kill().expect("it runs");
            panic!("no end: {:?}", started.wait_with_output());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ran::from(started.wait_with_output().expect("it was started"))
}

/// Steps whose metrics a run has written.
fn steps(run: &Path) -> usize {
    let rows = fs::read_to_string(run.join("metrics.csv")).unwrap_or_default();
    rows.lines().count().saturating_sub(1)
}

/// The process of a rank of the run that writes to a folder.
fn process(rank: usize, run: &Path) -> Option<u32> {
    let entries = fs::read_dir("/proc").expect("Linux has it").flatten();
    let mut ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.find(|id| {
        let has = |file: &str, wanted: &str| {
            let bytes = fs::read(format!("/proc/{id}/{file}")).unwrap_or_default();
            bytes.split(|byte| *byte == 0).any(|part| part == wanted.as_bytes())
        };
        let run = run.to_str().expect("temporary folders have plain names");
        let variables = ["OMPI_COMM_WORLD_RANK", "PMI_RANK"].map(|name| format!("{name}={rank}"));
        has("cmdline", run) && variables.iter().any(|variable| has("environ", variable))
    })
}

fn signal(signal: &str, rank: usize, run: &Path) {
    let id = process(rank, run).expect("it runs").to_string();
    let sent = Command::new("kill").args([signal, &id]).status().expect("a kill");
    assert!(sent.success(), "{signal} {id}");
}

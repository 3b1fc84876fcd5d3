//! `ddim_mpi::MpiRank` by itself: this program starts itself again under `mpirun`, as ranks.

use crate::{command::Ran, mpi::mpirun};
use cpu_time::ProcessTime;
use ddim::training::Collective;
use ddim_mpi::MpiRank;
use std::{env, thread, time::Duration};

/// What a rank does.
const DOES: &str = "DDIM_TEST_OF_RANKS";

const SOON: Duration = Duration::from_secs(300);

/// Runs ranks that do this.
fn ranks(number: usize, what: &str) -> Ran {
    let program = env::current_exe().expect("this program has a name");
    let mut command = mpirun();
    command.args(["-n", &number.to_string()]).arg(program).env(DOES, what);
    command.args(["mpi_ranks::a_rank", "--exact", "--nocapture"]);
    Ran::from(command.output().expect("mpirun starts"))
}

/// What a rank runs; among the tests it does nothing.
#[test]
fn a_rank() {
    match env::var(DOES).as_deref() {
        Ok("sums") => sums(),
        Ok("other lengths") => other_lengths(),
        Ok("late") => late(),
        _ => {}
    }
}

#[test]
fn numbers_are_added_in_the_order_of_the_ranks() {
    let ran = ranks(3, "sums");
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert_eq!(ran.out.matches("1 passed").count(), 3, "{ran:?}");
}

fn sums() {
    let mut rank = MpiRank::start(SOON).expect("mpirun started it");
    let own = rank.rank();
    assert_eq!((rank.ranks(), rank.local_rank()), (3, own));
    assert!(MpiRank::start(SOON).is_err(), "it runs");
    assert_eq!(rank.all_gather(&"x".repeat(own)).expect("all come"), ["", "x", "xx"]);
    // In f32 the order decides. Who waits leaves its core to others.
    let used = ProcessTime::now();
    if own == 0 {
        thread::sleep(Duration::from_secs(2));
    }
    let mut numbers = [[1e8_f32, 1.0, -1e8][own], own as f32];
    rank.sum(&mut numbers).expect("all come");
    assert_eq!(numbers, [(1e8_f32 + 1.0) + -1e8, 3.0]);
    let used = used.elapsed();
    assert!(used < Duration::from_millis(700), "{used:?} of two seconds");
    // More than fits a message, and fewer than there are ranks.
    let number = |at: usize| (at % 1000) as f32;
    let mut numbers: Vec<f32> = (0..13_000_001).map(|at| number(at) + own as f32).collect();
    rank.sum(&mut numbers).expect("all come");
    assert!(numbers.iter().enumerate().all(|(at, found)| *found == 3.0 * number(at) + 3.0));
    for count in [0, 1, 2] {
        let mut numbers = vec![1.0; count];
        rank.sum(&mut numbers).expect("all come");
        assert_eq!(numbers, vec![3.0; count]);
    }
    // One ends the others.
    if own == 1 {
        rank.end("stopped");
    }
    let error = rank.sum(&mut [1.0]).expect_err("a rank has ended").to_string();
    assert_eq!(error, "rank 1: stopped");
    assert!(rank.is_over() && !rank.is_finished());
    rank.finish().expect("all end");
    assert!(rank.is_finished());
    // On its own it is ended by nobody.
    rank.abort();
}

#[test]
fn other_numbers_of_numbers_are_refused_by_all() {
    let ran = ranks(2, "other lengths");
    assert_ne!(ran.status, Some(0), "{ran:?}");
    let said = "rank 1: expected 1 numbers as of rank 0, found 2";
    assert_eq!(ran.out.matches(said).count(), 2, "{ran:?}");
}

fn other_lengths() {
    let mut rank = MpiRank::start(SOON).expect("mpirun started it");
    let mut numbers = vec![1.0; 1 + rank.rank()];
    let error = rank.sum(&mut numbers).expect_err("they differ");
    println!("{error}");
    assert!(!rank.is_over() && rank.finish().is_err());
    rank.abort();
}

#[test]
fn a_rank_that_does_not_come_is_named() {
    let ran = ranks(3, "late");
    assert_ne!(ran.status, Some(0), "{ran:?}");
    assert!(ran.out.contains("rank 1: it did not come within 10s"), "{ran:?}");
}

fn late() {
    let mut rank = MpiRank::start(Duration::from_secs(10)).expect("mpirun started it");
    if rank.rank() == 1 {
        thread::sleep(SOON);
    }
    let error = rank.sum(&mut [1.0]).expect_err("one does not come");
    println!("{error}");
    rank.abort();
}

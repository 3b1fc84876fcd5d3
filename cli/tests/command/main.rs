//! The command, run as from a shell. One program: each would link the library again.

mod average;
mod command;
mod commands;
#[path = "../../../tests/common/mod.rs"]
mod common;
mod errors;
mod evaluate;
mod generate;
mod guidance;
#[cfg(not(feature = "mpi"))]
mod launched;
mod lora;
#[cfg(all(feature = "mpi", target_os = "linux"))]
mod mpi;
#[cfg(all(feature = "mpi", target_os = "linux"))]
mod mpi_ranks;
mod newcomers;
mod next;
mod not_finite;
mod opens;
mod output;
mod overwrite;
mod pipelines;
mod precision;
mod resume;
mod sampling;
mod verify;
mod watch;

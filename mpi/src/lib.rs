//! Ranks that train one model together, processes that a launcher of MPI started: [`MpiRank`] is the
//! [`Collective`](ddim::training::Collective) among them.
//!
//! One thread of each process calls MPI. If a message never comes, that thread blocks, and the process still notices the
//! timeout.
mod backoff;
mod meeting;
mod mpi_thread;
mod rank;

pub use rank::{MpiRank, StartError};

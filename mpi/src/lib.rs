//! Ranks that train one model together, processes that a launcher of MPI started: [`MpiRank`] is the
//! [`Collective`](ddim::training::Collective) among them.
//!
//! One thread of each process speaks MPI, and nobody else: then a message that never comes holds up that thread, and its
//! process still knows when it has waited for too long.
mod meeting;
mod naps;
mod rank;
mod speaker;

pub use rank::{MpiRank, StartError};

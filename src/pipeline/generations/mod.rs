//! Sets of files that become current in one step.
//!
//! A checkpoint of a run is a *generation*: a folder `training/generations/N` with all of the
//! checkpoint's files. They are written and synced there; then one rename of `training/current.json`
//! makes the generation current. The files' own places in the run's folder (`unet/`,
//! `training/state.safetensors`, ...) are a view of the current generation: hard links to its
//! files, or copies where the file system has no hard links. The generation before is removed once
//! the view is whole. So whenever a process is killed, one whole generation is current, and whoever
//! opens the folder next repairs the view and removes what else is left.
mod disk;
#[cfg(test)]
mod faulty;
mod folder;
mod keep;
mod paths;
mod pointer;
#[cfg(test)]
mod tests;
mod view;
mod writer;

pub(crate) use disk::{Disk, System};
pub use folder::RunFolder;
pub use pointer::Pointer;
pub(crate) use writer::Generation;

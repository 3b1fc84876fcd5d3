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
mod paths;
mod pointer;
#[cfg(test)]
mod tests;

pub(crate) use disk::{Disk, System};
pub use folder::RunFolder;

use crate::error::{Error, TrainingError};
use paths::{entries, kept, parent, part, remove_all};
pub use pointer::Pointer;
use pointer::{Files, Fingerprint, read_files, to_json};
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

const POINTER: &str = "training/current.json";
const GENERATIONS: &str = "training/generations";

/// In the folder of a generation until its view is whole: what lay there before.
const PREVIOUS: &str = "previous.json";

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    move |source| TrainingError::File { path: path.into(), source }.into()
}

/// Whether generations were ever written here.
fn is_run(folder: &Path) -> bool {
    folder.join(GENERATIONS).exists() || folder.join(POINTER).exists()
}

fn generation(folder: &Path, number: u64) -> PathBuf {
    folder.join(GENERATIONS).join(number.to_string())
}

/// Held while a folder is written or repaired. It ends with the process.
struct Lock(#[allow(dead_code, reason = "the lock ends when the file is closed")] Option<fs::File>);

impl Lock {
    /// Takes it, unless another process has it.
    #[cfg(unix)]
    fn take(folder: &Path) -> io::Result<Option<Self>> {
        // The folder itself, so that no file is left.
        let training = fs::File::open(folder.join("training"))?;
        match training.try_lock() {
            Ok(()) => Ok(Some(Self(Some(training)))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            // Not every file system has locks.
            Err(fs::TryLockError::Error(_)) => Ok(Some(Self(None))),
        }
    }

    /// Folders cannot be opened on every system.
    #[cfg(not(unix))]
    fn take(_: &Path) -> io::Result<Option<Self>> {
        Ok(Some(Self(None)))
    }
}

/// Repairs the view and removes all but the current generation.
fn settle(disk: &dyn Disk, folder: &Path) -> Result<Option<Pointer>, Error> {
    let pointer = Pointer::read(&folder.join(POINTER))?;
    let current = pointer.as_ref().map_or(0, |pointer| pointer.generation);
    let generations = folder.join(GENERATIONS);
    let others: Vec<(PathBuf, Option<u64>)> = entries(&generations)?
        .into_iter()
        .map(|path| {
            let number = path.file_name().and_then(|name| name.to_str()?.parse().ok());
            (path, number)
        })
        .filter(|(_, number)| *number != Some(current) || current == 0)
        .collect();
    if let Some(pointer) = &pointer {
        // The one before is removed after the view is whole.
        let broken = others.iter().any(|(_, number)| number.is_some_and(|older| older < current));
        let previous = generation(folder, current).join(PREVIOUS);
        let before = read_files(&previous);
        refresh(disk, folder, pointer, broken.then_some(&before))?;
        disk.remove(&previous).map_err(file_error(&previous))?;
    }
    for (path, _) in others {
        remove_all(disk, &path)?;
    }
    let part = part(&folder.join(POINTER));
    if part.exists() {
        disk.remove(&part).map_err(file_error(&part))?;
    }
    Ok(pointer)
}

/// Makes the view that of the current generation; only what is missing there, unless it is known
/// what lay there `before`. A file that is neither that nor of this generation is somebody else's
/// work: it is kept beside.
fn refresh(
    disk: &dyn Disk,
    folder: &Path,
    pointer: &Pointer,
    before: Option<&Files>,
) -> Result<(), Error> {
    let generation = generation(folder, pointer.generation);
    let mut changed = BTreeSet::new();
    for (name, expected) in &pointer.files {
        let (source, view) = (generation.join(name), folder.join(name));
        let part = part(&view);
        if !source.exists() || (before.is_none() && view.exists()) {
            continue;
        }
        let failed = || file_error(&view);
        let found = Fingerprint::of_file(&view).map_err(failed())?;
        if found == Some(*expected) {
            continue;
        }
        if found.is_some() && found.as_ref() != before.and_then(|before| before.get(name)) {
            let kept = kept(&view);
            log::warn!("{} was changed by somebody: kept as {}", view.display(), kept.display());
            disk.rename(&view, &kept).map_err(failed())?;
        }
        let parent = parent(&view);
        disk.create_folder(parent).map_err(failed())?;
        disk.remove(&part).map_err(failed())?;
        disk.link(&source, &part).or_else(|_| disk.copy(&source, &part)).map_err(failed())?;
        disk.rename(&part, &view).map_err(failed())?;
        changed.insert(parent.to_owned());
    }
    for (name, before) in before.into_iter().flatten() {
        let view = folder.join(name);
        let stale = || Ok(Fingerprint::of_file(&view)?.as_ref() == Some(before));
        if !pointer.files.contains_key(name) && stale().map_err(file_error(&view))? {
            disk.remove(&view).map_err(file_error(&view))?;
        }
    }
    for folder in changed {
        disk.sync(&folder).map_err(file_error(&folder))?;
    }
    Ok(())
}

/// A generation in the making. Dropped before it is current, it is removed.
pub(crate) struct Generation<'a> {
    disk: &'a dyn Disk,
    folder: PathBuf,
    pointer: Pointer,
    /// What lies in the view.
    before: Files,
    current: bool,
    _lock: Lock,
}

impl<'a> Generation<'a> {
    /// Begins a generation in the folder of a run; what a break left there is repaired first.
    pub fn begin(disk: &'a dyn Disk, folder: &Path) -> Result<Self, Error> {
        let generations = folder.join(GENERATIONS);
        disk.create_folder(&generations).map_err(file_error(&generations))?;
        let Some(lock) = Lock::take(folder).map_err(file_error(folder))? else {
            let message = "another process writes a checkpoint there now".into();
            return Err(TrainingError::Checkpoint { path: folder.into(), message }.into());
        };
        let before = settle(disk, folder)?;
        let number = before.as_ref().map_or(0, |before| before.generation);
        let pointer = Pointer { generation: number + 1, files: Files::new() };
        let before = before.map(|before| before.files).unwrap_or_default();
        Ok(Self { disk, folder: folder.into(), pointer, before, current: false, _lock: lock })
    }

    fn path(&self) -> PathBuf {
        generation(&self.folder, self.pointer.generation)
    }

    /// Writes the file of this path below the run's folder.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.path().join(name);
        let parent = parent(&path);
        self.disk.create_folder(parent).map_err(file_error(parent))?;
        self.disk.write(&path, bytes).map_err(file_error(&path))?;
        self.pointer.files.insert(name.to_owned(), Fingerprint::of_bytes(bytes));
        Ok(())
    }

    /// Makes the generation current, then its view whole, then removes the one before.
    pub fn commit(mut self) -> Result<(), Error> {
        let (disk, path) = (self.disk, self.path());
        if self.pointer.generation == 1 {
            // The first checkpoint replaces files that lay there before.
            for name in self.pointer.files.keys() {
                let view = self.folder.join(name);
                let found = Fingerprint::of_file(&view).map_err(file_error(&view))?;
                self.before.extend(found.map(|found| (name.clone(), found)));
            }
        }
        let previous = path.join(PREVIOUS);
        let text = to_json(&self.before);
        disk.write(&previous, text.as_bytes()).map_err(file_error(&previous))?;
        // While there is an older generation, the view counts as broken.
        let older = generation(&self.folder, self.pointer.generation - 1);
        disk.create_folder(&older).map_err(file_error(&older))?;
        let names = self.pointer.files.keys();
        let files: Vec<PathBuf> = names.map(|name| path.join(name)).collect();
        let folders: BTreeSet<&Path> = files
            .iter()
            .flat_map(|file| file.ancestors().skip(1))
            .filter(|folder| folder.starts_with(&self.folder))
            .collect();
        for folder in folders.into_iter().rev() {
            disk.sync(folder).map_err(file_error(folder))?;
        }
        let pointer = self.folder.join(POINTER);
        let (part, training) = (part(&pointer), parent(&pointer));
        let text = to_json(&self.pointer);
        disk.write(&part, text.as_bytes()).map_err(file_error(&part))?;
        disk.rename(&part, &pointer).map_err(file_error(&pointer))?;
        self.current = true;
        disk.sync(training).map_err(file_error(training))?;
        refresh(disk, &self.folder, &self.pointer, Some(&self.before))?;
        disk.remove(&previous).map_err(file_error(&previous))?;
        remove_all(disk, &older)
    }
}

impl Drop for Generation<'_> {
    fn drop(&mut self) {
        if !self.current {
            // Whoever opens the folder next tries again.
            let _ = remove_all(self.disk, &self.path());
        }
    }
}

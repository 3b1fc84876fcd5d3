//! The view of a run's current generation: where it lies, and how it is repaired.
use super::{
    Disk,
    paths::{entries, kept, parent, part, remove_all},
    pointer::{Files, Fingerprint, Pointer, read_files},
};
use crate::error::{Error, FileError};
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

pub(super) const POINTER: &str = "training/current.json";
pub(super) const GENERATIONS: &str = "training/generations";

/// In the folder of a generation until its view is whole: what lay there before.
pub(super) const PREVIOUS: &str = "previous.json";

/// Whether generations were ever written here.
pub(super) fn is_run(folder: &Path) -> bool {
    folder.join(GENERATIONS).exists() || folder.join(POINTER).exists()
}

pub(super) fn generation(folder: &Path, number: u64) -> PathBuf {
    folder.join(GENERATIONS).join(number.to_string())
}

/// Held while a folder is written or repaired. It ends with the process.
pub(super) struct Lock(
    #[allow(dead_code, reason = "the lock ends when the file is closed")] Option<fs::File>,
);

impl Lock {
    /// Takes it, unless another process has it.
    #[cfg(unix)]
    pub fn take(folder: &Path) -> io::Result<Option<Self>> {
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
    pub fn take(_: &Path) -> io::Result<Option<Self>> {
        Ok(Some(Self(None)))
    }
}

/// Repairs the view and removes all but the current generation.
pub(super) fn restore(disk: &dyn Disk, folder: &Path) -> Result<Option<Pointer>, Error> {
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
        disk.remove(&previous).map_err(FileError::at(&previous))?;
    }
    for (path, _) in others {
        remove_all(disk, &path)?;
    }
    let part = part(&folder.join(POINTER));
    if part.exists() {
        disk.remove(&part).map_err(FileError::at(&part))?;
    }
    Ok(pointer)
}

/// Makes the view that of the current generation; only what is missing there, unless it is known
/// what lay there `before`. A file that is neither that nor of this generation is somebody else's
/// work: it is kept beside.
pub(super) fn refresh(
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
        let failed = FileError::at(&view);
        let found = Fingerprint::of_file(&view).map_err(&failed)?;
        if found == Some(*expected) {
            continue;
        }
        if found.is_some() && found.as_ref() != before.and_then(|before| before.get(name)) {
            let kept = kept(&view);
            log::warn!("{} was changed by somebody: kept as {}", view.display(), kept.display());
            disk.rename(&view, &kept).map_err(&failed)?;
        }
        let parent = parent(&view);
        disk.create_folder(parent).map_err(&failed)?;
        disk.remove(&part).map_err(&failed)?;
        disk.link(&source, &part).or_else(|_| disk.copy(&source, &part)).map_err(&failed)?;
        disk.rename(&part, &view).map_err(&failed)?;
        changed.insert(parent.to_owned());
    }
    for (name, before) in before.into_iter().flatten() {
        let view = folder.join(name);
        let stale = || Ok(Fingerprint::of_file(&view)?.as_ref() == Some(before));
        if !pointer.files.contains_key(name) && stale().map_err(FileError::at(&view))? {
            disk.remove(&view).map_err(FileError::at(&view))?;
        }
    }
    for folder in changed {
        disk.sync(&folder).map_err(FileError::at(&folder))?;
    }
    Ok(())
}

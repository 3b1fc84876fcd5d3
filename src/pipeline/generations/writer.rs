//! Writing a generation.
use super::{
    Disk,
    paths::{parent, part, remove_all},
    pointer::{Files, Fingerprint, Pointer, to_json},
    view::{GENERATIONS, Lock, POINTER, PREVIOUS, generation, refresh, restore},
};
use crate::error::{Error, FileError, TrainingError};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

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
        disk.create_folder(&generations).map_err(FileError::at(&generations))?;
        let Some(lock) = Lock::take(folder).map_err(FileError::at(folder))? else {
            let message = "another process writes a checkpoint there now".into();
            return Err(TrainingError::Checkpoint { path: folder.into(), message }.into());
        };
        let before = restore(disk, folder)?;
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
        self.disk.create_folder(parent).map_err(FileError::at(parent))?;
        self.disk.write(&path, bytes).map_err(FileError::at(&path))?;
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
                let found = Fingerprint::of_file(&view).map_err(FileError::at(&view))?;
                self.before.extend(found.map(|found| (name.clone(), found)));
            }
        }
        let previous = path.join(PREVIOUS);
        let text = to_json(&self.before);
        disk.write(&previous, text.as_bytes()).map_err(FileError::at(&previous))?;
        // While there is an older generation, the view counts as broken.
        let older = generation(&self.folder, self.pointer.generation - 1);
        disk.create_folder(&older).map_err(FileError::at(&older))?;
        let names = self.pointer.files.keys();
        let files: Vec<PathBuf> = names.map(|name| path.join(name)).collect();
        let folders: BTreeSet<&Path> = files
            .iter()
            .flat_map(|file| file.ancestors().skip(1))
            .filter(|folder| folder.starts_with(&self.folder))
            .collect();
        for folder in folders.into_iter().rev() {
            disk.sync(folder).map_err(FileError::at(folder))?;
        }
        let pointer = self.folder.join(POINTER);
        let (part, training) = (part(&pointer), parent(&pointer));
        let text = to_json(&self.pointer);
        disk.write(&part, text.as_bytes()).map_err(FileError::at(&part))?;
        disk.rename(&part, &pointer).map_err(FileError::at(&pointer))?;
        self.current = true;
        disk.sync(training).map_err(FileError::at(training))?;
        refresh(disk, &self.folder, &self.pointer, Some(&self.before))?;
        disk.remove(&previous).map_err(FileError::at(&previous))?;
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

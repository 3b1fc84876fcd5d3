//! The folder of a run, as readers see it.
use super::{
    disk::{Disk, System},
    paths::entries,
    pointer::{Fingerprint, Pointer},
    view::{GENERATIONS, Lock, POINTER, generation, is_run, restore},
};
use crate::error::{Error, FileError};
use std::path::{Path, PathBuf};

/// A run's or pipeline's folder, for reading.
///
/// Example: [`crate::pipeline::class_names()`].
#[derive(Clone, Debug)]
pub struct RunFolder {
    pub(super) folder: PathBuf,
    /// The current generation's folder.
    generation: Option<PathBuf>,
    /// Whether the view is whole.
    whole: bool,
}

impl RunFolder {
    /// Opens the folder of a run: repairs what a break left there, if it can be written. Any other
    /// folder is left as it is.
    ///
    /// # Errors
    /// If the file that names the current generation is damaged.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        Self::open_on(&System, folder)
    }

    pub(super) fn open_on(disk: &dyn Disk, folder: &Path) -> Result<Self, Error> {
        let opened = |pointer: Option<Pointer>, whole| {
            let generation = pointer.map(|pointer| generation(folder, pointer.generation));
            Self { folder: folder.into(), generation, whole }
        };
        if !is_run(folder) {
            return Ok(opened(None, true));
        }
        match Lock::take(folder) {
            // The writer sees to the view; each of its files is whole at any time.
            Ok(None) => Ok(opened(Pointer::read(&folder.join(POINTER))?, true)),
            Ok(Some(_lock)) => match repair(disk, folder) {
                Err(Error::File(FileError { path, source })) => {
                    log::info!("{}: {source}; read as it is", path.display());
                    Ok(opened(Pointer::read(&folder.join(POINTER))?, false))
                }
                pointer => Ok(opened(pointer?, true)),
            },
            Err(error) => Err(FileError::at(folder)(error).into()),
        }
    }

    /// The path at which to read the file `name` of the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        let view = self.folder.join(name);
        match &self.generation {
            Some(generation) if !self.whole || !view.exists() => {
                let file = generation.join(name);
                if file.exists() { file } else { view }
            }
            _ => view,
        }
    }

    /// The files of the checkpoint whose contents somebody changed since it was written.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn edited(&self) -> Result<Vec<String>, Error> {
        let mut edited = Vec::new();
        let pointer = Pointer::read(&self.folder.join(POINTER))?;
        for (name, expected) in pointer.map(|pointer| pointer.files).unwrap_or_default() {
            let path = self.path(&name);
            if Fingerprint::of_file(&path).map_err(FileError::at(&path))? != Some(expected) {
                edited.push(name);
            }
        }
        Ok(edited)
    }

    /// Whether there is a checkpoint.
    pub fn holds_checkpoint(&self) -> bool {
        self.generation.is_some() || self.path("training/settings.json").exists()
    }
}

/// Restores a folder, and leaves no trace where no checkpoint ever became current.
fn repair(disk: &dyn Disk, folder: &Path) -> Result<Option<Pointer>, Error> {
    let pointer = restore(disk, folder)?;
    for folder in [folder.join(GENERATIONS), folder.join("training")] {
        if pointer.is_none() && entries(&folder)?.is_empty() {
            disk.remove(&folder).map_err(FileError::at(&folder))?;
        }
    }
    Ok(pointer)
}

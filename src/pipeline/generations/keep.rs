//! Copies of checkpoints: folders of their own, which open as runs do.
use super::{
    folder::RunFolder,
    paths::parent,
    pointer::{Pointer, to_json},
    view::{POINTER, generation},
};
use crate::error::{Error, FileError};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

impl RunFolder {
    /// Keeps the current checkpoint in another folder, which replaces what stands there: whole, or not at all. Its
    /// files are the same ones under a second name, or copies where the file system has no hard links; no checkpoint
    /// is ever changed, so neither is this.
    ///
    /// # Errors
    /// If there is no checkpoint, or the folder cannot be written.
    pub fn keep(&self, folder: &Path) -> Result<(), Error> {
        let pointer = Pointer::read(&self.folder.join(POINTER))?;
        let none = || FileError::at(&self.folder)(io::ErrorKind::NotFound.into());
        let pointer = pointer.ok_or_else(none)?;
        let [part, old] = [".part", ".old"].map(|ending| beside(folder, ending));
        Self::repair_kept(folder)?;
        // As a run has them: in the generation, and in the view.
        let number = pointer.generation;
        let views = [part.clone(), generation(&part, number)];
        for (name, view) in
            pointer.files.keys().flat_map(|name| views.each_ref().map(|of| (name, of)))
        {
            let (from, to) = (self.path(name), view.join(name));
            fs::create_dir_all(parent(&to)).map_err(FileError::at(&to))?;
            if fs::hard_link(&from, &to).is_err() {
                fs::copy(&from, &to).map_err(FileError::at(&to))?;
            }
        }
        let text = to_json(&pointer);
        fs::write(part.join(POINTER), text).map_err(FileError::at(&part))?;
        if folder.exists() {
            fs::rename(folder, &old).map_err(FileError::at(folder))?;
        }
        fs::rename(&part, folder).map_err(FileError::at(folder))?;
        remove(&old)
    }

    /// Undoes what a break left of [`RunFolder::keep`]: afterwards the folder holds the checkpoint before or after it.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn repair_kept(folder: &Path) -> Result<(), Error> {
        let [part, old] = [".part", ".old"].map(|ending| beside(folder, ending));
        if old.exists() && !folder.exists() {
            fs::rename(&old, folder).map_err(FileError::at(folder))?;
        }
        remove(&part)?;
        remove(&old)
    }
}

/// A folder whose name goes on.
fn beside(folder: &Path, ending: &str) -> PathBuf {
    let mut name = folder.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Removes a folder, if it is there.
fn remove(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError::at(folder)(error).into())
        }
        _ => Ok(()),
    }
}

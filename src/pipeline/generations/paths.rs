//! Paths and folders of a run.
use super::Disk;
use crate::error::{Error, FileError};
use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

/// Removes a file, or a folder with all that is in it.
pub fn remove_all(disk: &dyn Disk, path: &Path) -> Result<(), Error> {
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
        for entry in entries(path)? {
            remove_all(disk, &entry)?;
        }
    }
    Ok(disk.remove(path).map_err(FileError::at(path))?)
}

/// What is in a folder, in order; nothing, if there is no folder.
pub fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(FileError::at(folder))?,
    };
    let paths = entries.map(|entry| Ok(entry?.path()));
    let mut paths = paths.collect::<io::Result<Vec<_>>>().map_err(FileError::at(folder))?;
    paths.sort();
    Ok(paths)
}

pub fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// Where a file is written before it takes its place.
pub fn part(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".part");
    path.with_file_name(name)
}

/// A free name for somebody else's file.
pub fn kept(path: &Path) -> PathBuf {
    let named = |number: usize| {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(if number == 1 { ".kept".into() } else { format!(".kept-{number}") });
        path.with_file_name(name)
    };
    (1..).map(named).find(|path| fs::symlink_metadata(path).is_err()).unwrap_or_else(|| named(1))
}

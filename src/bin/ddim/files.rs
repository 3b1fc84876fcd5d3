//! Files that a command will write: tried early, so that no hour of work ends in a refusal.
use crate::failure::Failure;
use ddim::weights::write_file;
use std::{fs, path::Path};

/// Makes `folder` with those above it, and tries whether files can be written there.
pub fn prepare_folder(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| Failure::file(folder, error))?;
    tempfile::tempfile_in(folder).map_err(|error| Failure::file(folder, error))?;
    Ok(())
}

/// As [`prepare_folder`], for the folder of a file.
pub fn prepare_file(path: &Path) -> Result<(), Failure> {
    match path.metadata() {
        Ok(found) if found.is_dir() => {
            return Err(Failure::file(path, "is a folder, and a file is to be written there"));
        }
        Ok(found) if !found.is_file() => {
            return Err(Failure::file(path, "is a device or the like, and stays as it is"));
        }
        _ => {}
    }
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => prepare_folder(folder),
        _ => prepare_folder(Path::new(".")),
    }
}

/// Writes a whole file or none.
pub fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), Failure> {
    write_file(path, bytes.as_ref()).map_err(|error| Failure::file(path, error))
}

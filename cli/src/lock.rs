//! One process at a time writes to a run's folder.
use crate::failure::Failure;
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
};

/// The file that is locked. A process that dies leaves it, but not its lock.
const NAME: &str = ".ddim-lock";

/// The right to write to a folder, until it is dropped.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    /// Holds the lock as long as it is open.
    _file: File,
    /// Folders that were made for it, the deepest first.
    made: Vec<PathBuf>,
}

impl Lock {
    /// Locks a folder, and makes it if there is none.
    ///
    /// # Errors
    /// If another process writes there, or the folder or the file cannot be made.
    pub fn of(folder: &Path) -> Result<Self, Failure> {
        let missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
        let made = folder.ancestors().take_while(missing).map(Path::to_owned).collect();
        fs::create_dir_all(folder).map_err(|error| Failure::file(folder, error))?;
        let path = folder.join(NAME);
        let failed = |error: io::Error| Failure::file(&path, error);
        loop {
            let mut options = OpenOptions::new();
            let options = options.read(true).write(true).create(true).truncate(false);
            let mut file = options.open(&path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(in_use(folder, &mut file)),
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
                    log::warn!("{}: no locks on this file system", path.display());
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            // Whoever held it may have removed the file since it was opened.
            if is_at(&file, &path) {
                // Only a message depends on it.
                let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
                return Ok(Self { path, _file: file, made });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is locked, so that nobody locks a file that is about to go. What cannot be
        // removed does no harm, and folders that hold something stay.
        let _ = fs::remove_file(&self.path);
        for folder in &self.made {
            let _ = fs::remove_dir(folder);
        }
    }
}

fn in_use(folder: &Path, file: &mut File) -> Failure {
    let mut holder = String::new();
    // On some systems nobody else may read a locked file.
    let known = file.read_to_string(&mut holder).is_ok() && !holder.is_empty();
    let process = if known { format!("process {holder}") } else { "another process".to_owned() };
    Failure::file(folder, format!("{process} writes there now: wait for its end, or stop it"))
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |of: fs::Metadata| (of.dev(), of.ino());
    match (file.metadata(), path.metadata()) {
        (Ok(one), Ok(other)) => place(one) == place(other),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_locked_once_and_left_as_it_was() {
        let at = tempfile::tempdir().expect("a folder for the test");
        let folder = at.path().join("new/run");
        let lock = Lock::of(&folder).expect("nobody writes there");
        let error = Lock::of(&folder).expect_err("it is locked").line();
        let expected = format!("process {} writes there now", std::process::id());
        assert!(error.contains(&expected), "{error}");
        drop(lock);
        assert!(!at.path().join("new").exists());

        // As after `kill -9`: the file is there, its process is not.
        fs::create_dir_all(&folder).expect("room");
        fs::write(folder.join(NAME), "4194304").expect("room");
        let lock = Lock::of(&folder).expect("nobody writes there any more");
        assert!(Lock::of(&folder).is_err());
        drop(lock);
        assert!(folder.exists() && !folder.join(NAME).exists());
    }
}

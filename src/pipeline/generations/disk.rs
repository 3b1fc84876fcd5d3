//! The file operations that checkpoints are made of. They stand behind a trait so that tests can
//! fail each of them.
use std::{fs, io, io::Write, path::Path};

/// A file system.
pub(crate) trait Disk {
    /// Makes a folder, and those above it.
    fn create_folder(&self, path: &Path) -> io::Result<()>;
    /// Writes a file and waits until the disk has it.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Gives a file a second name, which must be free.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Copies a file and waits until the disk has the copy.
    fn copy(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file another name, in place of whatever file has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file or an empty folder. One that is not there is no error.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Waits until the disk has the names in a folder.
    fn sync(&self, folder: &Path) -> io::Result<()>;
}

/// The file system of this machine.
pub(crate) struct System;

impl Disk for System {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = fs::File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut file = fs::File::create(to)?;
        io::copy(&mut fs::File::open(from)?, &mut file)?;
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let found = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found?,
        };
        if found.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) }
    }

    fn sync(&self, folder: &Path) -> io::Result<()> {
        // A folder cannot be opened as a file on every system.
        #[cfg(unix)]
        fs::File::open(folder)?.sync_all()?;
        #[cfg(not(unix))]
        let _ = folder;
        Ok(())
    }
}

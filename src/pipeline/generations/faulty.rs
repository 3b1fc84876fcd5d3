//! The real file system with a fault at one operation.
use super::{Disk, System};
use std::{cell::Cell, fs, io, path::Path};

/// What becomes of the operation that fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Nothing fails.
    None,
    /// The process ends in its middle: nothing is done any more.
    Kill,
    /// The disk is full: nothing is written any more.
    Full,
    /// It alone fails.
    Once,
}

/// The real file system, with a fault at one operation.
pub struct Faulty {
    fault: Fault,
    at: usize,
    links: bool,
    /// Operations so far.
    pub done: Cell<usize>,
    /// The one that failed first.
    pub failed: Cell<Option<Operation>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Operation {
    CreateFolder,
    Write,
    Link,
    Rename,
    Remove,
    Sync,
}

impl Operation {
    fn needs_room(self) -> bool {
        matches!(self, Self::CreateFolder | Self::Write | Self::Link)
    }
}

impl Faulty {
    pub fn new(fault: Fault, at: usize, links: bool) -> Self {
        Self { fault, at, links, done: Cell::new(0), failed: Cell::new(None) }
    }

    /// Counts an operation; does a part of it where it is the one that fails.
    fn count(&self, operation: Operation, part: impl FnOnce()) -> io::Result<()> {
        let number = self.done.get();
        self.done.set(number + 1);
        let fails = match self.fault {
            Fault::None => false,
            Fault::Kill => number >= self.at,
            Fault::Full => number == self.at || (operation.needs_room() && number > self.at),
            Fault::Once => number == self.at,
        };
        if !fails {
            return Ok(());
        }
        if number == self.at {
            part();
            self.failed.set(Some(operation));
        }
        Err(io::Error::from(io::ErrorKind::StorageFull))
    }
}

impl Disk for Faulty {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.count(Operation::CreateFolder, || ())?;
        fs::create_dir_all(path)
    }

    // Half of it is written; or all, and the disk has it not.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let half = || fs::write(path, &bytes[..bytes.len() / 2]).expect("room");
        self.count(Operation::Write, half)?;
        fs::write(path, bytes)?;
        self.count(Operation::Write, || ())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        if !self.links {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.count(Operation::Link, || ())?;
        fs::hard_link(from, to)
    }

    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.write(to, &fs::read(from)?)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.count(Operation::Rename, || ())?;
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if path.exists() {
            self.count(Operation::Remove, || ())?;
        }
        System.remove(path)
    }

    fn sync(&self, _: &Path) -> io::Result<()> {
        self.count(Operation::Sync, || ())
    }
}

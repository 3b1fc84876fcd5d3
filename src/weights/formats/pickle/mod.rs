//! Python's pickle, as PyTorch writes it (protocols 0 to 5), read as data: tensors, numbers, text, lists and dicts.
//!
//! A pickle is a program for a stack machine that may call any function of Python. This machine calls three
//! functions that it has itself, and refuses every other call by name. A class that is only named is kept as a name.
mod bytes;
mod functions;
mod machine;
mod values;

pub(super) use bytes::PickleError;
pub(super) use values::{Id, Object, Storage, View};

use std::io::BufRead;

/// The objects of a pickle.
#[derive(Debug)]
pub(super) struct Pickle {
    objects: Vec<Object>,
    root: Id,
}

impl Pickle {
    /// Reads one pickle, up to its end and no further.
    pub fn read(bytes: &mut dyn BufRead) -> Result<Self, PickleError> {
        let (objects, root) = machine::Machine::new(bytes).run()?;
        Ok(Self { objects, root })
    }

    /// The object that the pickle is.
    pub fn root(&self) -> &Object {
        self.get(self.root)
    }

    /// An object.
    pub fn get(&self, id: Id) -> &Object {
        &self.objects[id.0 as usize]
    }

    /// All objects, in the order in which they were made.
    pub fn objects(&self) -> &[Object] {
        &self.objects
    }
}

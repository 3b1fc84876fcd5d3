//! The one small file that decides which generation of a run's files counts.
use crate::{
    error::{Error, FileError, TrainingError},
    files,
};
use flate2::CrcReader;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io,
    path::{Component, Path},
};

/// Size and checksum of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fingerprint {
    bytes: u64,
    crc32: u32,
}

impl Fingerprint {
    pub fn of_bytes(bytes: &[u8]) -> Self {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        Self { bytes: bytes.len() as u64, crc32: crc.sum() }
    }

    /// That of a file, `None` if there is none.
    pub fn of_file(path: &Path) -> io::Result<Option<Self>> {
        let file = match files::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut reader = CrcReader::new(file);
        let bytes = io::copy(&mut reader, &mut io::sink())?;
        Ok(Some(Self { bytes, crc32: reader.crc().sum() }))
    }
}

/// Files by their paths below the run's folder.
pub(super) type Files = BTreeMap<String, Fingerprint>;

/// Which generation counts, and what its files look like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pointer {
    /// Counted from 1.
    pub(super) generation: u64,
    /// Its files.
    pub(super) files: Files,
}

impl Pointer {
    /// Reads the file, if it is there.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, Error> {
        match files::read_json(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FileError::at(path)(error).into()),
            Ok(text) => Ok(Some(Self::parse(path, &text)?)),
        }
    }

    /// Reads the text of the file; `path` is for the error alone.
    ///
    /// # Errors
    /// If it is none, or names a file that is not below the folder.
    pub fn parse(path: &Path, text: &str) -> Result<Self, TrainingError> {
        let refuse = |message: String| TrainingError::Checkpoint { path: path.into(), message };
        let pointer: Self = files::parse_object(text).map_err(|error| refuse(error.to_string()))?;
        if let Some(name) = outside(&pointer.files) {
            return Err(refuse(format!("files: expected paths below the folder, found {name:?}")));
        }
        if !(1..1 << 53).contains(&pointer.generation) {
            let found = pointer.generation;
            return Err(refuse(format!("generation: expected 1 to 2^53, found {found}")));
        }
        Ok(pointer)
    }
}

/// The first of the files that is not below the folder.
fn outside(files: &Files) -> Option<&String> {
    files.keys().find(|name| {
        let mut parts = Path::new(name.as_str()).components();
        name.is_empty() || !parts.all(|part| matches!(part, Component::Normal(_)))
    })
}

/// The files that a generation noted of the one before; none if the note is missing or damaged.
pub(super) fn read_files(path: &Path) -> Files {
    let text = files::read_json(path).unwrap_or_default();
    let files: Files = files::parse_object(&text).unwrap_or_default();
    if outside(&files).is_some() { Files::new() } else { files }
}

pub(super) fn to_json(of: &impl Serialize) -> String {
    serde_json::to_string_pretty(of).expect("numbers with string keys are JSON") + "\n"
}

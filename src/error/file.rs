//! What the system says of a file.
use std::{
    io,
    path::{Path, PathBuf},
};

/// A file or folder that could not be read or written.
///
/// ```
/// use ddim::{error::FileError, files};
/// use std::path::Path;
///
/// let path = Path::new("no/such/model.json");
/// let refused = files::read_json(path).map_err(FileError::at(path)).expect_err("no such file");
/// assert_eq!(refused.path, path);
/// assert!(refused.to_string().starts_with("no/such/model.json: "));
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct FileError {
    /// The file or folder.
    pub path: PathBuf,
    /// The system's words.
    pub source: io::Error,
}

impl FileError {
    /// Says of an error that it is about the file at `path`.
    pub fn at(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        move |source| Self { path: path.into(), source }
    }
}

//! Input files, which are not trusted: regular files of a bounded size. Output files, which are never half-written.
//!
//! Opening a FIFO waits for a writer, and `/dev/zero` has no end. So every reader of this crate
//! opens its files here.
//!
//! ```
//! use ddim::files;
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("settings.json");
//! files::write_file(&path, br#"{"steps": 50}"#)?;
//! assert_eq!(files::read_json(&path)?, r#"{"steps": 50}"#);
//! assert!(files::read(&path, 4).is_err(), "it has more than 4 bytes");
//! assert!(files::read_text(folder.path()).is_err(), "it is a folder");
//! # Ok::<(), std::io::Error>(())
//! ```
mod json;
mod write;

pub use json::{excerpt, parse_object};
pub(crate) use json::{parse_config, warn_of_others, warn_of_unknown};
pub use write::{remove_parts, write_file};

use std::{
    fs::{File, Metadata},
    io::{self, Error, ErrorKind, Read},
    path::Path,
};

/// Largest JSON file that describes a model, a run or a case, in bytes. A number of two letters may
/// take 32 bytes once it is read.
///
/// Example: [`crate::files::read()`].
pub const JSON_LIMIT: u64 = 1 << 20;

/// Largest file of other text, such as CSV, in bytes.
///
/// Example: [`crate::files::read()`].
pub const TEXT_LIMIT: u64 = 16 << 20;

/// Largest picture that is read or written unless the caller asks for more, in pixels: 64 megapixels.
///
/// Example: [`crate::error::PictureError`].
pub const MAX_PIXELS: u64 = 64 << 20;

/// The file by which the folder of a model is known.
pub(crate) const MODEL_INDEX: &str = "model_index.json";

/// Opens a regular file.
///
/// # Errors
/// If there is none of that name, or a folder, FIFO, device or socket.
///
/// ```
/// use ddim::files;
/// use std::io::Read;
///
/// let folder = tempfile::tempdir()?;
/// let (path, mut first) = (folder.path().join("numbers"), [0; 2]);
/// files::write_file(&path, &[1, 2, 3])?;
/// files::open(&path)?.read_exact(&mut first)?;
/// assert_eq!(first, [1, 2]);
/// assert!(files::open(folder.path()).is_err(), "it is a folder");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn open(path: &Path) -> io::Result<File> {
    // Before the file is opened: opening a FIFO may wait for ever.
    check(&path.metadata()?)?;
    let file = File::open(path)?;
    check(&file.metadata()?)?;
    Ok(file)
}

/// The bytes of a regular file.
///
/// # Errors
/// As [`open`], or if the file has more than `limit` bytes.
///
/// ```
/// use ddim::files::{self, JSON_LIMIT, TEXT_LIMIT};
///
/// let folder = tempfile::tempdir()?;
/// let (path, text) = (folder.path().join("losses.csv"), vec![b'0'; JSON_LIMIT as usize + 1]);
/// files::write_file(&path, &text)?;
/// assert_eq!(files::read(&path, TEXT_LIMIT)?, text);
/// assert!(files::read(&path, JSON_LIMIT).is_err(), "it has a byte too many");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let size = file.metadata()?.len();
    if size > limit {
        return Err(too_large(limit, size));
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(usize::try_from(size).unwrap_or(usize::MAX))?;
    // A file may grow while it is read, and some of `/proc` say that they are empty.
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 {
        size if size > limit => Err(too_large(limit, size)),
        _ => Ok(bytes),
    }
}

/// Reads at a place of a file, whose own place stays unless the system has no such reading.
pub(crate) fn read_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_at(file, bytes, at);
    #[cfg(windows)]
    return std::os::windows::fs::FileExt::seek_read(file, bytes, at);
    // A browser has no files: opening one has failed before.
    #[cfg(not(any(unix, windows)))]
    {
        let mut file = file;
        io::Seek::seek(&mut file, io::SeekFrom::Start(at))?;
        io::Read::read(&mut file, bytes)
    }
}

/// Fills `bytes` from a place of a file.
#[cfg(feature = "pictures")]
pub(crate) fn read_exact_at(file: &File, mut bytes: &mut [u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match read_at(file, bytes, at) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                at += read as u64;
                bytes = &mut bytes[read..];
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The text of a regular file of at most [`TEXT_LIMIT`] bytes.
///
/// # Errors
/// As [`read`], or if the bytes are not UTF-8.
///
/// Example: [`crate::files`].
pub fn read_text(path: &Path) -> io::Result<String> {
    text(read(path, TEXT_LIMIT)?)
}

/// The text of a regular file of at most [`JSON_LIMIT`] bytes.
///
/// # Errors
/// As [`read_text`].
///
/// Example: [`crate::files`].
pub fn read_json(path: &Path) -> io::Result<String> {
    text(read(path, JSON_LIMIT)?)
}

fn text(bytes: Vec<u8>) -> io::Result<String> {
    // Editors of Windows begin UTF-8 with a mark.
    let bytes = match bytes.strip_prefix(b"\xef\xbb\xbf") {
        Some(rest) => rest.to_vec(),
        None => bytes,
    };
    String::from_utf8(bytes)
        .map_err(|error| Error::new(ErrorKind::InvalidData, format!("not text: {error}")))
}

fn too_large(limit: u64, size: u64) -> Error {
    let text = format!("expected at most {limit} bytes, found {size}");
    Error::new(ErrorKind::FileTooLarge, text)
}

fn check(found: &Metadata) -> io::Result<()> {
    if found.is_file() {
        return Ok(());
    }
    let text = format!("expected a regular file, found {}", kind(found));
    Err(Error::new(ErrorKind::InvalidInput, text))
}

/// What a path leads to, where it is no regular file.
fn kind(found: &Metadata) -> &'static str {
    if found.is_dir() {
        return "a folder";
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let kind = found.file_type();
        if kind.is_fifo() {
            return "a FIFO";
        } else if kind.is_socket() {
            return "a socket";
        } else if kind.is_char_device() || kind.is_block_device() {
            return "a device";
        }
    }
    "something else"
}

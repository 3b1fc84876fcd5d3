//! Files that a command will write: tried early, so that no hour of work ends in a refusal, and so
//! that nothing is replaced that this command did not write.
use crate::failure::Failure;
use ddim::{
    files::{open, read, remove_parts, write_file},
    pictures::Picture,
};
use std::{
    fs,
    io::{ErrorKind, Read},
    path::Path,
};

/// How the JSON files begin that are no other program's.
pub const JSON: &str = "{\n  \"software\": \"ddim\"";

/// Bytes at the beginning of a file in which its sign stands.
const HEAD: u64 = 4096;

/// Makes `folder` with those above it, removes the halves of files that a break left there, and
/// tries whether files can be written. For folders that this process alone writes to.
pub fn prepare_own_folder(folder: &Path) -> Result<(), Failure> {
    prepare_folder(folder)?;
    remove_parts(folder).map_err(|error| Failure::file(folder, error))
}

/// Makes `folder` with those above it, and tries whether files can be written there.
pub fn prepare_folder(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| Failure::file(folder, error))?;
    tempfile::tempfile_in(folder).map_err(|error| Failure::file(folder, error))?;
    Ok(())
}

/// As [`prepare_folder`], for the folder of a file. A file that is there must bear the `sign` of
/// the command's own, unless it may be overwritten.
pub fn prepare_file(path: &Path, sign: &str, overwrite: bool) -> Result<(), Failure> {
    if path.as_os_str() == "-" {
        let text = "standard output takes no file: give a name (./- for one of this name)";
        return Err(Failure::file(path, text));
    }
    if path.to_string_lossy().ends_with(std::path::is_separator) {
        return Err(Failure::file(
            path,
            "names a folder, and a file is to be written: add its name",
        ));
    }
    match path.metadata() {
        Ok(found) if found.is_dir() => {
            return Err(Failure::file(path, "is a folder, and a file is to be written there"));
        }
        Ok(found) if !found.is_file() => {
            return Err(Failure::file(path, "is a device or the like, and stays as it is"));
        }
        _ if !overwrite && is_there(path) && !is_ours(path, sign) => {
            return Err(not_ours(path));
        }
        _ => {}
    }
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => prepare_folder(folder),
        _ => prepare_folder(Path::new(".")),
    }
}

/// Endings of other formats than PNG.
const OTHERS: [&str; 8] = ["jpg", "jpeg", "gif", "webp", "bmp", "tif", "tiff", "svg"];

/// As [`prepare_file`], for a picture: it will be PNG.
pub fn prepare_picture(path: &Path, overwrite: bool) -> Result<(), Failure> {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    if OTHERS.contains(&ending.as_str()) {
        return Err(Failure::file(path, "pictures are written as PNG: end the name in .png"));
    }
    prepare_file(path, Picture::SIGN, overwrite)
}

/// Whether a file begins as those that this command writes, with its sign.
pub fn is_ours(path: &Path, sign: &str) -> bool {
    let mut head = Vec::new();
    let read = open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    read.is_ok() && head.windows(sign.len()).any(|bytes| bytes == sign.as_bytes())
}

/// As [`prepare_folder`], for files of these names, the first of which bears the `sign` if the
/// command wrote them all.
pub fn claim(folder: &Path, names: &[&str], sign: &str, overwrite: bool) -> Result<(), Failure> {
    let ours = names.first().is_some_and(|name| is_ours(&folder.join(name), sign));
    if !overwrite && !ours {
        refuse_taken(folder, names)?;
    }
    prepare_folder(folder)
}

/// Refuses a folder in which one of these names is taken.
pub fn refuse_taken(folder: &Path, names: &[&str]) -> Result<(), Failure> {
    let mut paths = names.iter().map(|name| folder.join(name));
    paths.find(|path| is_there(path)).map_or(Ok(()), |path| Err(not_ours(&path)))
}

/// Also where a link leads nowhere.
fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn not_ours(path: &Path) -> Failure {
    let text = "is there, and this command did not write it: choose another place, or let it be \
                replaced by --overwrite";
    Failure::file(path, text)
}

/// The text of a file of at most `limit` bytes, if it is there.
pub fn read_text(path: &Path, limit: u64) -> Result<Option<String>, Failure> {
    match read(path, limit) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::file(path, error)),
        Ok(bytes) => String::from_utf8(bytes).map(Some).map_err(|error| Failure::file(path, error)),
    }
}

/// Removes a file, or a folder with all that is in it, if it is there.
pub fn remove(path: &Path) -> Result<(), Failure> {
    let removed = match path.symlink_metadata() {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        found => found.and_then(|_| fs::remove_file(path)),
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Failure::file(path, error)),
        _ => Ok(()),
    }
}

/// Writes a whole file or none.
pub fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), Failure> {
    write_file(path, bytes.as_ref()).map_err(|error| Failure::file(path, error))
}

/// Lets a write beyond `ulimit -f` fail, as on a full disk, instead of ending the program without a
/// word.
pub fn let_writes_fail() {
    #[cfg(unix)]
    {
        // A signal that is handled ends nothing; what the handler sets is of no interest.
        let heard = std::sync::Arc::default();
        if let Err(error) = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, heard) {
            log::warn!("SIGXFSZ: {error}");
        }
    }
}

//! Files that are whole or absent.
use std::io::{self, Write};
use std::path::Path;

/// Temporary files are named `.XXXXXX.part`.
const PREFIX: &str = ".";
const SUFFIX: &str = ".part";

/// Removes the files in a folder that [`write_file`] was writing when its process was killed.
///
/// # Errors
/// If the folder cannot be listed, or a file not be removed.
///
/// ```
/// use ddim::files;
///
/// let folder = tempfile::tempdir()?;
/// std::fs::write(folder.path().join(".aB3xY9.part"), "half a fi")?;
/// files::write_file(&folder.path().join("whole.txt"), b"a whole file")?;
/// files::remove_parts(folder.path())?;
/// assert_eq!(std::fs::read_dir(folder.path())?.count(), 1);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn remove_parts(folder: &Path) -> io::Result<()> {
    let is_part = |name: &str| {
        let random = name.strip_prefix(PREFIX).and_then(|name| name.strip_suffix(SUFFIX));
        random
            .is_some_and(|of| of.len() == 6 && of.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    };
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(is_part) && entry.file_type()?.is_file() {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Writes `bytes` beside `path`, waits until the disk has them, and renames: whoever opens `path`
/// finds the old file or the new one, never a part, also after a full disk or a power cut.
///
/// # Errors
/// If the folder does not exist, `path` is something else than a file, or the system refuses; then
/// `path` is untouched.
///
/// Example: [`crate::files`].
pub fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A rename would put a file in place of a device or a socket.
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file: left as it is"));
    }
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        // As for any new file: what the user's umask leaves of this.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.prefix(PREFIX).suffix(SUFFIX).tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    // The rename itself; a folder cannot be opened as a file on every system.
    #[cfg(unix)]
    std::fs::File::open(folder)?.sync_all()?;
    Ok(())
}

//! The idx files of MNIST and its likes: a big-endian magic number and extents, then bytes.
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::{DataError, Dataset, Split};
use crate::files;

/// The name of the file that holds the images of a part.
pub(super) fn images(split: Split) -> &'static str {
    match split {
        Split::Train => "train-images-idx3-ubyte",
        Split::Test => "t10k-images-idx3-ubyte",
    }
}

/// The images in `folder` and their labels, if there are idx files: the training part, or the
/// test part where it stands alone.
pub(super) fn open(folder: &Path) -> Result<Option<Dataset>, DataError> {
    match open_part(folder, Split::Train)? {
        Some(dataset) => Ok(Some(dataset)),
        None => open_part(folder, Split::Test),
    }
}

/// The images of a part and their labels, if it is there.
pub(super) fn open_part(folder: &Path, split: Split) -> Result<Option<Dataset>, DataError> {
    let name = images(split);
    let Some(path) = find(folder, name) else { return Ok(None) };
    let ([count, height, width], pixels) = read::<3>(&path)?;
    let labels = match find(folder, &name.replace("images-idx3", "labels-idx1")) {
        Some(path) => {
            let ([labels], bytes) = read::<1>(&path)?;
            if labels != count {
                return Err(DataError::Format {
                    path,
                    expected: format!("{count} labels"),
                    found: labels.to_string(),
                });
            }
            Some(bytes)
        }
        None => None,
    };
    let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy();
    Dataset::from_pixels(&name, [height, width, 1], pixels, labels).map(Some)
}

/// The file of this name, packed or not.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    [format!("{name}.gz"), name.into()]
        .map(|name| folder.join(name))
        .into_iter()
        .find(|path| path.exists())
}

/// Extents and bytes of an idx file with this many axes.
fn read<const AXES: usize>(path: &Path) -> Result<([usize; AXES], Vec<u8>), DataError> {
    let failed = |source| DataError::Read { path: path.into(), source };
    let file = BufReader::new(files::open(path).map_err(failed)?);
    let packed = path.extension().is_some_and(|extension| extension == "gz");
    let mut reader: Box<dyn Read> =
        if packed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };

    let wrong =
        |expected: String, found: String| DataError::Format { path: path.into(), expected, found };
    // Bytes up to the limit, fewer where the file or its packing ends early.
    let mut take = |limit: u64| {
        let mut bytes = Vec::new();
        match reader.by_ref().take(limit).read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(bytes),
            Err(error) => Err(failed(error)),
        }
    };
    let header = take(4 + 4 * AXES as u64)?;
    let (words, _) = header.as_chunks::<4>();
    let words: Vec<u32> = words.iter().map(|bytes| u32::from_be_bytes(*bytes)).collect();
    let magic = 0x800 + AXES as u32;
    match words.first() {
        Some(found) if *found == magic => {}
        Some(found) => {
            return Err(wrong(format!("magic number {magic:#x}"), format!("{found:#x}")));
        }
        None => {
            return Err(wrong(format!("magic number {magic:#x}"), "the end of the file".into()));
        }
    }
    let extents: [usize; AXES] = words[1..]
        .iter()
        .map(|word| *word as usize)
        .collect::<Vec<_>>()
        .try_into()
        .map_err(|_| wrong(format!("{AXES} extents"), "the end of the file".into()))?;
    let expected =
        extents.iter().try_fold(1u64, |product, extent| product.checked_mul(*extent as u64));
    let Some(expected) = expected.filter(|bytes| (1..u64::MAX).contains(bytes)) else {
        return Err(wrong("extents above 0 that fit a file".into(), format!("{extents:?}")));
    };
    let bytes = take(expected + 1)?;
    if bytes.len() as u64 != expected {
        let found =
            if bytes.len() as u64 > expected { "more".into() } else { bytes.len().to_string() };
        return Err(wrong(format!("{expected} bytes after the header"), found));
    }
    Ok((extents, bytes))
}

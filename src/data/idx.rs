//! The idx files of MNIST and its likes: a big-endian magic number and extents, then bytes.
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::{Dataset, Split};
use crate::{
    error::{DataError, FileError},
    files,
};

/// How a packed file begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// How many times its own size a packed file may hold. MNIST's hold five times; the most that the
/// format can is a thousand.
const LARGEST_RATIO: u64 = 100;

/// What any packed file may hold, in bytes.
const SMALL: u64 = 64 << 20;

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
    let images = read(&path)?;
    let labels = match find(folder, &name.replace("images-idx3", "labels-idx1")) {
        Some(path) => Some((read(&path)?, path)),
        None => None,
    };
    let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy();
    labelled(&name, images, labels).map(Some)
}

/// Extents and bytes of the labels, and where they are from.
type Labels = (([usize; 1], Vec<u8>), PathBuf);

/// Images and their labels.
fn labelled(
    name: &str,
    ([count, height, width], pixels): ([usize; 3], Vec<u8>),
    labels: Option<Labels>,
) -> Result<Dataset, DataError> {
    let labels = match labels {
        Some((([labels], _), path)) if labels != count => {
            let (expected, found) = (format!("{count} labels"), labels.to_string());
            return Err(DataError::Format { path, expected, found });
        }
        labels => labels.map(|((_, bytes), _)| bytes),
    };
    Dataset::from_pixels(name, [height, width, 1], pixels, labels)
}

impl Dataset {
    /// Images and perhaps their labels from the bytes of idx files, packed with gzip or not.
    ///
    /// # Errors
    /// If they are damaged, hold more than 64 MiB and a hundred times what is packed, or not one
    /// label for each image. The errors call the parts `images` and `labels`.
    pub fn from_idx(name: &str, images: &[u8], labels: Option<&[u8]>) -> Result<Self, DataError> {
        let labels = match labels {
            Some(bytes) => Some((parse_bytes("labels", bytes)?, "labels".into())),
            None => None,
        };
        labelled(name, parse_bytes("images", images)?, labels)
    }
}

/// The file of this name, packed or not; else one whose name differs in case and separators alone,
/// as unpackers and mirrors write it (`train-images.idx3-ubyte`).
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let exact = [format!("{name}.gz"), name.into()].map(|name| folder.join(name));
    let is_file = |path: &PathBuf| path.metadata().is_ok_and(|found| !found.is_dir());
    exact.into_iter().find(is_file).or_else(|| {
        let others = std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
        others.filter(|path| is_spelling(path, name) && is_file(path)).min()
    })
}

fn is_spelling(path: &Path, name: &str) -> bool {
    let found = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let found = found.strip_suffix(".gz").unwrap_or(&found);
    found.replace(['.', '_', ' '], "-") == name
}

/// Extents and bytes of an idx file with this many axes.
fn read<const AXES: usize>(path: &Path) -> Result<([usize; AXES], Vec<u8>), DataError> {
    let failed = FileError::at(path);
    let file = files::open(path).map_err(&failed)?;
    let size = file.metadata().map_err(&failed)?.len();
    let mut file = BufReader::new(file);
    let packed = file.fill_buf().map_err(&failed)?.starts_with(&GZIP);
    parse(path, file, size, packed)
}

/// Extents and bytes of an idx file of `size` bytes, packed or not, with this many axes; `path` is
/// for the errors alone. Nothing is allocated that the file could not fill.
fn parse<const AXES: usize>(
    path: &Path,
    file: impl BufRead,
    size: u64,
    packed: bool,
) -> Result<([usize; AXES], Vec<u8>), DataError> {
    let failed = FileError::at(path);
    let limit = if packed { size.saturating_mul(LARGEST_RATIO).max(SMALL) } else { size };
    let mut reader: Box<dyn Read> =
        if packed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };

    let wrong =
        |expected: String, found: String| DataError::Format { path: path.into(), expected, found };
    // Fewer bytes where the file or its packing ends early.
    let mut fill =
        |bytes: &mut Vec<u8>, count: u64| match reader.by_ref().take(count).read_to_end(bytes) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(()),
            Err(error) => Err(DataError::from(failed(error))),
        };
    let mut header = Vec::new();
    fill(&mut header, 4 + 4 * AXES as u64)?;
    let (words, _) = header.as_chunks::<4>();
    let words: Vec<u32> = words.iter().map(|bytes| u32::from_be_bytes(*bytes)).collect();
    let magic = 0x800 + AXES as u32;
    if words.first() != Some(&magic) {
        let found = words.first().map_or("the end of the file".into(), |of| format!("{of:#x}"));
        return Err(wrong(format!("magic number {magic:#x}"), found));
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
    if expected > limit {
        let file = if packed { "packed into" } else { "in a file of" };
        let expected = format!("extents of at most {limit} bytes, {file} {size}");
        return Err(wrong(expected, format!("{extents:?}")));
    }
    let mut bytes = Vec::new();
    // One more, to see whether the file goes on. What is packed may end early.
    let room = if packed { (expected + 1).min(SMALL / 4) } else { expected + 1 };
    let capacity = usize::try_from(room).unwrap_or(usize::MAX);
    bytes.try_reserve_exact(capacity).map_err(|error| failed(error.into()))?;
    fill(&mut bytes, expected + 1)?;
    if bytes.len() as u64 != expected {
        let found =
            if bytes.len() as u64 > expected { "more".into() } else { bytes.len().to_string() };
        return Err(wrong(format!("{expected} bytes after the header"), found));
    }
    Ok((extents, bytes))
}

/// The same from bytes, packed if they begin so.
fn parse_bytes<const AXES: usize>(
    name: &str,
    bytes: &[u8],
) -> Result<([usize; AXES], Vec<u8>), DataError> {
    parse(Path::new(name), bytes, bytes.len() as u64, bytes.starts_with(&GZIP))
}

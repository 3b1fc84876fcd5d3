//! NumPy's archives of arrays, as `numpy.savez` and `numpy.savez_compressed` write them: images as bytes
//! `[count, height, width]` or `[count, height, width, channels]`, and perhaps whole numbers as labels.
//!
//! An array is a file `NAME.npy` of the archive: `\x93NUMPY`, two bytes of version, the length of the header in two
//! bytes or four, and the header, a Python dictionary (<https://numpy.org/neps/nep-0001-npy-format.html>).
use super::{Dataset, Split, dataset::name_of};
use crate::{
    error::{DataError, FileError},
    files::{self, excerpt},
};
use std::{
    io::{BufReader, Cursor, Read, Seek},
    path::Path,
};
use zip::{ZipArchive, result::ZipError};

/// Names of the images, then of their labels, in the order in which they are looked for.
const TRAIN: [[&str; 5]; 2] = [
    ["images", "x", "x_train", "train_images", "arr_0"],
    ["labels", "y", "y_train", "train_labels", "arr_1"],
];
const TEST: [[&str; 5]; 2] = [
    ["x_test", "test_images", "images", "x", "arr_0"],
    ["y_test", "test_labels", "labels", "y", "arr_1"],
];

/// Longest header.
const HEADER: u64 = 1 << 16;

/// How many times its packed size an array may have, and what any may have, in bytes.
const LARGEST_RATIO: u64 = 100;
const SMALL: u64 = 64 << 20;

/// An array of whole numbers.
struct Array {
    kind: String,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// The images of an archive and their labels.
pub(super) fn open(path: &Path, split: Option<Split>) -> Result<Dataset, DataError> {
    let file = files::open(path).map_err(FileError::at(path))?;
    parse(path, BufReader::new(file), split)
}

impl Dataset {
    /// Images and perhaps their labels from the bytes of NumPy's archive.
    ///
    /// # Errors
    /// If it is damaged, holds no images, or more than 64 MiB and a hundred times what is packed; the errors call it
    /// `name`.
    pub fn from_npz(name: &str, bytes: &[u8], split: Option<Split>) -> Result<Self, DataError> {
        parse(Path::new(name), Cursor::new(bytes), split)
    }
}

/// The same from its bytes; `path` is for the errors alone.
fn parse(path: &Path, file: impl Read + Seek, split: Option<Split>) -> Result<Dataset, DataError> {
    let wrong = |expected: &str, found: String| DataError::Format {
        path: path.into(),
        expected: expected.into(),
        found,
    };
    let mut archive = ZipArchive::new(file).map_err(|error| damaged(path, error))?;
    let files: Vec<String> =
        archive.file_names().filter_map(|name| Some(name.ok()?.into_owned())).collect();
    let has = |name: &&str| files.contains(&format!("{name}.npy"));
    let names = if split == Some(Split::Test) { TEST } else { TRAIN };
    let [images, labels] = names.map(|names| names.into_iter().find(has));
    let Some(images) = images else {
        let expected = format!(
            "a folder, or an archive of NumPy's arrays with images named {}",
            names[0].join(", ")
        );
        return Err(wrong(&expected, format!("an archive with {}", excerpt(&files.join(", ")))));
    };
    let Array { kind, shape, bytes } = array(path, &mut archive, images)?;
    let kept = match shape[..] {
        [_, height, width] => Some([height, width, 1]),
        [_, height, width, channels @ (1 | 3)] => Some([height, width, channels]),
        _ => None,
    };
    let Some(extents) = kept.filter(|_| kind == "|u1") else {
        let expected =
            "images as bytes (uint8) of [count, height, width] or [count, height, width, 1 or 3]";
        return Err(wrong(expected, format!("{images} of {kind} {shape:?}")));
    };
    let labels = match labels {
        Some(name) => Some(bytes_of(path, name, array(path, &mut archive, name)?)?),
        None => None,
    };
    if let Some(labels) = labels.as_ref().filter(|labels| labels.len() != shape[0]) {
        return Err(wrong(&format!("{} labels", shape[0]), labels.len().to_string()));
    }
    Dataset::from_pixels(&name_of(path), extents, bytes, labels)
}

fn damaged(path: &Path, error: ZipError) -> DataError {
    let (path, found) = (path.into(), format!("a file: {error}"));
    let expected = "a folder, or an archive of NumPy's arrays (.npz)".into();
    DataError::Format { path, expected, found }
}

/// Labels of any whole type as bytes.
fn bytes_of(path: &Path, name: &str, array: Array) -> Result<Vec<u8>, DataError> {
    let Array { kind, shape, bytes } = array;
    let wrong = |found: String| DataError::Format {
        path: path.into(),
        expected: format!("{name} as whole numbers from 0 to 255, one for each image"),
        found,
    };
    let width = kind.get(2..).and_then(|width| width.parse::<usize>().ok());
    let whole = matches!(kind.as_bytes().get(1), Some(b'i' | b'u'));
    let flat = matches!(shape[..], [_] | [_, 1]);
    let Some(width) = width.filter(|width| (1..=8).contains(width) && whole && flat) else {
        return Err(wrong(format!("{kind} {shape:?}")));
    };
    let number = |element: &[u8]| {
        let mut element = element.to_vec();
        if kind.starts_with('>') {
            element.reverse();
        }
        match element[1..].iter().all(|byte| *byte == 0) {
            // A signed byte of 128 or more is below 0.
            true if width > 1 || kind.as_bytes()[1] == b'u' || element[0] < 128 => Ok(element[0]),
            _ => Err(wrong(format!("{element:?}, lowest byte first"))),
        }
    };
    bytes.chunks_exact(width).map(number).collect()
}

/// Reads an array of the archive.
fn array(
    path: &Path,
    archive: &mut ZipArchive<impl Read + Seek>,
    name: &str,
) -> Result<Array, DataError> {
    let failed = FileError::at(path);
    let wrong = |expected: String, found: String| DataError::Format {
        path: path.join(format!("{name}.npy")),
        expected,
        found,
    };
    let mut file = archive.by_name(&format!("{name}.npy")).map_err(|error| damaged(path, error))?;
    let limit = file.compressed_size().saturating_mul(LARGEST_RATIO).max(SMALL);
    let mut begin = [0; 8];
    file.read_exact(&mut begin).map_err(&failed)?;
    if !begin.starts_with(b"\x93NUMPY") {
        return Err(wrong("an array of NumPy".into(), "another file".into()));
    }
    let mut length = [0; 4];
    let digits = if begin[6] == 1 { 2 } else { 4 };
    file.read_exact(&mut length[..digits]).map_err(&failed)?;
    let length = u64::from(u32::from_le_bytes(length));
    let mut header = String::new();
    file.by_ref().take(length.min(HEADER)).read_to_string(&mut header).map_err(&failed)?;
    let Some((kind, shape)) = parse_header(&header) else {
        let expected = "a header with descr, fortran_order False and shape";
        return Err(wrong(expected.into(), excerpt(&header)));
    };
    let width = kind.get(2..).and_then(|width| width.parse::<u64>().ok());
    let mut extents = shape.iter().map(|extent| *extent as u64);
    let expected =
        width.and_then(|width| extents.try_fold(width, |product, of| product.checked_mul(of)));
    let Some(expected) = expected.filter(|bytes| (1..=limit).contains(bytes)) else {
        let of = format!("1 to {limit} bytes, packed into {}", file.compressed_size());
        return Err(wrong(of, format!("{kind} {shape:?}")));
    };
    let mut bytes = Vec::new();
    file.take(expected + 1).read_to_end(&mut bytes).map_err(&failed)?;
    if bytes.len() as u64 != expected {
        return Err(wrong(format!("{expected} bytes after the header"), bytes.len().to_string()));
    }
    Ok(Array { kind, shape, bytes })
}

/// Type and extents of a header such as `{'descr': '|u1', 'fortran_order': False, 'shape': (3, 28, 28), }`.
fn parse_header(header: &str) -> Option<(String, Vec<usize>)> {
    let after =
        |key: &str| Some(header.split_once(key)?.1.trim_start().strip_prefix(':')?.trim_start());
    let kind = after("'descr'")?.strip_prefix('\'')?.split_once('\'')?.0;
    after("'fortran_order'")?.strip_prefix("False")?;
    let shape = after("'shape'")?.strip_prefix('(')?.split_once(')')?.0;
    let extents = shape.split(',').map(str::trim).filter(|extent| !extent.is_empty());
    let shape = extents.map(|extent| extent.parse().ok()).collect::<Option<Vec<usize>>>()?;
    let plain = kind.len() == 3 && kind.is_ascii();
    plain.then(|| (kind.to_owned(), shape))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_every_writer() {
        let parsed = |text| parse_header(text).expect("a header");
        let plain = "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 28, 28), }   \n";
        assert_eq!(parsed(plain), ("|u1".into(), vec![3, 28, 28]));
        let turned = "{'shape':(7,),'fortran_order':False,'descr':'<i8'}";
        assert_eq!(parsed(turned), ("<i8".into(), vec![7]));
        for wrong in [
            "",
            "{'descr': '|u1', 'fortran_order': True, 'shape': (3,), }",
            "{'descr': '|u1', 'fortran_order': False, 'shape': (x,), }",
            "{'descr': [('a', '<i8')], 'fortran_order': False, 'shape': (3,), }",
            "{'descr': '|u1', 'fortran_order': False, 'shape': (3",
        ] {
            assert_eq!(parse_header(wrong), None, "{wrong}");
        }
    }
}

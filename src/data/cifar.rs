//! The binary version of CIFAR-10 and CIFAR-100: records of a label (or a coarse and a fine one) and 32x32 pixels,
//! first all red, then all green, then all blue.
use super::{Dataset, Split, dataset::name_of};
use crate::{
    error::{DataError, FileError},
    files,
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;

/// Largest file: five of CIFAR-100.
const LARGEST: u64 = 1 << 30;

/// One of the two data sets.
struct Form {
    train: &'static [&'static str],
    test: &'static [&'static str],
    /// The file of the classes' names, a line each.
    names: &'static str,
    /// Bytes before the pixels; the last is the label.
    labels: usize,
}

const FORMS: [Form; 2] = [
    Form {
        train: &[
            "data_batch_1.bin",
            "data_batch_2.bin",
            "data_batch_3.bin",
            "data_batch_4.bin",
            "data_batch_5.bin",
        ],
        test: &["test_batch.bin"],
        names: "batches.meta.txt",
        labels: 1,
    },
    Form { train: &["train.bin"], test: &["test.bin"], names: "fine_label_names.txt", labels: 2 },
];

/// The files of a folder or archive by their names.
type Files = BTreeMap<String, (PathBuf, Vec<u8>)>;

fn names() -> impl Iterator<Item = &'static str> {
    FORMS.iter().flat_map(|form| form.train.iter().chain(form.test).chain([&form.names])).copied()
}

/// The images in a folder of unpacked files, if it holds any: the part for training, or the other where it stands
/// alone.
pub(super) fn open(folder: &Path, split: Option<Split>) -> Result<Option<Dataset>, DataError> {
    let mut found = Files::new();
    for name in names() {
        let path = folder.join(name);
        if path.is_file() {
            let bytes = files::read(&path, LARGEST).map_err(FileError::at(&path))?;
            found.insert(name.into(), (path, bytes));
        }
    }
    of_files(folder, found, split)
}

/// The images of an archive, `cifar-10-binary.tar.gz` as it is published, if it holds any.
#[cfg(feature = "pictures")]
pub(super) fn open_archive(
    path: &Path,
    split: Option<Split>,
) -> Result<Option<Dataset>, DataError> {
    use flate2::bufread::MultiGzDecoder;
    use std::io::{BufReader, Read};

    let failed = FileError::at(path);
    let file = files::open(path).map_err(&failed)?;
    let mut archive = tar::Archive::new(MultiGzDecoder::new(BufReader::new(file)));
    let mut found = Files::new();
    for entry in archive.entries().map_err(&failed)? {
        let entry = entry.map_err(&failed)?;
        let inside = entry.path().map_err(&failed)?.into_owned();
        let name = inside.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if names().any(|known| known == name) {
            let mut bytes = Vec::new();
            entry.take(LARGEST).read_to_end(&mut bytes).map_err(&failed)?;
            found.insert(name, (path.join(inside), bytes));
        }
    }
    of_files(path, found, split)
}

fn of_files(
    source: &Path,
    mut found: Files,
    split: Option<Split>,
) -> Result<Option<Dataset>, DataError> {
    for form in FORMS {
        let has = |names: &[&str]| names.iter().any(|name| found.contains_key(*name));
        let part = match split {
            Some(Split::Train) => form.train,
            Some(Split::Test) => form.test,
            None if has(form.train) => form.train,
            None => form.test,
        };
        if !has(part) {
            continue;
        }
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        for name in part {
            let none = || DataError::Format {
                path: source.into(),
                expected: format!("{name} beside {}", part[0]),
                found: "none".into(),
            };
            let (path, bytes) = found.remove(*name).ok_or_else(none)?;
            records(&path, &bytes, form.labels, &mut pixels, &mut labels)?;
        }
        let name = name_of(source);
        let dataset = Dataset::from_pixels(&name, [SIDE, SIDE, 3], pixels, Some(labels))?;
        let class_names = found.remove(form.names).map(|(_, bytes)| lines(&bytes));
        let class_names = class_names.filter(|names| Some(names.len()) >= dataset.classes());
        return Ok(Some(Dataset { class_names, ..dataset }));
    }
    Ok(None)
}

/// The lines of a text that hold something.
fn lines(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

/// Adds the records of a file.
fn records(
    path: &Path,
    bytes: &[u8],
    before: usize,
    pixels: &mut Vec<u8>,
    labels: &mut Vec<u8>,
) -> Result<(), DataError> {
    let record = before + 3 * PLANE;
    if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
        let (path, found) = (path.into(), format!("{} bytes", bytes.len()));
        let expected = format!("records of {record} bytes, one or more");
        return Err(DataError::Format { path, expected, found });
    }
    for record in bytes.chunks_exact(record) {
        let (before, planes) = record.split_at(before);
        labels.extend(before.last());
        let pixel = |at: usize| [planes[at], planes[PLANE + at], planes[2 * PLANE + at]];
        pixels.extend((0..PLANE).flat_map(pixel));
    }
    Ok(())
}

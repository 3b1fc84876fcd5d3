//! Folders of pictures, with or without a folder for each class: which files count, and which are
//! left out.
use super::picture::is_picture;
use crate::{
    error::{DataError, FileError, Unexpected},
    files::MODEL_INDEX,
};
use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
};

const EXPECTED: &str = "PNG, JPEG, WebP, BMP, TIFF or GIF pictures, a folder of them for each class, \
                        train-images-idx3-ubyte.gz or data_batch_1.bin";

/// Endings of pictures: a folder of such a name is no class.
const ENDINGS: [&str; 8] = ["png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff"];

/// Folders of classes at most: a label is a byte.
const MOST_CLASSES: usize = 256;

/// Files of each kind that a message names.
const NAMED: usize = 3;

/// What is no picture, by its kind.
#[derive(Default)]
pub(super) struct LeftOut {
    kinds: BTreeMap<&'static str, Vec<String>>,
    /// Why the first of the damaged files is not read.
    damage: Option<DataError>,
}

impl LeftOut {
    fn add(&mut self, kind: &'static str, path: &Path) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.kinds.entry(kind).or_default().push(name.escape_debug().to_string());
    }

    pub(super) fn damaged(&mut self, path: &Path, error: DataError) {
        self.add("damaged", path);
        self.damage.get_or_insert(error);
    }

    fn extend(&mut self, other: Self) {
        for (kind, names) in other.kinds {
            self.kinds.entry(kind).or_default().extend(names);
        }
        self.damage = self.damage.take().or(other.damage);
    }

    /// The message, if anything is left out.
    pub(super) fn message(&self) -> Option<String> {
        (!self.kinds.is_empty()).then(|| self.to_string())
    }

    /// Why a folder gives no picture.
    pub(super) fn empty(self, folder: &Path) -> DataError {
        let beside = if self.kinds.is_empty() { String::new() } else { format!(" ({self})") };
        let none = DataError::Empty { path: folder.into(), expected: EXPECTED, beside };
        self.damage.unwrap_or(none)
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("left out: ")?;
        for (index, (kind, names)) in self.kinds.iter().enumerate() {
            let separator = if index > 0 { ", " } else { "" };
            write!(f, "{separator}{} {kind} ({})", names.len(), listed(names))?;
        }
        match &self.damage {
            Some(error) => write!(f, "; {error}"),
            None => Ok(()),
        }
    }
}

/// The first names of a list.
fn listed(names: &[String]) -> String {
    let rest = if names.len() > NAMED { ", ..." } else { "" };
    names[..names.len().min(NAMED)].join(", ") + rest
}

/// The pictures of samples beside a model, and folders of its run.
const SAMPLES: [&str; 6] =
    ["samples.png", "film.png", "samples", "checkpoints", "averages", "tensorboard"];

/// Pictures and folders in a folder, in the order of their names. A model's folder and its pictures of
/// samples are left out: a run may be written into the folder of its own data.
pub(super) fn list(folder: &Path, left_out: &mut LeftOut) -> Result<[Vec<PathBuf>; 2], DataError> {
    let failed = FileError::at(folder);
    let entries = std::fs::read_dir(folder).map_err(&failed)?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
    let mut paths = paths.map_err(failed)?;
    paths.sort();
    let beside_a_model = folder.join(MODEL_INDEX).exists();
    let (mut pictures, mut folders) = (Vec::new(), Vec::new());
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        if name.starts_with('.') || name == "__MACOSX" {
            left_out.add("hidden", &path);
        } else if beside_a_model && SAMPLES.contains(&&*name) {
            left_out.add("samples of a model", &path);
        } else if path.is_dir() {
            match ending {
                Some(ending) if ENDINGS.contains(&ending.as_str()) => {
                    left_out.add("folders", &path)
                }
                _ if path.join(MODEL_INDEX).exists() => left_out.add("folders of a model", &path),
                _ => folders.push(path),
            }
        } else {
            match is_picture(&path) {
                Ok(true) => pictures.push(path),
                Ok(false) => left_out.add("of other formats", &path),
                Err(source) => {
                    let error = FileError { path: path.clone(), source };
                    left_out.damaged(&path, error.into());
                }
            }
        }
    }
    Ok([pictures, folders])
}

/// Warns of pictures beside files of another data set, which are read alone.
pub(super) fn warn_beside(folder: &Path, what: &str) -> Result<(), DataError> {
    let [pictures, _] = list(folder, &mut LeftOut::default())?;
    if let Some(first) = pictures.first() {
        let (count, folder, first) = (pictures.len(), folder.display(), first.display());
        log::warn!("{folder}: left out: {count} pictures beside the {what} files, as {first}");
    }
    Ok(())
}

/// The pictures of a folder, each with the number of its class, and the classes' names.
pub(super) type Listed = (Vec<(PathBuf, u8)>, Option<Vec<String>>);

/// Lists a folder of pictures, or one of folders for each class: these in the order of their names.
pub(super) fn classes(folder: &Path, left_out: &mut LeftOut) -> Result<Listed, DataError> {
    let [pictures, folders] = list(folder, left_out)?;
    let (mut labelled, mut names) = (Vec::new(), Vec::new());
    for class in folders {
        let mut inside = LeftOut::default();
        let [pictures, below] = list(&class, &mut inside)?;
        if pictures.is_empty() {
            let kind = match below.is_empty() {
                true => "folders without pictures",
                false => "folders of folders, of which to give one",
            };
            left_out.add(kind, &class);
            continue;
        }
        below.iter().for_each(|folder| inside.add("folders inside a class", folder));
        left_out.extend(inside);
        let label = names.len().min(MOST_CLASSES - 1) as u8;
        names.push(class.file_name().unwrap_or_default().to_string_lossy().into_owned());
        labelled.extend(pictures.into_iter().map(|picture| (picture, label)));
    }
    if names.is_empty() {
        return Ok((pictures.into_iter().map(|picture| (picture, 0)).collect(), None));
    }
    if let Some(first) = pictures.first() {
        return Err(DataError::Mixed {
            path: folder.into(),
            pictures: pictures.len(),
            first: first.into(),
            folders: listed(&names),
        });
    }
    let (fits, expected) = (names.len() <= MOST_CLASSES, format!("at most {MOST_CLASSES}"));
    Unexpected::check(fits, "folders of classes", expected, names.len())?;
    Ok((labelled, Some(names)))
}

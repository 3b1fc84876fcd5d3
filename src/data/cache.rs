//! Decoded pictures in a file, so that they are decoded once: `NAME-KEY.pixels`, and beside it `NAME-KEY.json`,
//! which says whose they are and where each lies. The second is written last, so where it is, both are whole.
use super::{
    ReadOptions,
    extent::Extent,
    images::{ImageSource, Pixels},
};
use crate::{
    error::{DataError, FileError},
    files,
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    hash::{BuildHasher, Hasher, RandomState},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

/// Largest list of pictures, in bytes: that of some ten million.
const LARGEST: u64 = 1 << 30;

/// The list of a cache.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Index {
    /// What the pictures were made of.
    pub key: Key,
    pub extents: Vec<Extent>,
    pub labels: Vec<u8>,
    pub class_names: Option<Vec<String>>,
    /// What was left out, as a message says it.
    pub left_out: Option<String>,
}

/// Pictures and how they are read. Files that changed make another key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Key {
    pub folder: String,
    pub size: Option<[usize; 2]>,
    pub covering: bool,
    pub background: [u8; 3],
    pub max_pixels: u64,
    /// Number of files, and a hash of their names, sizes and times.
    pub files: (usize, String),
}

/// FNV-1a: for changes, not for attacks.
struct Hash(u64);

impl Hash {
    fn eat(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().chain(&[0]) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}

impl Key {
    /// The key of pictures in these files.
    pub fn of<'a>(
        folder: &Path,
        options: &ReadOptions,
        paths: impl Iterator<Item = &'a Path>,
    ) -> Result<Self, DataError> {
        let (mut hash, mut count) = (Hash(0xcbf2_9ce4_8422_2325), 0);
        for path in paths {
            let found = path.metadata().map_err(FileError::at(path))?;
            let time = found.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            hash.eat(path.as_os_str().as_encoded_bytes());
            hash.eat(&found.len().to_le_bytes());
            hash.eat(&time.map_or(0, |time| time.as_nanos()).to_le_bytes());
            count += 1;
        }
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.into());
        Ok(Self {
            folder: folder.to_string_lossy().into_owned(),
            size: options.size,
            covering: options.crop == super::Crop::Random,
            background: options.background,
            max_pixels: options.max_pixels,
            files: (count, format!("{:016x}", hash.0)),
        })
    }

    /// The files of the cache, without their endings.
    fn stem(&self, cache: &Path) -> PathBuf {
        let mut hash = Hash(0xcbf2_9ce4_8422_2325);
        let Self { size, covering, background, max_pixels, .. } = self;
        hash.eat(format!("{size:?} {covering} {background:?} {max_pixels}").as_bytes());
        hash.eat(self.folder.as_bytes());
        let name = Path::new(&self.folder).file_name().unwrap_or_default().to_string_lossy();
        cache.join(format!("{name}-{:016x}", hash.0))
    }
}

/// `path` with an ending.
fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// An ending for a file on its way that nobody else gives: ranks of several machines may write one cache at a time.
fn part() -> String {
    format!(".part-{:016x}", RandomState::new().build_hasher().finish())
}

/// Writes the pictures of a cache.
pub(super) struct Writer {
    stem: PathBuf,
    part: PathBuf,
    file: BufWriter<File>,
}

impl Writer {
    /// Begins the cache of a key. What another key left under its name is replaced at the end.
    pub fn begin(cache: &Path, key: &Key) -> Result<Self, DataError> {
        fs::create_dir_all(cache).map_err(FileError::at(cache))?;
        let stem = key.stem(cache);
        let part = with_ending(&stem, &part());
        let file = BufWriter::new(File::create(&part).map_err(FileError::at(&part))?);
        Ok(Self { stem, part, file })
    }

    /// Adds the pixels of a picture.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        Ok(self.file.write_all(bytes).map_err(FileError::at(&self.part))?)
    }

    /// Ends the cache, whose list is this, and opens it.
    pub fn end(mut self, index: &Index) -> Result<Cached, DataError> {
        let (pixels, list) = (with_ending(&self.stem, ".pixels"), with_ending(&self.stem, ".json"));
        let failed = FileError::at(&self.part);
        self.file.flush().and_then(|()| self.file.get_ref().sync_all()).map_err(&failed)?;
        // A list beside the pixels of another key would name what is not there.
        match fs::remove_file(&list) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(FileError::at(&list)(error).into());
            }
            _ => {}
        }
        fs::rename(&self.part, &pixels).map_err(FileError::at(&pixels))?;
        let text = serde_json::to_vec(index).expect("plain fields with string keys are JSON");
        let part = with_ending(&list, &part());
        fs::write(&part, text).map_err(FileError::at(&part))?;
        fs::rename(&part, &list).map_err(FileError::at(&list))?;
        Cached::open(pixels, index.extents.clone())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // After the end it bears another name.
        let _ = fs::remove_file(&self.part);
    }
}

/// Pictures in a file of pixels.
pub(super) struct Cached {
    path: PathBuf,
    file: File,
    extents: Vec<Extent>,
}

impl Cached {
    fn open(path: PathBuf, extents: Vec<Extent>) -> Result<Self, DataError> {
        let file = files::open(&path).map_err(FileError::at(&path))?;
        Ok(Self { path, file, extents })
    }

    /// The cache of a key and its list, if it is there, whole, and of this key.
    pub fn find(cache: &Path, key: &Key) -> Result<Option<(Self, Index)>, DataError> {
        let stem = key.stem(cache);
        let list = with_ending(&stem, ".json");
        if !list.exists() {
            return Ok(None);
        }
        let text = files::read(&list, LARGEST).map_err(FileError::at(&list))?;
        let Ok(index) = serde_json::from_slice::<Index>(&text) else { return Ok(None) };
        let cached = Self::open(with_ending(&stem, ".pixels"), index.extents.clone());
        let Ok(cached) = cached else { return Ok(None) };
        let end = index.extents.last().map_or(0, |last| last.offset + last.bytes() as u64);
        let size = cached.file.metadata().map_err(FileError::at(&cached.path))?.len();
        let whole = index.key == *key && size == end && index.labels.len() == index.extents.len();
        Ok(whole.then_some((cached, index)))
    }
}

impl ImageSource for Cached {
    fn read(&self, index: usize) -> Result<Pixels, DataError> {
        let extent = self.extents[index];
        let mut bytes = vec![0; extent.bytes()];
        files::read_exact_at(&self.file, &mut bytes, extent.offset)
            .map_err(FileError::at(&self.path))?;
        Ok(extent.pixels(bytes))
    }
}

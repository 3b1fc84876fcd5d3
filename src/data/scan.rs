//! A folder of pictures: each is decoded once, by several threads, before any is asked for. So what is damaged is
//! known, and numbers and order of the images are the same wherever they are kept.
use super::{
    Crop, Dataset, Images, ReadOptions,
    cache::{Cached, Index, Key, Writer},
    collected::{Collected, Kept, shape},
    dataset::name_of,
    extent::Extent,
    folder::{LeftOut, classes},
    images::{ImageSource, Pixels},
    ordered::in_order,
};
use crate::error::DataError;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Pictures that were decoded once.
struct Scanned {
    all: Collected,
    paths: Vec<PathBuf>,
    labels: Vec<u8>,
}

/// Decodes the pictures with their classes, in their order.
fn scan(
    listed: Vec<(PathBuf, u8)>,
    options: &ReadOptions,
    kept: Kept,
    left_out: &mut LeftOut,
) -> Result<Scanned, DataError> {
    let (listed, of) = (Arc::new(listed), options.clone());
    let shared = Arc::clone(&listed);
    let range = [0, listed.len() as u64];
    let decoded = in_order(options.workers, range, move |index| {
        Ok::<_, DataError>(Pixels::read(&shared[index as usize].0, &of)?.sized(&of))
    });
    let all = Collected::new(options.size, kept);
    let mut scanned = Scanned { all, paths: Vec::new(), labels: Vec::new() };
    for ((path, label), picture) in listed.iter().zip(decoded) {
        match picture {
            Ok(picture) => {
                scanned.all.push(path, picture)?;
                scanned.all.limit(options.resident);
                scanned.paths.push(path.clone());
                scanned.labels.push(*label);
            }
            // The user decides about these.
            Err(error @ DataError::Large { .. }) => return Err(error),
            Err(error) => left_out.damaged(path, error),
        }
    }
    Ok(scanned)
}

fn warn(folder: &Path, left_out: Option<&str>) {
    if let Some(left_out) = left_out {
        log::warn!("{}: {left_out}", folder.display());
    }
}

impl Dataset {
    /// One picture from the bytes of a file of at most `max_pixels` pixels.
    ///
    /// # Errors
    /// If it cannot be decoded or has more pixels; the errors call it `name`.
    pub fn from_picture(name: &str, bytes: &[u8], max_pixels: u64) -> Result<Self, DataError> {
        let options = ReadOptions { max_pixels, ..ReadOptions::default() };
        let Pixels { height, width, channels, bytes } =
            Pixels::decode(Path::new(name), bytes, &options)?;
        Self::from_pixels(name, [height, width, channels], bytes, None)
    }

    /// Every image in the size that is asked for.
    pub(super) fn sized(self, options: &ReadOptions) -> Result<Self, DataError> {
        options.check()?;
        if options.size.is_none_or(|size| size == [self.height, self.width]) {
            return Ok(self);
        }
        let Self { height, width, channels, .. } = self;
        // All 256 levels: resizing makes others than the 17 of the digits.
        let whole_range =
            |byte: &u8| (f32::from(*byte) * 255.0 / f32::from(self.brightest)).round() as u8;
        let mut all = Collected::new(None, Kept::Memory(Vec::new()));
        for index in 0..self.len() {
            let bytes = self.bytes(index).iter().map(whole_range).collect();
            let picture = Pixels { height, width, channels, bytes };
            all.push(Path::new(&self.name), picture.sized(options))?;
        }
        let resized = all.into_dataset(&self.name, self.labels)?;
        Ok(Self { class_names: self.class_names, ..resized })
    }

    /// The pictures in a folder, in the order of their names; see [`Dataset::open`].
    pub(super) fn from_pictures(folder: &Path, options: &ReadOptions) -> Result<Self, DataError> {
        options.check()?;
        let options = &ReadOptions { crop: Crop::Centre, resident: u64::MAX, ..options.clone() };
        let mut left_out = LeftOut::default();
        let (listed, names) = classes(folder, &mut left_out)?;
        let Scanned { all, labels, .. } =
            scan(listed, options, Kept::Memory(Vec::new()), &mut left_out)?;
        if labels.is_empty() {
            return Err(left_out.empty(folder));
        }
        warn(folder, left_out.message().as_deref());
        let labels = names.is_some().then_some(labels);
        let dataset = all.into_dataset(&name_of(folder), labels)?;
        Ok(Self { class_names: names, ..dataset })
    }
}

impl Images {
    /// The pictures in a folder, as [`Dataset::from_pictures`], wherever they are kept.
    pub(super) fn from_pictures(folder: &Path, options: &ReadOptions) -> Result<Self, DataError> {
        options.check()?;
        let mut left_out = LeftOut::default();
        let (listed, names) = classes(folder, &mut left_out)?;
        let key = match &options.cache {
            Some(_) => {
                let paths = listed.iter().map(|(path, _)| path.as_path());
                Some(Key::of(folder, options, paths)?)
            }
            None => None,
        };
        let cache = options.cache.as_deref().zip(key.as_ref());
        if let Some((cache, key)) = cache
            && let Some((cached, index)) = Cached::find(cache, key)?
        {
            warn(folder, index.left_out.as_deref());
            return of_cache(folder, options, cached, index);
        }
        let kept = match cache {
            Some((cache, key)) => Kept::Cache(Writer::begin(cache, key)?),
            None => Kept::Memory(Vec::new()),
        };
        let Scanned { all, paths, labels } = scan(listed, options, kept, &mut left_out)?;
        if labels.is_empty() {
            return Err(left_out.empty(folder));
        }
        warn(folder, left_out.message().as_deref());
        let shape = all.shape();
        let Collected { extents, kept, .. } = all;
        let source: Arc<dyn ImageSource> = match (kept, key) {
            (Kept::Cache(writer), Some(key)) => {
                let (class_names, left_out) = (names, left_out.message());
                let index = Index { key, extents, labels, class_names, left_out };
                return of_cache(folder, options, writer.end(&index)?, index);
            }
            (Kept::Memory(bytes), _) => Arc::new(InMemory { extents, bytes }),
            _ => Arc::new(InFiles { paths, options: options.clone() }),
        };
        let labels_of = names.is_some().then(|| labels.clone());
        let images = Self::from_source(&name_of(folder), shape, labels.len(), labels_of, source)?;
        Ok(images.named(names))
    }
}

/// The images of a cache.
fn of_cache(
    folder: &Path,
    options: &ReadOptions,
    cached: Cached,
    index: Index,
) -> Result<Images, DataError> {
    let Index { extents, labels, class_names, .. } = index;
    let count = labels.len();
    let shape = shape(&extents, options.size);
    let labels = class_names.is_some().then_some(labels);
    let images = Images::from_source(&name_of(folder), shape, count, labels, Arc::new(cached))?;
    Ok(images.named(class_names))
}

/// Decoded pictures.
struct InMemory {
    extents: Vec<Extent>,
    bytes: Vec<u8>,
}

impl ImageSource for InMemory {
    fn read(&self, index: usize) -> Result<Pixels, DataError> {
        let extent = self.extents[index];
        let bytes = self.bytes[extent.offset as usize..][..extent.bytes()].to_vec();
        Ok(extent.pixels(bytes))
    }
}

/// Pictures that are decoded each time.
struct InFiles {
    paths: Vec<PathBuf>,
    options: ReadOptions,
}

impl ImageSource for InFiles {
    fn read(&self, index: usize) -> Result<Pixels, DataError> {
        Ok(Pixels::read(&self.paths[index], &self.options)?.sized(&self.options))
    }
}

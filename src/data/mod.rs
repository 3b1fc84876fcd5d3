//! Images to train on: the embedded handwritten digits, idx files, CIFAR, NumPy's archives, and folders of pictures.
//!
//! ```
//! use ddim::data::{Batches, Moments, digits};
//!
//! let (training, held_out) = digits().split(0.1, 7)?;
//! assert_eq!([training.len(), held_out.len()], [1617, 180]);
//! let batch = Batches::new(&training, 32, 7, false).batch(0);
//! assert_eq!(batch.images.len(), 32 * 8 * 8);
//!
//! // Digits are nearer to other digits than to black images.
//! let black = Moments::of_images(&[-1.0; 2 * 8 * 8], 8 * 8)?;
//! let (training, held_out) = (Moments::of(&training)?, Moments::of(&held_out)?);
//! assert!(held_out.distance(&training) < 0.1 * held_out.distance(&black));
//! # Ok::<(), ddim::Error>(())
//! ```
//!
//! A whole program: `examples/digits.rs`.
mod augment;
mod batches;
#[cfg(feature = "pictures")]
mod cache;
#[cfg(feature = "pictures")]
mod captions;
mod cifar;
#[cfg(feature = "pictures")]
mod collected;
mod dataset;
mod digits;
#[cfg(feature = "pictures")]
mod extent;
#[cfg(feature = "pictures")]
mod folder;
mod frechet;
mod idx;
mod images;
mod loader;
mod npz;
mod options;
mod ordered;
mod parallel;
#[cfg(feature = "pictures")]
mod picture;
mod precision;
mod resampled;
#[cfg(feature = "pictures")]
mod scan;
mod spectrum;

pub use augment::AUGMENT_LABELS;
pub(crate) use batches::Epochs;
pub use batches::{Batch, Batches};
#[cfg(feature = "pictures")]
pub use captions::CaptionedPictures;
pub use dataset::{Dataset, Split};
pub use digits::{digits, digits_test_part, is_digits};
pub use frechet::Moments;
pub use images::{ImageSource, Images, Pixels};
pub use loader::{Loader, Loading};
pub use options::{Crop, ReadOptions};
pub use precision::PrecisionRecall;

use crate::{
    error::{DataError, FileError},
    files,
};
use std::{io::Read, path::Path};

/// How archives of NumPy begin, and packed files.
const ZIP: &[u8] = b"PK";
const GZIP: &[u8] = b"\x1f\x8b";

impl Dataset {
    /// Opens a set of images: the embedded digits under the bare name `digits` (`./digits` is a
    /// folder), else a folder with MNIST's idx files, with CIFAR's binary files, with pictures, or with a folder of
    /// pictures for each class; or a file, CIFAR's binary archive (`.tar.gz`) or NumPy's (`.npz`) with arrays of images
    /// and labels. Formats (idx, gzip; PNG, JPEG, WebP, BMP, TIFF, GIF) are told by content.
    ///
    /// With a `size`, every image is cropped to its centre and resized to that height and width.
    /// Pictures are grey only if all of them are; transparent ones are laid on white; 16 bits are
    /// rounded to 8; an EXIF orientation is applied; of an animation the first frame is taken. One may have 64 Mi
    /// pixels, and a packed file hold a hundred times its size. Classes are numbered in the order of their folders'
    /// names. Hidden files, other files and damaged ones are left out, and named in a warning.
    ///
    /// # Errors
    /// If the folder or one of its files cannot be read, holds no images, or images of unequal
    /// sizes while no `size` is given.
    pub fn open(source: &Path, size: Option<usize>) -> Result<Self, DataError> {
        let size = size.map(|size| [size; 2]);
        Self::open_with(source, &ReadOptions { size, ..ReadOptions::default() })
    }

    /// As [`Dataset::open`]; of pictures with more than `max_pixels` pixels none is decoded.
    ///
    /// # Errors
    /// As [`Dataset::open`], or if a picture has more.
    pub fn open_within(
        source: &Path,
        size: Option<usize>,
        max_pixels: u64,
    ) -> Result<Self, DataError> {
        let size = size.map(|size| [size; 2]);
        Self::open_with(source, &ReadOptions { size, max_pixels, ..ReadOptions::default() })
    }

    /// As [`Dataset::open`], in memory, cropped to centres.
    ///
    /// # Errors
    /// As [`Dataset::open_within`].
    pub fn open_with(source: &Path, options: &ReadOptions) -> Result<Self, DataError> {
        match Self::unless_pictures(source, options.split)? {
            Some(dataset) => dataset.sized(&ReadOptions { crop: Crop::Centre, ..options.clone() }),
            None => Self::from_pictures(source, options),
        }
    }

    /// Opens what is no folder of pictures.
    fn unless_pictures(source: &Path, split: Option<Split>) -> Result<Option<Self>, DataError> {
        if is_digits(source) {
            if source.is_dir() {
                log::warn!("digits: the embedded digits; ./digits would be the folder");
            }
            return Ok(Some(match split {
                None => digits(),
                Some(split) => digits_part(split),
            }));
        }
        if source.is_file() {
            return Self::of_file(source, split).map(Some);
        }
        let idx = match split {
            None => idx::open(source)?,
            Some(split) => idx::open_part(source, split)?,
        };
        if let Some(dataset) = idx {
            #[cfg(feature = "pictures")]
            folder::warn_beside(source, "idx")?;
            return Ok(Some(dataset));
        }
        let cifar = cifar::open(source, split)?;
        #[cfg(feature = "pictures")]
        if cifar.is_some() {
            folder::warn_beside(source, "CIFAR")?;
        }
        Ok(cifar)
    }

    /// Opens an archive.
    fn of_file(source: &Path, split: Option<Split>) -> Result<Self, DataError> {
        let failed = FileError::at(source);
        let mut head = Vec::new();
        files::open(source).and_then(|file| file.take(4).read_to_end(&mut head)).map_err(failed)?;
        if head.starts_with(ZIP) {
            return npz::open(source, split);
        }
        #[cfg(feature = "pictures")]
        if head.starts_with(GZIP)
            && let Some(dataset) = cifar::open_archive(source, split)?
        {
            return Ok(dataset);
        }
        let expected = "a folder (of pictures, of a folder of them for each class, of idx or CIFAR files), \
                        CIFAR's binary archive or NumPy's (.npz)";
        let found = if head.starts_with(GZIP) { "another packed file" } else { "another file" };
        let (path, expected, found) = (source.into(), expected.into(), found.into());
        Err(DataError::Format { path, expected, found })
    }

    /// One part of the embedded digits, of MNIST's idx files, of CIFAR or of NumPy's archive, as
    /// [`Dataset::open`].
    ///
    /// # Errors
    /// As [`Dataset::open`], or if the folder has no such part.
    pub fn open_part(source: &Path, split: Split, size: Option<usize>) -> Result<Self, DataError> {
        let size = size.map(|size| [size; 2]);
        let expected = idx::images(split);
        let none = || DataError::Empty { path: source.into(), expected, beside: String::new() };
        let dataset = Self::unless_pictures(source, Some(split))?.ok_or_else(none)?;
        dataset.sized(&ReadOptions { size, ..ReadOptions::default() })
    }

    /// Opens the training part and the test part of a folder with MNIST's four idx files, packed
    /// or not.
    ///
    /// # Errors
    /// If a file is missing (the message names all four) or damaged, or without labels.
    pub fn open_mnist(folder: &Path) -> Result<(Self, Self), DataError> {
        let part = |split| match idx::open_part(folder, split)? {
            Some(dataset) if dataset.labels.is_some() => Ok(dataset),
            _ => Err(DataError::Mnist { path: folder.into(), images: idx::images(split) }),
        };
        Ok((part(Split::Train)?, part(Split::Test)?))
    }

    #[cfg(not(feature = "pictures"))]
    fn from_pictures(_folder: &Path, _options: &ReadOptions) -> Result<Self, DataError> {
        Err(DataError::WithoutPictures)
    }

    #[cfg(not(feature = "pictures"))]
    fn sized(self, options: &ReadOptions) -> Result<Self, DataError> {
        options.check()?;
        let same = options.size.is_none_or(|size| size == [self.height, self.width]);
        if same { Ok(self) } else { Err(DataError::WithoutPictures) }
    }
}

/// One part of the embedded digits.
fn digits_part(split: Split) -> Dataset {
    let wanted = digits_test_part().map(|test| test == (split == Split::Test));
    let indices = (0..).zip(wanted).filter_map(|(index, wanted)| wanted.then_some(index));
    digits().subset(&indices.collect::<Vec<u32>>())
}

impl Images {
    /// Opens a set of images as [`Dataset::open`]. Pictures stay in memory up to `resident` bytes; more of them are
    /// decoded when they are asked for, or lie in a cache. Numbers, order and bits are the same.
    ///
    /// # Errors
    /// As [`Dataset::open_within`], or if the cache cannot be written.
    pub fn open(source: &Path, options: &ReadOptions) -> Result<Self, DataError> {
        let images = match Dataset::unless_pictures(source, options.split)? {
            Some(dataset) => Self::from(dataset.sized(options)?),
            None => return Self::from_pictures(source, options),
        };
        Ok(images.of_size(options.size))
    }

    #[cfg(not(feature = "pictures"))]
    fn from_pictures(_folder: &Path, _options: &ReadOptions) -> Result<Self, DataError> {
        Err(DataError::WithoutPictures)
    }
}

//! Images to train on: the embedded handwritten digits, idx files, and folders of pictures.
mod batches;
#[cfg(feature = "pictures")]
mod captions;
mod dataset;
mod digits;
#[cfg(feature = "pictures")]
mod folder;
mod frechet;
mod idx;
#[cfg(feature = "pictures")]
mod images;

pub(crate) use batches::Epochs;
pub use batches::{Batch, Batches};
#[cfg(feature = "pictures")]
pub use captions::CaptionedPictures;
pub use dataset::{Dataset, Split};
pub use digits::{digits, digits_test_part, is_digits};
pub use frechet::Moments;

use crate::{error::DataError, files};
use std::path::Path;

impl Dataset {
    /// Opens a set of images: the embedded digits under the bare name `digits` (`./digits` is a
    /// folder), else a folder with MNIST's idx files, with pictures, or with a folder of pictures for
    /// each class. Formats (idx, gzip; PNG, JPEG, WebP) are told by content.
    ///
    /// With a `size`, every image is cropped to its centre and resized to that height and width.
    /// Pictures are grey only if all of them are; transparent ones are laid on white; 16 bits are
    /// rounded to 8; an EXIF orientation is applied. One may have 64 Mi pixels, and a packed file hold
    /// a hundred times its size. Classes are numbered in the order of their folders' names. Hidden files,
    /// other files and damaged ones are left out, and named in a warning.
    ///
    /// # Errors
    /// If the folder or one of its files cannot be read, holds no images, or images of unequal
    /// sizes while no `size` is given.
    pub fn open(source: &Path, size: Option<usize>) -> Result<Self, DataError> {
        Self::open_within(source, size, files::MAX_PIXELS)
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
        if source.is_file() && !is_digits(source) {
            let expected =
                "a folder: of pictures, of a folder of them for each class, or of idx files";
            let (path, expected, found) = (source.into(), expected.into(), "a file".into());
            return Err(DataError::Format { path, expected, found });
        }
        let dataset = if is_digits(source) {
            if source.is_dir() {
                log::warn!("digits: the embedded digits; ./digits would be the folder");
            }
            digits()
        } else if let Some(dataset) = idx::open(source)? {
            #[cfg(feature = "pictures")]
            folder::warn_beside_idx(source)?;
            dataset
        } else {
            return Self::from_pictures(source, size, max_pixels);
        };
        dataset.sized(size)
    }

    /// One part of the embedded digits or of a folder with MNIST's idx files, as
    /// [`Dataset::open`].
    ///
    /// # Errors
    /// As [`Dataset::open`], or if the folder has no such part.
    pub fn open_part(source: &Path, split: Split, size: Option<usize>) -> Result<Self, DataError> {
        let dataset = if is_digits(source) {
            let wanted = digits_test_part().map(|test| test == (split == Split::Test));
            let indices = (0..).zip(wanted).filter_map(|(index, wanted)| wanted.then_some(index));
            digits().subset(&indices.collect::<Vec<u32>>())
        } else {
            let expected = idx::images(split);
            let beside = String::new();
            let none = || DataError::Empty { path: source.into(), expected, beside };
            idx::open_part(source, split)?.ok_or_else(none)?
        };
        dataset.sized(size)
    }

    fn sized(self, size: Option<usize>) -> Result<Self, DataError> {
        match size {
            Some(size) => self.resized(size),
            None => Ok(self),
        }
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
    fn from_pictures(
        _folder: &Path,
        _size: Option<usize>,
        _max_pixels: u64,
    ) -> Result<Self, DataError> {
        Err(DataError::WithoutPictures)
    }

    #[cfg(not(feature = "pictures"))]
    fn resized(self, size: usize) -> Result<Self, DataError> {
        let same = self.height == size && self.width == size;
        if same { Ok(self) } else { Err(DataError::WithoutPictures) }
    }
}

//! Images to train on: the embedded handwritten digits, idx files, and folders of pictures.
mod batches;
mod dataset;
mod digits;
mod frechet;
mod idx;
#[cfg(feature = "pictures")]
mod images;

pub use batches::{Batch, Batches};
pub use dataset::{Dataset, Split};
pub use digits::{digits, digits_test_part};
pub use frechet::Moments;

use crate::{error::DataError, files};
use std::path::Path;

impl Dataset {
    /// Opens a set of images: the embedded digits under the name `digits`, else a folder with
    /// MNIST's idx files or with PNG pictures.
    ///
    /// With a `size`, every image is cropped to its centre and resized to that height and width.
    /// Pictures are grey only if all of them are; transparent ones are laid on white; 16 bits are
    /// rounded to 8. One may have 64 Mi pixels, and a packed file hold a hundred times its size.
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
        let dataset = if source == Path::new("digits") {
            digits()
        } else if let Some(dataset) = idx::open(source)? {
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
        let dataset = if source == Path::new("digits") {
            let wanted = digits_test_part().map(|test| test == (split == Split::Test));
            let indices = (0..).zip(wanted).filter_map(|(index, wanted)| wanted.then_some(index));
            digits().subset(&indices.collect::<Vec<u32>>())
        } else {
            let expected = idx::images(split);
            let none = || DataError::Empty { path: source.into(), expected };
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

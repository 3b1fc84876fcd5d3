//! Images to train on: the embedded handwritten digits, idx files, and folders of pictures.
mod batches;
mod digits;
mod frechet;
mod idx;
#[cfg(feature = "pictures")]
mod images;

use crate::{error::DataError, files};
use std::path::Path;

pub use batches::{Batch, Batches};
pub use digits::{digits, digits_test_part};
pub use frechet::Moments;

/// Which part of a set of images that is published in two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// That to learn from.
    Train,
    /// That to test with.
    Test,
}

/// Images of one size, in bytes, with or without labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    name: String,
    height: usize,
    width: usize,
    channels: usize,
    brightest: u8,
    pixels: Vec<u8>,
    labels: Option<Vec<u8>>,
}

impl Dataset {
    /// Images of `[height, width, channels]` from their pixels (0 to 255, one image after the
    /// other, channels innermost) and perhaps a label for each.
    ///
    /// # Errors
    /// If there is no whole number of images, none at all, or not one label for each.
    pub fn from_pixels(
        name: &str,
        [height, width, channels]: [usize; 3],
        pixels: Vec<u8>,
        labels: Option<Vec<u8>>,
    ) -> Result<Self, DataError> {
        let bytes = height * width * channels;
        if bytes == 0 || pixels.is_empty() || !pixels.len().is_multiple_of(bytes) {
            let expected = format!("a multiple of {bytes}, above 0");
            return Err(DataError::value("bytes of pixels", expected, pixels.len()));
        }
        let count = pixels.len() / bytes;
        if let Some(labels) = labels.as_ref().filter(|labels| labels.len() != count) {
            return Err(DataError::value("labels", count, labels.len()));
        }
        let brightest = u8::MAX;
        Ok(Self { name: name.into(), height, width, channels, brightest, pixels, labels })
    }

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

    /// What the images are called in reports.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Rows of an image.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns of an image.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Channels of a pixel.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.pixels.len() / self.image_elements()
    }

    /// Is there no image? There always is one.
    pub fn is_empty(&self) -> bool {
        self.pixels.is_empty()
    }

    /// Numbers in an image.
    pub fn image_elements(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Half of the distance between two values of a pixel, as numbers from -1 to 1: 1/255 for
    /// bytes.
    pub fn half_bin(&self) -> f64 {
        f64::from(self.brightest).recip()
    }

    /// The class of each image.
    pub fn labels(&self) -> Option<&[u8]> {
        self.labels.as_deref()
    }

    /// One more than the highest label.
    pub fn classes(&self) -> Option<usize> {
        self.labels.as_ref()?.iter().max().map(|label| usize::from(*label) + 1)
    }

    /// Image `index` as `[height, width, channels]` numbers from -1 (black) to 1.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn image(&self, index: usize) -> impl Iterator<Item = f32> {
        let half = f32::from(self.brightest) / 2.0;
        self.bytes(index).iter().map(move |byte| f32::from(*byte) / half - 1.0)
    }

    /// All images, `[count, height, width, channels]`, from -1 to 1.
    pub fn images(&self) -> Vec<f32> {
        (0..self.len()).flat_map(|index| self.image(index)).collect()
    }

    fn bytes(&self, index: usize) -> &[u8] {
        let bytes = self.image_elements();
        &self.pixels[index * bytes..][..bytes]
    }

    /// The images of these indices, in this order.
    fn subset(&self, indices: &[u32]) -> Self {
        let pixels = indices.iter().flat_map(|index| self.bytes(*index as usize));
        let labels = self.labels.as_ref();
        let chosen =
            |labels: &Vec<u8>| indices.iter().map(|index| labels[*index as usize]).collect();
        Self {
            name: self.name.clone(),
            pixels: pixels.copied().collect(),
            labels: labels.map(chosen),
            ..*self
        }
    }

    /// The images in two parts, drawn with `seed`: first the larger for training, then `fraction`
    /// of them, rounded, for validation.
    ///
    /// # Errors
    /// If one of the parts would be empty.
    pub fn split(&self, fraction: f64, seed: u64) -> Result<(Self, Self), DataError> {
        let held_out = (self.len() as f64 * fraction).round();
        if !(held_out >= 1.0 && held_out < self.len() as f64) {
            let expected =
                format!("a part of {} images that leaves some on both sides", self.len());
            return Err(DataError::value("validation fraction", expected, fraction));
        }
        let order = batches::shuffled(self.len(), seed, batches::Stream::Split, 0);
        let (held_out, train) = order.split_at(held_out as usize);
        Ok((self.subset(train), self.subset(held_out)))
    }
}

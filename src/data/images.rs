//! Images wherever they are: in memory, in a folder's files, or in a cache.
use super::{
    Dataset,
    batches::split,
    dataset::{classes, relabelled},
};
use crate::error::{DataError, Unexpected};
use std::{fmt, sync::Arc};

/// The bytes of one image, `[height, width, channels]`.
///
/// Example: [`ImageSource`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// 1 (grey) or more.
    pub channels: usize,
    /// Rows one after the other, channels innermost.
    pub bytes: Vec<u8>,
}

/// Where images come from. Several threads read at a time.
///
/// ```
/// use ddim::{data::{ImageSource, Images, Pixels}, error::DataError};
///
/// struct Black;
///
/// impl ImageSource for Black {
///     fn read(&self, _: usize) -> Result<Pixels, DataError> {
///         Ok(Pixels { height: 4, width: 4, channels: 1, bytes: vec![0; 16] })
///     }
/// }
///
/// let images = Images::from_source("black", [2, 2, 1], 3, None, std::sync::Arc::new(Black))?;
/// assert_eq!(images.image(0)?, [-1.0; 4]);
/// # Ok::<(), ddim::Error>(())
/// ```
pub trait ImageSource: Send + Sync {
    /// An image. It may be larger than the images that it is one of, which are then parts of such; and grey where
    /// they have colours.
    ///
    /// # Errors
    /// If it cannot be read.
    fn read(&self, index: usize) -> Result<Pixels, DataError>;
}

impl ImageSource for Dataset {
    fn read(&self, index: usize) -> Result<Pixels, DataError> {
        let [height, width, channels] = [self.height(), self.width(), self.channels()];
        Ok(Pixels { height, width, channels, bytes: self.bytes(index).to_vec() })
    }
}

/// Images of one size, which are read when they are asked for.
///
/// Example: [`ImageSource`].
#[derive(Clone)]
pub struct Images {
    name: String,
    shape: [usize; 3],
    brightest: u8,
    labels: Option<Vec<u8>>,
    class_names: Option<Vec<String>>,
    /// Those of the source, in this order.
    chosen: Vec<u32>,
    source: Arc<dyn ImageSource>,
}

impl fmt::Debug for Images {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [height, width, channels] = self.shape;
        write!(f, "{}: {} images of {height}x{width}x{channels}", self.name, self.len())
    }
}

impl From<Dataset> for Images {
    fn from(dataset: Dataset) -> Self {
        Self {
            name: dataset.name.clone(),
            shape: [dataset.height, dataset.width, dataset.channels],
            brightest: dataset.brightest,
            labels: dataset.labels.clone(),
            class_names: dataset.class_names.clone(),
            chosen: (0..dataset.len() as u32).collect(),
            source: Arc::new(dataset),
        }
    }
}

impl Images {
    /// `count` images of `[height, width, channels]` from a source, and perhaps a label for each.
    ///
    /// # Errors
    /// If there is none, or not one label for each.
    pub fn from_source(
        name: &str,
        shape: [usize; 3],
        count: usize,
        labels: Option<Vec<u8>>,
        source: Arc<dyn ImageSource>,
    ) -> Result<Self, DataError> {
        let most = u32::MAX as usize;
        Unexpected::range("images", count, 1, most, "images")?;
        Unexpected::check(!shape.contains(&0), "shape", "extents above 0", format!("{shape:?}"))?;
        let found = labels.as_ref().map_or(count, Vec::len);
        Unexpected::check(found == count, "labels", count, found)?;
        let (name, chosen) = (name.into(), (0..count as u32).collect());
        Ok(Self { name, shape, brightest: u8::MAX, labels, class_names: None, chosen, source })
    }

    /// Parts of these images.
    pub(super) fn of_size(mut self, size: Option<[usize; 2]>) -> Self {
        if let Some([height, width]) = size {
            self.shape = [height, width, self.shape[2]];
        }
        self
    }

    /// The same with names of the classes, by label.
    #[cfg(feature = "pictures")]
    pub(super) fn named(self, class_names: Option<Vec<String>>) -> Self {
        Self { class_names, ..self }
    }

    /// What the images are called in reports.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Height, width and channels of every image.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.chosen.len()
    }

    /// Is there no image? There always is one.
    pub fn is_empty(&self) -> bool {
        self.chosen.is_empty()
    }

    /// The class of each image.
    pub fn labels(&self) -> Option<&[u8]> {
        self.labels.as_deref()
    }

    /// The names of the classes, by label, if the images lay in a folder for each.
    pub fn class_names(&self) -> Option<&[String]> {
        self.class_names.as_deref()
    }

    /// Number of classes: of names, or one more than the highest label.
    pub fn classes(&self) -> Option<usize> {
        classes(self.labels(), self.class_names())
    }

    /// As [`Dataset::with_classes`].
    ///
    /// # Errors
    /// If a class has none of these names.
    pub fn with_classes(self, names: &[String]) -> Result<Self, DataError> {
        match relabelled(self.class_names(), self.labels(), names)? {
            None => Ok(self),
            labels => Ok(Self { labels, class_names: Some(names.into()), ..self }),
        }
    }

    /// Grey images with three equal channels, for a model with `channels` of them; else unchanged.
    pub fn with_channels(self, channels: usize) -> Self {
        match (self.shape, channels) {
            ([height, width, 1], 3) => Self { shape: [height, width, 3], ..self },
            _ => self,
        }
    }

    /// As [`Dataset::split`]: no image is read.
    ///
    /// # Errors
    /// If one of the parts would be empty.
    pub fn split(&self, fraction: f64, seed: u64) -> Result<(Self, Self), DataError> {
        let (train, held_out) = split(self.len(), fraction, seed)?;
        Ok((self.subset(&train), self.subset(&held_out)))
    }

    fn subset(&self, indices: &[u32]) -> Self {
        let of = |index: &u32| *index as usize;
        let chosen = indices.iter().map(|index| self.chosen[of(index)]).collect();
        let labels = self.labels.as_ref();
        let labels = labels.map(|labels| indices.iter().map(|index| labels[of(index)]).collect());
        Self { chosen, labels, ..self.clone() }
    }

    /// Image `index` as `[height, width, channels]` numbers from -1 (black) to 1: the middle of one that is larger.
    ///
    /// # Errors
    /// If it cannot be read, or is smaller than it was.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn image(&self, index: usize) -> Result<Vec<f32>, DataError> {
        self.part(index, |room| room / 2)
    }

    /// A part of image `index`; `start` is given by how many rows, then columns, it is larger.
    pub(super) fn part(
        &self,
        index: usize,
        mut start: impl FnMut(usize) -> usize,
    ) -> Result<Vec<f32>, DataError> {
        let found = self.source.read(self.chosen[index] as usize)?;
        let [height, width, channels] = self.shape;
        let fits = found.height >= height && found.width >= width;
        let grey = found.channels == 1 && channels == 3;
        let whole = found.bytes.len() == found.height * found.width * found.channels;
        let sizes = |[height, width, channels]: [usize; 3]| format!("{height}x{width}x{channels}");
        let is = sizes([found.height, found.width, found.channels]);
        let fits = fits && whole && (grey || found.channels == channels);
        let name = format!("image {index} of {}", self.name);
        Unexpected::check(fits, &name, format!("{} or larger", sizes(self.shape)), is)?;
        let (top, left) = (start(found.height - height), start(found.width - width));
        let half = f32::from(self.brightest) / 2.0;
        let mut image = Vec::with_capacity(height * width * channels);
        for row in top..top + height {
            let first = (row * found.width + left) * found.channels;
            let row = found.bytes[first..][..width * found.channels].iter();
            let row = row.map(|byte| f32::from(*byte) / half - 1.0);
            match grey {
                true => image.extend(row.flat_map(|grey| [grey; 3])),
                false => image.extend(row),
            }
        }
        Ok(image)
    }
}

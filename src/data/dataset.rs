//! Images of one size in memory.
use crate::{
    error::{DataError, Unexpected},
    files::excerpt,
};
use std::path::Path;

/// Which part of a set of images that is published in two.
///
/// Example: [`crate::data::digits_test_part()`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// That to learn from.
    Train,
    /// That to test with.
    Test,
}

/// Images of one size, in bytes, with or without labels.
///
/// ```
/// use ddim::data::Dataset;
///
/// // Two images of 2x2 pixels, each with a label.
/// let pixels = vec![0, 255, 0, 255, 255, 0, 255, 0];
/// let images = Dataset::from_pixels("mine", [2, 2, 1], pixels, Some(vec![0, 1]))?;
/// assert_eq!((images.len(), images.classes()), (2, Some(2)));
/// assert!(images.image(0).eq([-1.0, 1.0, -1.0, 1.0]));
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    pub(super) name: String,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
    pub(super) brightest: u8,
    pub(super) pixels: Vec<u8>,
    pub(super) labels: Option<Vec<u8>>,
    /// The names of the classes, if the images lay in a folder for each.
    pub(super) class_names: Option<Vec<String>>,
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
        let fits = bytes > 0 && !pixels.is_empty() && pixels.len().is_multiple_of(bytes);
        let expected = format!("a multiple of {bytes}, above 0");
        Unexpected::check(fits, "bytes of pixels", expected, pixels.len())?;
        let count = pixels.len() / bytes;
        let found = labels.as_ref().map_or(count, Vec::len);
        Unexpected::check(found == count, "labels", count, found)?;
        let brightest = u8::MAX;
        let (name, class_names) = (name.into(), None);
        Ok(Self { name, height, width, channels, brightest, pixels, labels, class_names })
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

    /// The names of the classes, by label, if the images lay in a folder for each.
    pub fn class_names(&self) -> Option<&[String]> {
        self.class_names.as_deref()
    }

    /// Number of classes: of names, or one more than the highest label.
    pub fn classes(&self) -> Option<usize> {
        classes(self.labels.as_deref(), self.class_names.as_deref())
    }

    /// The same images with the labels that `names` gives their classes; unchanged where either has
    /// no names.
    ///
    /// # Errors
    /// If a class has none of these names.
    pub fn with_classes(self, names: &[String]) -> Result<Self, DataError> {
        match relabelled(self.class_names.as_deref(), self.labels.as_deref(), names)? {
            None => Ok(self),
            labels => Ok(Self { labels, class_names: Some(names.into()), ..self }),
        }
    }

    /// Grey images with three equal channels, for a model with `channels` of them; else unchanged.
    pub fn with_channels(self, channels: usize) -> Self {
        if [self.channels, channels] != [1, 3] {
            return self;
        }
        let pixels = self.pixels.iter().flat_map(|grey| [*grey; 3]).collect();
        Self { channels, pixels, ..self }
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

    pub(super) fn bytes(&self, index: usize) -> &[u8] {
        let bytes = self.image_elements();
        &self.pixels[index * bytes..][..bytes]
    }

    /// The images of these indices, in this order.
    pub(super) fn subset(&self, indices: &[u32]) -> Self {
        let pixels = indices.iter().flat_map(|index| self.bytes(*index as usize));
        let labels = self.labels.as_ref();
        let chosen =
            |labels: &Vec<u8>| indices.iter().map(|index| labels[*index as usize]).collect();
        Self {
            name: self.name.clone(),
            pixels: pixels.copied().collect(),
            labels: labels.map(chosen),
            class_names: self.class_names.clone(),
            ..*self
        }
    }
}

/// What data of a folder or file are called.
pub(super) fn name_of(source: &Path) -> String {
    source.file_name().unwrap_or(source.as_os_str()).to_string_lossy().into_owned()
}

/// Number of classes: of names, or one more than the highest label.
pub(super) fn classes(labels: Option<&[u8]>, names: Option<&[String]>) -> Option<usize> {
    let highest = || labels?.iter().max().map(|label| usize::from(*label) + 1);
    labels.and(names.map(<[String]>::len)).or_else(highest)
}

/// Labels of classes by the numbers that `names` gives them, unless either has no names.
pub(super) fn relabelled(
    own: Option<&[String]>,
    labels: Option<&[u8]>,
    names: &[String],
) -> Result<Option<Vec<u8>>, DataError> {
    let (Some(own), Some(labels)) = (own, labels) else { return Ok(None) };
    if names.is_empty() {
        return Ok(None);
    }
    let label_of = |name: &String| {
        let unknown = || Unexpected::new("class", names.join(", "), excerpt(name));
        let label = names.iter().position(|known| known == name);
        label.and_then(|label| u8::try_from(label).ok()).ok_or_else(unknown)
    };
    let map = own.iter().map(label_of).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(labels.iter().map(|label| map[usize::from(*label)]).collect()))
}

//! Batches that worker threads read ahead. What a step sees follows from the seed and its number alone.
use super::{
    Batch, Crop, Images,
    augment::Augmentation,
    batches::{Epochs, Stream, is_mirrored, mirrored, random},
    ordered::Ordered,
};
use crate::error::DataError;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Batches that are read ahead at most.
const AHEAD: usize = 4;

/// How batches are made of images.
///
/// Example: [`Loader`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Loading {
    /// Mirror half of the images left to right.
    pub flip: bool,
    /// Which part of a larger image a step sees.
    pub crop: Crop,
    /// Karras et al.'s augmentations, each with this probability; half of the images are mirrored then.
    pub augment: Option<f64>,
    /// Threads that read images ahead; 0 reads them where they are asked for.
    pub workers: usize,
}

/// Makes the example at any place in the sequence of all steps.
struct Examples {
    images: Images,
    epochs: Mutex<Epochs>,
    seed: u64,
    loading: Loading,
}

/// An image, its class, and what was done to it.
type Example = Result<(Vec<f32>, Option<u32>, Augmentation), DataError>;

impl Examples {
    fn example(&self, place: u64) -> Example {
        let index = self.epochs.lock().unwrap_or_else(PoisonError::into_inner).example(place);
        let mut numbers = random(self.seed, Stream::Crop, place, 0).into_iter();
        let image = match self.loading.crop {
            Crop::Centre => self.images.image(index)?,
            Crop::Random => self.images.part(index, |room| {
                // One of room + 1 places: the high half of a product.
                let number = u64::from(numbers.next().unwrap_or_default());
                ((number * (room as u64 + 1)) >> 32) as usize
            })?,
        };
        let shape @ [_, width, channels] = self.images.shape();
        let image = match self.loading.flip && is_mirrored(self.seed, place) {
            true => mirrored(&image, width, channels),
            false => image,
        };
        let draw = |probability| Augmentation::draw(self.seed, place, probability);
        let augmentation = self.loading.augment.map(draw).unwrap_or_default();
        let image = augmentation.apply(image, shape);
        Ok((image, self.images.labels().map(|labels| labels[index].into()), augmentation))
    }
}

/// The batches of a run, one after another: every epoch all images once, in a new order, the same as those of
/// [`Batches`](super::Batches) whatever the number of workers. A batch may hold the end of one epoch and the beginning
/// of the next.
///
/// ```
/// use ddim::data::{AUGMENT_LABELS, Images, Loader, Loading, digits};
///
/// let loading = Loading { augment: Some(0.1), workers: 2, ..Loading::default() };
/// let mut loader = Loader::new(&Images::from(digits()), 32, 7, loading, 0);
/// assert_eq!(loader.batch()?.images.len(), 32 * 8 * 8);
/// assert_eq!(loader.told().len(), 32 * AUGMENT_LABELS);
/// assert_eq!(loader.step(), 1);
/// # Ok::<(), ddim::Error>(())
/// ```
pub struct Loader {
    examples: Arc<Examples>,
    threads: Option<Ordered<Example>>,
    batch: usize,
    next: u64,
    told: Vec<f32>,
}

impl Loader {
    /// Batches of `batch` images from a step on, counted from 0.
    pub fn new(images: &Images, batch: usize, seed: u64, loading: Loading, step: u64) -> Self {
        let epochs = Mutex::new(Epochs::new(images.len(), batch, seed));
        let examples = Examples { images: images.clone(), epochs, seed, loading };
        let (examples, next) = (Arc::new(examples), step * batch as u64);
        let threads = (loading.workers > 0).then(|| {
            let examples = Arc::clone(&examples);
            let make = move |place| examples.example(place);
            Ordered::new(loading.workers, AHEAD * batch, [next, u64::MAX], make)
        });
        Self { examples, threads, batch, next, told: Vec::new() }
    }

    /// What the batches are made of.
    pub fn images(&self) -> &Images {
        &self.examples.images
    }

    /// The step whose batch is the next.
    pub fn step(&self) -> u64 {
        self.next / self.batch as u64
    }

    /// The next batch.
    ///
    /// # Errors
    /// If an image cannot be read.
    pub fn batch(&mut self) -> Result<Batch, DataError> {
        let labelled = self.examples.images.labels().is_some();
        let (mut images, mut classes) = (Vec::new(), Vec::new());
        self.told.clear();
        for place in self.next..self.next + self.batch as u64 {
            let made = self.threads.as_mut().and_then(Iterator::next);
            let (image, class, augmentation) =
                made.unwrap_or_else(|| self.examples.example(place))?;
            images.extend(image);
            classes.extend(class);
            self.told.extend(augmentation.labels());
        }
        self.next += self.batch as u64;
        Ok(Batch { images, labels: labelled.then_some(classes) })
    }

    /// How the batches are made.
    pub fn loading(&self) -> Loading {
        self.examples.loading
    }

    /// What was done to each image of the last batch: [`AUGMENT_LABELS`](super::AUGMENT_LABELS) numbers of each, zeros for
    /// nothing.
    pub fn told(&self) -> &[f32] {
        &self.told
    }

    /// Time for which batches were waited for, where there are workers.
    pub fn waited(&self) -> Duration {
        self.threads.as_ref().map_or(Duration::ZERO, Ordered::waited)
    }
}

//! The order of training images: the batch of every step follows from the seed alone, so that a
//! resumed run sees what an unbroken one would have seen.
use super::Dataset;
use crate::{
    error::{DataError, Unexpected},
    ops::philox,
};

/// Independent uses of the seed, apart from the streams of the kernels, which count from 0.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(super) enum Stream {
    Shuffle = 0xffff_ffff,
    Flip = 0xffff_fffe,
    Split = 0xffff_fffd,
    Crop = 0xffff_fffc,
    Augment = 0xffff_fffb,
}

pub(super) fn random(seed: u64, stream: Stream, index: u64, round: u32) -> [u32; 4] {
    let counter = [index as u32, (index >> 32) as u32, stream as u32, round];
    philox(counter, [seed as u32, (seed >> 32) as u32])
}

/// The numbers below `count` in a random order: sorted by a random number each.
fn shuffled(count: usize, seed: u64, stream: Stream, round: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count as u32).collect();
    order.sort_by_cached_key(|index| {
        let [high, low, ..] = random(seed, stream, u64::from(*index), round);
        (high, low, *index)
    });
    order
}

/// The numbers of `count` images in two parts, shuffled: first those to train on, then a fraction that is held out.
pub(super) fn split(
    count: usize,
    fraction: f64,
    seed: u64,
) -> Result<(Vec<u32>, Vec<u32>), DataError> {
    let held_out = (count as f64 * fraction).round();
    let fits = held_out >= 1.0 && held_out < count as f64;
    let expected = format!("a part of {count} images that leaves some on both sides");
    Unexpected::check(fits, "validation fraction", expected, fraction)?;
    let mut order = shuffled(count, seed, Stream::Split, 0);
    let train = order.split_off(held_out as usize);
    Ok((train, order))
}

impl Dataset {
    /// The images in two parts, shuffled with `seed`: first the larger for training, then `fraction`
    /// of them, rounded, for validation.
    ///
    /// # Errors
    /// If one of the parts would be empty.
    pub fn split(&self, fraction: f64, seed: u64) -> Result<(Self, Self), DataError> {
        let (train, held_out) = split(self.len(), fraction, seed)?;
        Ok((self.subset(&train), self.subset(&held_out)))
    }
}

/// The images of one training step.
///
/// Example: [`crate::data`].
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// `[batch, height, width, channels]`, from -1 to 1.
    pub images: Vec<f32>,
    /// The class of each, if the images have labels.
    pub labels: Option<Vec<u32>>,
}

/// The order of training examples: every epoch all once, in a new order. A batch may hold the end of one epoch
/// and the beginning of the next.
#[derive(Clone, Debug)]
pub(crate) struct Epochs {
    count: u64,
    batch: u64,
    seed: u64,
    /// Two epochs at most, the even one first: threads that work ahead ask for both in turns.
    orders: [Option<(u64, Vec<u32>)>; 2],
}

impl Epochs {
    /// Of `count` examples, `batch` a step.
    pub fn new(count: usize, batch: usize, seed: u64) -> Self {
        Self { count: count as u64, batch: batch as u64, seed, orders: [None, None] }
    }

    /// The examples of a step, counted from 0, each with its place in the sequence of all steps.
    pub fn step(&mut self, step: u64) -> Vec<(u64, usize)> {
        let places = step * self.batch..(step + 1) * self.batch;
        places.map(|place| (place, self.example(place))).collect()
    }

    /// The example at a place in the sequence of all steps.
    pub fn example(&mut self, place: u64) -> usize {
        let (epoch, count) = (place / self.count, self.count as usize);
        let order = &mut self.orders[(epoch % 2) as usize];
        if order.as_ref().is_none_or(|(known, _)| *known != epoch) {
            *order = Some((epoch, shuffled(count, self.seed, Stream::Shuffle, epoch as u32)));
        }
        order.as_ref().map_or(0, |(_, order)| order[(place % self.count) as usize] as usize)
    }
}

/// Is the image at this place in the sequence of all steps mirrored, of a run that mirrors half of them?
pub(super) fn is_mirrored(seed: u64, place: u64) -> bool {
    random(seed, Stream::Flip, place, 0)[0] & 1 == 1
}

/// An image `[height, width, channels]`, left to right.
pub(super) fn mirrored(image: &[f32], width: usize, channels: usize) -> Vec<f32> {
    let rows = image.chunks_exact(width * channels);
    rows.flat_map(|row| row.chunks_exact(channels).rev().flatten()).copied().collect()
}

/// An endless sequence of batches: every epoch all images once, in a new order. A batch may hold
/// the end of one epoch and the beginning of the next.
///
/// Example: [`crate::data`].
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    dataset: &'a Dataset,
    epochs: Epochs,
    flip: bool,
}

impl<'a> Batches<'a> {
    /// Batches of `batch` images; with `flip`, half of them mirrored left to right.
    pub fn new(dataset: &'a Dataset, batch: usize, seed: u64, flip: bool) -> Self {
        Self { dataset, epochs: Epochs::new(dataset.len(), batch, seed), flip }
    }

    /// The batch of a step, counted from 0.
    pub fn batch(&mut self, step: u64) -> Batch {
        let labels = self.dataset.labels();
        let examples = self.epochs.step(step);
        let mut images = Vec::with_capacity(examples.len() * self.dataset.image_elements());
        let mut classes = Vec::with_capacity(examples.len());
        for (place, index) in examples {
            if self.flip && is_mirrored(self.epochs.seed, place) {
                let image: Vec<f32> = self.dataset.image(index).collect();
                images.extend(mirrored(&image, self.dataset.width(), self.dataset.channels()));
            } else {
                images.extend(self.dataset.image(index));
            }
            classes.extend(labels.map(|labels| u32::from(labels[index])));
        }
        Batch { images, labels: labels.map(|_| classes) }
    }
}

//! How images are read.
use super::Split;
use crate::{
    error::{DataError, Unexpected},
    files,
};
use std::path::PathBuf;

/// The largest side that images are resized to.
const MAX_SIZE: usize = 4096;

/// Bytes of images that are held in memory.
const RESIDENT: u64 = 4 << 30;

/// Which part of a picture is seen, where its sides are not in the ratio of the size.
///
/// Example: [`ReadOptions`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Crop {
    /// The middle.
    #[default]
    Centre,
    /// In training another part each time; the middle where images are held out.
    Random,
}

/// How images are read.
///
/// ```no_run
/// use ddim::data::{Crop, Images, ReadOptions};
///
/// let options = ReadOptions {
///     size: Some([64, 64]),
///     crop: Crop::Random,
///     workers: 4,
///     ..ReadOptions::default()
/// };
/// let pictures = Images::open("pictures".as_ref(), &options)?;
/// assert_eq!(pictures.shape()[..2], [64, 64]);
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// Height and width of every image: the largest part of a picture in this ratio is resized. `None` takes
    /// pictures as they are.
    pub size: Option<[usize; 2]>,
    /// Which part that is.
    pub crop: Crop,
    /// Red, green and blue of what transparent pictures are laid on.
    pub background: [u8; 3],
    /// Pixels of the largest picture that is decoded.
    pub max_pixels: u64,
    /// One part of data that are published in two; `None` takes that for training, or the other where it stands alone.
    pub split: Option<Split>,
    /// Threads that decode pictures; 0 decodes where they are asked for.
    pub workers: usize,
    /// Bytes of decoded pictures that are held in memory. If there are more, pictures are decoded when they are
    /// asked for.
    pub resident: u64,
    /// A folder that keeps decoded pictures for this run and later ones, instead of memory.
    pub cache: Option<PathBuf>,
}

impl Default for ReadOptions {
    /// As pictures are, on white, of at most 64 Mi pixels, 4 GiB of them in memory.
    fn default() -> Self {
        Self {
            size: None,
            crop: Crop::Centre,
            background: [255; 3],
            max_pixels: files::MAX_PIXELS,
            split: None,
            workers: 0,
            resident: RESIDENT,
            cache: None,
        }
    }
}

impl ReadOptions {
    /// Refuses sizes that nothing is resized to.
    pub(super) fn check(&self) -> Result<(), DataError> {
        self.size.map_or(Ok(()), |size| size.into_iter().try_for_each(check_size))
    }
}

/// Refuses a side that nothing is resized to.
pub(super) fn check_size(side: usize) -> Result<(), DataError> {
    let fits = (1..=MAX_SIZE).contains(&side);
    Ok(Unexpected::check(fits, "size", format!("1 to {MAX_SIZE}"), side)?)
}

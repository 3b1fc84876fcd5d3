//! Pictures as they are decoded one after another, and where they are kept.
use super::{Dataset, cache, extent::Extent, images::Pixels};
use crate::error::{DataError, FileError};
use std::path::Path;

/// Where decoded pictures go.
pub(super) enum Kept {
    /// Here, one after the other.
    Memory(Vec<u8>),
    /// Nowhere: they are decoded again.
    Files,
    /// Into a file.
    Cache(cache::Writer),
}

/// Pictures of one size, all RGB once one is.
pub(super) struct Collected {
    pub extents: Vec<Extent>,
    pub kept: Kept,
    /// Height and width, unless they are those of the first.
    size: Option<[usize; 2]>,
    offset: u64,
}

impl Collected {
    pub fn new(size: Option<[usize; 2]>, kept: Kept) -> Self {
        Self { extents: Vec::new(), kept, size, offset: 0 }
    }

    /// Adds a picture that is as large as the others, or larger where these are parts of it.
    pub fn push(&mut self, path: &Path, picture: Pixels) -> Result<(), DataError> {
        let Pixels { height, width, channels, bytes } = picture;
        if self.size.is_none()
            && let Some(first) = self.extents.first()
        {
            let (expected, found) =
                ((first.height as usize, first.width as usize), (height, width));
            if found != expected {
                return Err(DataError::UnequalSizes { path: path.into(), expected, found });
            }
        }
        let failed = FileError::at(path);
        match &mut self.kept {
            Kept::Memory(all) => {
                all.try_reserve(bytes.len()).map_err(|error| failed(error.into()))?;
                all.extend(&bytes);
            }
            Kept::Cache(writer) => writer.write(&bytes)?,
            Kept::Files => {}
        }
        let (height, width, channels) = (height as u32, width as u32, channels as u8);
        self.extents.push(Extent { offset: self.offset, height, width, channels });
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Leaves the pixels in their files if they take more than so many bytes of memory.
    pub fn limit(&mut self, bytes: u64) {
        if matches!(self.kept, Kept::Memory(_)) && self.offset > bytes {
            self.kept = Kept::Files;
        }
    }

    /// Height, width and channels of all.
    pub fn shape(&self) -> [usize; 3] {
        shape(&self.extents, self.size)
    }

    /// All of them in memory, where they were kept there and have the size.
    pub fn into_dataset(self, name: &str, labels: Option<Vec<u8>>) -> Result<Dataset, DataError> {
        let shape @ [.., channels] = self.shape();
        let Kept::Memory(bytes) = self.kept else { unreachable!("they were kept in memory") };
        let same = self.extents.iter().all(|extent| usize::from(extent.channels) == channels);
        if same {
            return Dataset::from_pixels(name, shape, bytes, labels);
        }
        let mut all = Vec::with_capacity(self.extents.len() * shape.iter().product::<usize>());
        for extent in self.extents {
            let pixels = &bytes[extent.offset as usize..][..extent.bytes()];
            let times = channels / usize::from(extent.channels);
            all.extend(pixels.iter().flat_map(|byte| std::iter::repeat_n(*byte, times)));
        }
        Dataset::from_pixels(name, shape, all, labels)
    }
}

/// Height, width and channels of pictures of a size, or as large as the first.
pub(super) fn shape(extents: &[Extent], size: Option<[usize; 2]>) -> [usize; 3] {
    let first = extents.first().map(|of| [of.height as usize, of.width as usize]);
    let [height, width] = size.or(first).unwrap_or_default();
    let channels = extents.iter().map(|extent| extent.channels).max();
    [height, width, channels.unwrap_or_default().into()]
}

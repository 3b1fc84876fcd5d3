//! Tiles of minimal filtering, and how many of them are computed at a time.
use crate::{
    ops::{Lowering, conv2d::Extents},
    plan::Family,
    shaders::winograd,
    value::TensorType,
};

/// A tile of two rows of `y`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tile {
    /// Of four pixels each.
    Wide,
    /// Of two, with half the rounding error and half as many products again.
    Narrow,
}

impl Tile {
    pub fn of(family: Family) -> Self {
        if family == Family::WinogradNarrow { Self::Narrow } else { Self::Wide }
    }

    pub fn columns(self) -> usize {
        match self {
            Self::Wide => 4,
            Self::Narrow => 2,
        }
    }

    /// Products per tile and pair of channels.
    pub fn places(self) -> usize {
        4 * (self.columns() + 2)
    }

    /// Tiles of the images.
    pub fn count(self, extents: &Extents) -> [usize; 3] {
        let (down, across) = (extents.out_height.div_ceil(2), extents.out_width);
        [extents.batch, down, across.div_ceil(self.columns())]
    }

    /// Constants of the kernels.
    pub fn overrides(self) -> winograd::Overrides {
        winograd::Overrides { narrow: self == Self::Narrow, ..Default::default() }
    }

    /// So many spread tiles, of this many channels.
    pub fn spread(self, tiles: usize, channels: usize) -> TensorType {
        TensorType::f32(&[self.places(), tiles, channels])
    }
}

/// Spread tiles that a CPU's caches hold.
const CACHE_BYTES: u64 = 4 << 20;

/// Spread tiles of a part of an image on a CPU, where those of a whole one pass the largest binding.
const PART_BYTES: u64 = 32 << 20;

/// Spread tiles of a launch on a GPU, and at most as much again for their products: memory that a direct convolution does
/// not take. To move as many takes 0.1 ms or more, beside which the launches of another part are little.
const GPU_BYTES: u64 = 512 << 20;

/// The same in a plan of training, whose activations are what memory is for.
const TRAINING_BYTES: u64 = 64 << 20;

/// What is computed at a time: so many images from the first on, of each so many rows of tiles.
pub(super) struct Part {
    first: usize,
    pub images: usize,
    first_row: usize,
    pub rows: usize,
}

impl Part {
    /// Its tiles.
    pub fn tiles(&self, tile: Tile, extents: &Extents) -> usize {
        let [_, _, across] = tile.count(extents);
        self.images * self.rows * across
    }

    /// The parameters of all parts, for this one.
    pub fn params(&self, all: winograd::Params) -> winograd::Params {
        winograd::Params {
            batch: self.images as u32,
            first: self.first as u32,
            first_row: self.first_row as u32,
            tiles_down: self.rows as u32,
            ..all
        }
    }
}

/// As many images as their spread tiles fit a binding and, on a CPU, its caches, on a GPU [`GPU_BYTES`] or [`TRAINING_BYTES`];
/// parts of one where not one does. None where the filters do not fit a binding, or two rows of tiles.
pub(super) fn parts(
    lowering: &Lowering,
    tile: Tile,
    extents: &Extents,
    filters: TensorType,
) -> Option<Vec<Part>> {
    let target = lowering.target();
    let [batch, down, across] = tile.count(extents);
    let bytes = |tiles, channels| tile.spread(tiles, channels).bytes();
    let [read, written] =
        [extents.in_channels, extents.out_channels].map(|channels| bytes(down * across, channels));
    if filters.bytes() > target.max_binding {
        return None;
    }
    let software = target.profile.is_software();
    let limit = match lowering.trains() {
        _ if software => u64::MAX,
        true => TRAINING_BYTES,
        false => GPU_BYTES,
    };
    let fitting = target.max_binding.min(limit);
    let mut images = fitting / read.max(written);
    if images == 0 {
        let line = bytes(across, extents.in_channels.max(extents.out_channels));
        let fitting = if software { fitting.min(PART_BYTES) } else { fitting };
        // The squares of moments are two tiles high.
        let most = 2 * (fitting / (2 * line)) as usize;
        if most == 0 {
            return None;
        }
        let of = |first| (0..down).step_by(most).map(move |first_row| (first, first_row));
        let part = |(first, first_row)| {
            let rows = most.min(down - first_row);
            Part { first, images: 1, first_row, rows }
        };
        return Some((0..batch).flat_map(of).map(part).collect());
    }
    if software {
        images = images.min((CACHE_BYTES.max(filters.bytes()) / (read + written)).max(1));
    }
    let chunks = batch.div_ceil(usize::try_from(images).unwrap_or(usize::MAX));
    let images = batch.div_ceil(chunks);
    let part = |first| Part { first, images: images.min(batch - first), first_row: 0, rows: down };
    Some((0..batch).step_by(images).map(part).collect())
}

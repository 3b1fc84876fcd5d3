//! The tiling of `shaders/shared/pixel_tile.wgsl`: an invocation owns four channels and one tile
//! of the pixels of an image.
use crate::{
    error::ShapeError,
    ops::prelude::Check,
    plan::{Target, fold},
    value::TensorType,
};

/// A tensor as images of pixels of channels: `[batch, .., channels]`.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) struct Images {
    /// Images.
    pub batch: usize,
    /// Pixels, or tokens, of an image.
    pub pixels: usize,
    /// Channels of a pixel.
    pub channels: usize,
}

impl Images {
    /// The extents of the operand `x` that goes by `name`.
    ///
    /// # Errors
    /// If `x` has neither the axes of images nor those of tokens, or holds no floats.
    pub fn of(check: Check, name: &str, x: TensorType) -> Result<Self, ShapeError> {
        let expected = "[batch, height, width, channels] or [batch, tokens, channels]";
        check.that((3..=4).contains(&x.shape.len()), name, expected, x)?;
        check.floats(name, x)?;
        Ok(Self::unchecked(x))
    }

    /// The extents of a tensor that `infer` has accepted.
    pub fn unchecked(x: TensorType) -> Self {
        let (batch, channels) = (x.shape[0], x.shape.last());
        Self { batch, pixels: x.rows().checked_div(batch).unwrap_or(0), channels }
    }

    /// `vec4`s of a pixel.
    pub fn channels4(&self) -> usize {
        self.channels.div_ceil(4)
    }

    /// Pixels of a tile: about as many as an image has tiles, so that neither the sum over a tile
    /// nor the sum over the tiles is long.
    pub fn tile_pixels(&self) -> usize {
        self.pixels.isqrt().max(16)
    }

    /// Tiles of an image.
    pub fn tiles(&self) -> usize {
        self.pixels.div_ceil(self.tile_pixels())
    }

    /// Two partial results per image, tile and channel.
    pub fn partials(&self) -> TensorType {
        TensorType::f32(&[self.batch, self.tiles(), 2, self.channels])
    }

    /// One invocation per image, tile and four channels.
    pub fn grid(&self, workgroup: u32) -> [u32; 3] {
        self.grid_of(self.tiles(), workgroup)
    }

    /// As [`Self::grid`], of so many tiles.
    pub fn grid_of(&self, tiles: usize, workgroup: u32) -> [u32; 3] {
        let invocations = tiles * self.channels4();
        let [y, z, _] = fold(self.batch);
        [invocations.div_ceil(workgroup as usize) as u32, y, z]
    }

    /// Pixels of a tile that leaves no partial result: what a tile loads once should not count, and
    /// a GPU wants many invocations first.
    pub fn strip(&self, target: &Target) -> usize {
        const SOFTWARE: usize = 32;
        const LONGEST: usize = 8;
        const INVOCATIONS: usize = 1 << 16;
        let vectors = self.batch * self.pixels * self.channels4();
        if target.profile.is_software() {
            SOFTWARE
        } else {
            (vectors / INVOCATIONS).clamp(1, LONGEST)
        }
    }
}

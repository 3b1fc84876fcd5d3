//! Images as PNG files: grids, small ones enlarged, and animations. With the feature `pictures`.
//!
//! ```
//! use ddim::{data, pictures::{Picture, columns, comfortable_scale}};
//!
//! let digits = data::digits();
//! let images: Vec<f32> = (0..4).flat_map(|number| digits.image(number)).collect();
//! let picture = Picture::grid(&images, [8, 8, 1], columns(4), comfortable_scale(8, 8))?;
//! // Two rows of 64 pixels, and three gaps of 4.
//! assert_eq!(picture.size(), [2 * 64 + 3 * 4; 2]);
//! assert_eq!(Picture::of_png(&picture.png()?)?, picture);
//! # Ok::<(), ddim::Error>(())
//! ```
use crate::error::PictureError;

/// About how wide an enlarged image is.
const COMFORTABLE: usize = 64;

/// Between the images of a grid.
const GAP_SHADE: u8 = 0x30;

/// A picture in bytes.
///
/// Example: [`crate::pictures`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    /// 1 or 3.
    channels: usize,
    pixels: Vec<u8>,
}

/// How often a pixel is repeated in both directions, so that one sees it.
///
/// Example: [`crate::pictures`].
pub fn comfortable_scale(height: usize, width: usize) -> usize {
    (COMFORTABLE / height.max(width)).max(1)
}

/// A number of columns that makes a grid of `count` images about square.
///
/// Example: [`crate::pictures`].
pub fn columns(count: usize) -> usize {
    (count as f64).sqrt().ceil() as usize
}

/// A grid of images, with gaps between them and around.
///
/// ```
/// // Four images of 8x8 in two rows, each pixel a square of 8: 140x140 with the gaps.
/// let grid = ddim::pictures::Grid { count: 4, size: [8, 8], columns: 2, scale: 8 };
/// grid.check(1, 140 * 140)?;
/// assert!(grid.check(1, 140 * 140 - 1).is_err());
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    /// Images.
    pub count: usize,
    /// Height and width of an image.
    pub size: [usize; 2],
    /// Images in a row.
    pub columns: usize,
    /// Side of the square that shows a pixel.
    pub scale: usize,
}

impl Grid {
    /// The longest side that a PNG file may have.
    const LONGEST: usize = i32::MAX as usize;

    /// Pixels between two images.
    fn gap(&self) -> usize {
        (self.scale / 2).max(1)
    }

    /// Height and width of the picture, if a PNG file may have them.
    fn sides(&self) -> Option<[usize; 2]> {
        let [height, width] = self.size;
        let columns = self.columns.min(self.count);
        let side = |images: usize, extent: usize| {
            let tile = extent.checked_mul(self.scale)?.checked_add(self.gap())?;
            let side = images.checked_mul(tile)?.checked_add(self.gap())?;
            Some(side).filter(|side| *side <= Self::LONGEST)
        };
        Some([side(self.count.div_ceil(self.columns.max(1)), height)?, side(columns, width)?])
    }

    /// Refuses a picture, or `frames` of an animation together, of more than `limit` pixels: before
    /// anything is computed.
    ///
    /// # Errors
    /// If it is larger, or than a PNG file may be.
    pub fn check(&self, frames: usize, limit: u64) -> Result<(), PictureError> {
        let pixels = self
            .sides()
            .and_then(|[height, width]| (height as u64 * width as u64).checked_mul(frames as u64));
        match pixels {
            Some(pixels) if pixels <= limit => Ok(()),
            _ => Err(self.too_large(frames, limit)),
        }
    }

    fn too_large(&self, frames: usize, limit: u64) -> PictureError {
        let Self { count, size, scale, .. } = *self;
        PictureError::Size { count, size, scale, frames, limit }
    }
}

impl Picture {
    /// The chunk by which a PNG file of this crate is known.
    pub const SIGN: &str = "tEXtSoftware\0ddim";

    /// Images `[count, height, width, channels]`, -1 to 1 (what lies outside is clipped), in rows
    /// of `columns`, every pixel a square of `scale`. Of one or two channels the first is shown,
    /// of more the first three.
    ///
    /// # Errors
    /// If the picture is larger than a PNG file may be, or than memory.
    pub fn grid(
        images: &[f32],
        [height, width, channels]: [usize; 3],
        columns: usize,
        scale: usize,
    ) -> Result<Self, PictureError> {
        let count = images.len() / (height * width * channels);
        let grid = Grid { count, size: [height, width], columns, scale };
        let gap = grid.gap();
        let shown = if channels < 3 { 1 } else { 3 };
        let [rows, across] = grid.sides().ok_or_else(|| grid.too_large(1, u64::MAX))?;
        let mut pixels = Vec::new();
        pixels.try_reserve_exact(rows * across * shown).map_err(|error| failed("images", error))?;
        pixels.resize(rows * across * shown, GAP_SHADE);
        let mut picture = Self { width: across, height: rows, channels: shown, pixels };
        let (tile_height, tile_width) = (height * scale + gap, width * scale + gap);
        for (index, image) in images.chunks_exact(height * width * channels).enumerate() {
            let top = index / columns * tile_height + gap;
            let left = index % columns * tile_width + gap;
            for row in 0..height * scale {
                for column in 0..width * scale {
                    let from = (row / scale * width + column / scale) * channels;
                    let to = ((top + row) * picture.width + left + column) * shown;
                    for channel in 0..shown {
                        picture.pixels[to + channel] = byte(image[from + channel]);
                    }
                }
            }
        }
        Ok(picture)
    }

    /// One image `[height, width, channels]` alone, pixel by pixel; the rest as [`Picture::grid`].
    pub fn single(image: &[f32], [height, width, channels]: [usize; 3]) -> Self {
        let shown = if channels < 3 { 1 } else { 3 };
        let pixels = image.chunks_exact(channels).flat_map(|pixel| &pixel[..shown]);
        let pixels = pixels.map(|number| byte(*number)).collect();
        Self { width, height, channels: shown, pixels }
    }

    /// Height and width in pixels.
    pub fn size(&self) -> [usize; 2] {
        [self.height, self.width]
    }

    /// The picture of a PNG file that [`Picture::png`] made.
    ///
    /// # Errors
    /// If the bytes are none of 8 bits, grey or RGB.
    pub fn of_png(bytes: &[u8]) -> Result<Self, PictureError> {
        let failed = |error: png::DecodingError| failed("a picture", error);
        let mut reader =
            png::Decoder::new(std::io::Cursor::new(bytes)).read_info().map_err(failed)?;
        let size = reader.output_buffer_size();
        let mut pixels = vec![0; size.unwrap_or_default()];
        let info = reader.next_frame(&mut pixels).map_err(failed)?;
        let channels = match (info.bit_depth, info.color_type) {
            (png::BitDepth::Eight, png::ColorType::Grayscale) => 1,
            (png::BitDepth::Eight, png::ColorType::Rgb) => 3,
            other => return Err(self::failed("a picture", format!("of {other:?}"))),
        };
        let (width, height) = (info.width as usize, info.height as usize);
        pixels.truncate(width * height * channels);
        Ok(Self { width, height, channels, pixels })
    }

    /// The bytes of a PNG file.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn png(&self) -> Result<Vec<u8>, PictureError> {
        let mut bytes = Vec::new();
        let encoded = self.encoder(&mut bytes).and_then(|encoder| {
            let mut writer = encoder.write_header()?;
            writer.write_image_data(&self.pixels)?;
            writer.finish()
        });
        encoded.map_err(|error| failed("images", error))?;
        Ok(bytes)
    }

    /// An encoder for pictures like this one, which puts the sign into the file.
    fn encoder<'a>(
        &self,
        bytes: &'a mut Vec<u8>,
    ) -> Result<png::Encoder<'static, &'a mut Vec<u8>>, png::EncodingError> {
        let mut encoder = png::Encoder::new(bytes, self.width as u32, self.height as u32);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_color(match self.channels {
            1 => png::ColorType::Grayscale,
            _ => png::ColorType::Rgb,
        });
        encoder.set_compression(png::Compression::Fast);
        encoder.add_text_chunk("Software".into(), "ddim".into())?;
        Ok(encoder)
    }
}

fn failed(what: &'static str, error: impl ToString) -> PictureError {
    PictureError::Encoding { what, message: error.to_string() }
}

/// Pictures of one size as an animated PNG that repeats; the last stands five times as long.
///
/// ```
/// use ddim::pictures::{Picture, animation};
/// let frames = [-1.0, 1.0].map(|shade| Picture::single(&[shade; 64], [8, 8, 1]));
/// assert!(animation(&frames, 100)?.starts_with(b"\x89PNG"));
/// # Ok::<(), ddim::Error>(())
/// ```
///
/// # Errors
/// If there are none, or they cannot be encoded.
pub fn animation(pictures: &[Picture], milliseconds: u16) -> Result<Vec<u8>, PictureError> {
    let Some(first) = pictures.first() else { return Err(failed("an animation", "no pictures")) };
    let mut bytes = Vec::new();
    let encoded = first.encoder(&mut bytes).and_then(|mut encoder| {
        encoder.set_animated(pictures.len() as u32, 0)?;
        encoder.set_frame_delay(milliseconds, 1000)?;
        let mut writer = encoder.write_header()?;
        for (index, picture) in pictures.iter().enumerate() {
            if index + 1 == pictures.len() {
                writer.set_frame_delay(5 * milliseconds, 1000)?;
            }
            writer.write_image_data(&picture.pixels)?;
        }
        writer.finish()
    });
    encoded.map_err(|error| failed("an animation", error))?;
    Ok(bytes)
}

/// A number from -1 to 1 as a shade.
///
/// ```
/// assert_eq!([-1.0, 0.0, 2.0].map(ddim::pictures::byte), [0, 128, 255]);
/// ```
pub fn byte(number: f32) -> u8 {
    ((number.clamp(-1.0, 1.0) + 1.0) * 127.5).round() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_keeps_order_and_shades() {
        let picture = Picture::grid(&[-1.0, 1.0, 0.0], [1, 1, 1], 2, 1).expect("a small picture");
        assert_eq!((picture.width, picture.height), (5, 5));
        let gap = GAP_SHADE;
        assert_eq!(picture.pixels[5..10], [gap, 0, gap, 255, gap]);
        assert_eq!(picture.pixels[15..20], [gap, 128, gap, gap, gap]);
    }

    #[test]
    fn a_picture_too_large_is_refused_whatever_the_numbers() {
        let grid = |count, side, columns, scale| Grid { count, size: [side; 2], columns, scale };
        // Two images of 16 pixels a side, and three gaps of 1: 35 x 35.
        assert!(grid(4, 8, 2, 2).check(1, 35 * 35).is_ok());
        assert!(grid(4, 8, 2, 2).check(1, 35 * 35 - 1).is_err());
        assert!(grid(4, 8, 2, 2).check(2, 2 * 35 * 35 - 1).is_err());
        for (count, side, columns, scale) in [
            (1, 8, 1, usize::MAX),
            (usize::MAX, 8, 1, 1),
            (usize::MAX, 8, usize::MAX, 1),
            (1, usize::MAX, 1, 1),
            (1, 1 << 31, 1, 1),
            (1 << 24, 1 << 24, 1 << 12, 1 << 24),
        ] {
            let error = grid(count, side, columns, scale).check(1, u64::MAX);
            assert!(matches!(error, Err(PictureError::Size { limit: u64::MAX, .. })), "{error:?}");
        }
    }
}

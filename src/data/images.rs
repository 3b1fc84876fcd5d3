//! Pictures in files, their crops and sizes.
use std::{
    io::{self, Cursor, Read},
    path::{Path, PathBuf},
};

use image::{
    DynamicImage, GrayImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, imageops,
    metadata::Orientation,
};

use super::Dataset;
use crate::{
    error::{DataError, FileError, Unexpected},
    files,
};

/// The largest side that images are resized to.
const MAX_SIZE: usize = 4096;

/// Bytes by which a picture's format is known.
const HEAD: u64 = 16;

/// Bytes of a file beside eight for each pixel: 16 bits of red, green, blue and opacity.
const BESIDE_PIXELS: u64 = 64 << 20;

impl Dataset {
    /// One picture from the bytes of a PNG, JPEG or WebP file of at most `max_pixels` pixels.
    ///
    /// # Errors
    /// If it cannot be decoded or has more pixels; the errors call it `name`.
    pub fn from_picture(name: &str, bytes: &[u8], max_pixels: u64) -> Result<Self, DataError> {
        let picture = Picture::decode(Path::new(name), bytes, max_pixels)?;
        let Picture { height, width, channels, pixels } = picture;
        Self::from_pixels(name, [height, width, channels], pixels, None)
    }

    /// Every image cropped to its centre and resized to `size` pixels on both sides.
    pub(super) fn resized(self, size: usize) -> Result<Self, DataError> {
        if self.height == check_size(size)? && self.width == size {
            return Ok(self);
        }
        let Self { height, width, channels, .. } = self;
        // All 256 levels: resizing makes others than the 17 of the digits.
        let whole_range =
            |byte: &u8| (f32::from(*byte) * 255.0 / f32::from(self.brightest)).round() as u8;
        let resized = |index| {
            let pixels = self.bytes(index).iter().map(whole_range).collect();
            Picture { height, width, channels, pixels }.resized(size).pixels
        };
        let pixels = (0..self.len()).flat_map(resized).collect();
        let shape = [size, size, channels];
        let resized = Self::from_pixels(&self.name, shape, pixels, self.labels.clone())?;
        Ok(Self { class_names: self.class_names, ..resized })
    }
}

pub(super) fn check_size(size: usize) -> Result<usize, DataError> {
    let fits = (1..=MAX_SIZE).contains(&size);
    Unexpected::check(fits, "size", format!("1 to {MAX_SIZE}"), size)?;
    Ok(size)
}

/// Whether a file begins as a picture that is read, whatever its name.
pub(super) fn is_picture(path: &Path) -> io::Result<bool> {
    let mut head = Vec::new();
    files::open(path)?.take(HEAD).read_to_end(&mut head)?;
    Ok(format(&head).is_some())
}

fn format(bytes: &[u8]) -> Option<ImageFormat> {
    let read = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP];
    image::guess_format(bytes).ok().filter(|format| read.contains(format))
}

/// Whether a JPEG or WebP file goes to its end. Their decoders paint grey what is missing, or allocate
/// what a chunk says it holds.
fn is_whole(format: ImageFormat, bytes: &[u8]) -> bool {
    match format {
        ImageFormat::Jpeg => {
            // Segments up to the first scan; a thumbnail inside of one has an end of its own.
            let mut at = 2;
            while let Some(&[0xff, marker, high, low]) = bytes.get(at..at + 4) {
                match marker {
                    0xda => break,
                    0xff => at += 1,
                    _ => at += 2 + usize::from(u16::from_be_bytes([high, low])),
                }
            }
            bytes.get(at..).is_some_and(|scans| scans.windows(2).any(|pair| pair == [0xff, 0xd9]))
        }
        ImageFormat::WebP => {
            // The container says its length; in it lie chunks of even lengths.
            let length_at = |at: usize| {
                let word = bytes.get(at + 4..at + 8)?.first_chunk()?;
                Some((u32::from_le_bytes(*word) as usize).next_multiple_of(2))
            };
            let end = length_at(0).map_or(usize::MAX, |length| 8 + length);
            let mut at = 12;
            while let Some(length) = length_at(at).filter(|_| at + 8 <= end) {
                at += 8 + length;
            }
            at.max(end) <= bytes.len().next_multiple_of(2)
        }
        _ => true,
    }
}

/// Bytes that a file's text and colour profile may take, unpacked.
const BESIDE: u64 = 16 << 20;

/// Pictures of one size, one after the other.
#[derive(Default)]
pub(super) struct Pictures {
    /// Height, width and channels.
    pub shape: [usize; 3],
    pub pixels: Vec<u8>,
}

impl Pictures {
    /// Adds a picture; all are RGB once one is.
    pub fn push(&mut self, path: PathBuf, picture: Picture) -> Result<(), DataError> {
        let [height, width, channels] = &mut self.shape;
        let found = (picture.height, picture.width);
        if self.pixels.is_empty() {
            (*height, *width, *channels) = (picture.height, picture.width, picture.channels);
        } else if found != (*height, *width) {
            return Err(DataError::UnequalSizes { path, expected: (*height, *width), found });
        }
        let more = (*channels).max(picture.channels);
        if more > *channels {
            self.pixels = repeated(std::mem::take(&mut self.pixels), more);
            *channels = more;
        }
        let bytes =
            if picture.channels == more { picture.pixels } else { repeated(picture.pixels, more) };
        let room = self.pixels.try_reserve(bytes.len());
        room.map_err(|error| FileError { path, source: error.into() })?;
        self.pixels.extend(bytes);
        Ok(())
    }
}

/// Grey pixels, each repeated in so many channels.
fn repeated(grey: Vec<u8>, channels: usize) -> Vec<u8> {
    let mut pixels = Vec::with_capacity(grey.len() * channels);
    pixels.extend(grey.into_iter().flat_map(|grey| std::iter::repeat_n(grey, channels)));
    pixels
}

/// A decoded picture: `[height, width, channels]` bytes.
pub(super) struct Picture {
    height: usize,
    width: usize,
    channels: usize,
    pixels: Vec<u8>,
}

impl Picture {
    /// Reads a picture as grey or RGB, upright: transparent ones on white, 16 bits rounded to 8.
    pub fn read(path: &Path, max_pixels: u64) -> Result<Self, DataError> {
        let limit = max_pixels.saturating_mul(8).saturating_add(BESIDE_PIXELS);
        let bytes = files::read(path, limit).map_err(FileError::at(path))?;
        Self::decode(path, &bytes, max_pixels)
    }

    /// The same from a file's bytes; `path` is for the errors alone. The picture's size is looked at
    /// before its pixels are allocated.
    fn decode(path: &Path, bytes: &[u8], max_pixels: u64) -> Result<Self, DataError> {
        let failed =
            |source: ImageError| DataError::Picture { path: path.into(), source: source.into() };
        let wrong = |expected: String, found: &str| DataError::Format {
            path: path.into(),
            expected,
            found: found.into(),
        };
        let format = format(bytes)
            .ok_or_else(|| wrong("a PNG, JPEG or WebP picture".into(), "another file"))?;
        if !is_whole(format, bytes) {
            return Err(wrong(format!("a whole {format:?} file"), "one that ends early"));
        }
        let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
        // Text and colour profiles are packed too.
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(BESIDE);
        reader.limits(limits);
        let mut decoder = reader.into_decoder().map_err(failed)?;
        let (width, height) = decoder.dimensions();
        if u64::from(width) * u64::from(height) > max_pixels {
            let path = path.into();
            return Err(DataError::Large { path, max_pixels, height, width });
        }
        // A note that cannot be read turns nothing.
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        decoder.set_limits(Limits::no_limits()).map_err(failed)?;
        let mut picture = DynamicImage::from_decoder(decoder).map_err(failed)?;
        picture.apply_orientation(orientation);
        let (height, width) = (picture.height() as usize, picture.width() as usize);
        let (color, alpha) = (picture.color().has_color(), picture.color().has_alpha());
        let (channels, pixels) = match (color, alpha) {
            (true, true) => (3, on_white::<3, 4>(picture.into_rgba8().as_raw())),
            (false, true) => (1, on_white::<1, 2>(picture.into_luma_alpha8().as_raw())),
            (true, false) => (3, picture.into_rgb8().into_raw()),
            (false, false) => (1, picture.into_luma8().into_raw()),
        };
        Ok(Self { height, width, channels, pixels })
    }

    /// The largest square in the middle, resized with a filter that widens as the picture shrinks.
    pub fn resized(self, size: usize) -> Self {
        let side = self.height.min(self.width);
        let (top, left) = ((self.height - side) / 2, (self.width - side) / 2);
        let mut pixels = vec![0; size * size * self.channels];
        for channel in 0..self.channels {
            let square = GrayImage::from_fn(side as u32, side as u32, |x, y| {
                let pixel = (top + y as usize) * self.width + left + x as usize;
                image::Luma([self.pixels[pixel * self.channels + channel]])
            });
            let (square, side) = (DynamicImage::from(square), size as u32);
            let resized = imageops::resize(&square.into_luma8(), side, side, imageops::Triangle);
            for (pixel, byte) in resized.into_raw().into_iter().enumerate() {
                pixels[pixel * self.channels + channel] = byte;
            }
        }
        Self { height: size, width: size, channels: self.channels, pixels }
    }
}

/// The picture laid on white; the last of the `WITH` channels is the opacity.
fn on_white<const COLORS: usize, const WITH: usize>(pixels: &[u8]) -> Vec<u8> {
    let (pixels, _) = pixels.as_chunks::<WITH>();
    let blend = |color: u8, opacity: u8| {
        let (color, opacity) = (u32::from(color), u32::from(opacity));
        ((color * opacity + 255 * (255 - opacity) + 127) / 255) as u8
    };
    let mut blended = Vec::with_capacity(pixels.len() * COLORS);
    for pixel in pixels {
        blended.extend((0..COLORS).map(|c| blend(pixel[c], pixel[COLORS])));
    }
    blended
}

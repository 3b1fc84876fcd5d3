//! Pictures in files, their crops and sizes.
use std::{
    io::{self, Cursor, Read},
    path::Path,
};

use image::{
    DynamicImage, GrayImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, imageops,
    metadata::Orientation,
};

use super::{
    images::Pixels,
    options::{Crop, ReadOptions},
};
use crate::{
    error::{DataError, FileError},
    files,
};

/// Bytes by which a picture's format is known.
const HEAD: u64 = 16;

/// Bytes of a file beside eight for each pixel: 16 bits of red, green, blue and opacity.
const BESIDE_PIXELS: u64 = 64 << 20;

/// Whether a file begins as a picture that is read, whatever its name.
pub(super) fn is_picture(path: &Path) -> io::Result<bool> {
    let mut head = Vec::new();
    files::open(path)?.take(HEAD).read_to_end(&mut head)?;
    Ok(format(&head).is_some())
}

fn format(bytes: &[u8]) -> Option<ImageFormat> {
    let read = [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::WebP,
        ImageFormat::Bmp,
        ImageFormat::Tiff,
        ImageFormat::Gif,
    ];
    let format = image::guess_format(bytes).ok().filter(|format| read.contains(format))?;
    // Two letters alone would make a picture of many a text.
    let is_text = format == ImageFormat::Bmp && bytes.get(6..10) != Some(&[0; 4]);
    (!is_text).then_some(format)
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

/// Bytes of a decoded pixel at most: floats of red, green, blue and opacity.
const DECODED: u64 = 16;

/// Bytes that a file's text and colour profile may take, unpacked.
const BESIDE: u64 = 16 << 20;

/// Formats, as messages name them.
pub(super) const FORMATS: &str = "PNG, JPEG, WebP, BMP, TIFF or GIF";

impl Pixels {
    /// Reads a picture as grey or RGB, upright: transparent ones on the background, 16 bits rounded to 8, of an
    /// animation the first frame.
    pub fn read(path: &Path, options: &ReadOptions) -> Result<Self, DataError> {
        let limit = options.max_pixels.saturating_mul(8).saturating_add(BESIDE_PIXELS);
        let bytes = files::read(path, limit).map_err(FileError::at(path))?;
        Self::decode(path, &bytes, options)
    }

    /// The same from a file's bytes; `path` is for the errors alone. The picture's size is looked at
    /// before its pixels are allocated.
    pub fn decode(path: &Path, bytes: &[u8], options: &ReadOptions) -> Result<Self, DataError> {
        let failed =
            |source: ImageError| DataError::Picture { path: path.into(), source: source.into() };
        let wrong = |expected: String, found: &str| DataError::Format {
            path: path.into(),
            expected,
            found: found.into(),
        };
        let format =
            format(bytes).ok_or_else(|| wrong(format!("a {FORMATS} picture"), "another file"))?;
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
        let (pixels, max_pixels) = (u64::from(width) * u64::from(height), options.max_pixels);
        if pixels > max_pixels {
            let path = path.into();
            return Err(DataError::Large { path, max_pixels, height, width });
        }
        // A note that cannot be read turns nothing.
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let mut limits = Limits::no_limits();
        if matches!(format, ImageFormat::Tiff | ImageFormat::Gif | ImageFormat::Bmp) {
            // A strip of a TIFF file says its own length.
            limits.max_alloc = Some(pixels.saturating_mul(DECODED).saturating_add(BESIDE));
        }
        decoder.set_limits(limits).map_err(failed)?;
        let mut picture = DynamicImage::from_decoder(decoder).map_err(failed)?;
        picture.apply_orientation(orientation);
        Ok(Self::of(picture, options.background))
    }

    /// The bytes of a picture, laid on a background.
    fn of(picture: DynamicImage, background: [u8; 3]) -> Self {
        let (height, width) = (picture.height() as usize, picture.width() as usize);
        let (color, alpha) = (picture.color().has_color(), picture.color().has_alpha());
        let [red, green, blue] = background;
        let grey_ground = red == green && green == blue;
        let (channels, bytes) = match (color, alpha) {
            (false, true) if grey_ground => {
                (1, on_ground::<1, 2>(picture.into_luma_alpha8().as_raw(), [red]))
            }
            (_, true) => (3, on_ground::<3, 4>(picture.into_rgba8().as_raw(), background)),
            (true, false) => (3, picture.into_rgb8().into_raw()),
            (false, false) => (1, picture.into_luma8().into_raw()),
        };
        Self { height, width, channels, bytes }
    }

    /// The picture as data sets keep it: the middle of it, or so much of it that every part may be cropped.
    pub fn sized(self, options: &ReadOptions) -> Self {
        match (options.size, options.crop) {
            (None, _) => self,
            (Some(size), Crop::Centre) => self.middle(size),
            (Some(size), Crop::Random) => self.covering(size),
        }
    }

    /// Is the picture wider, for its height, than this size?
    fn is_wide(&self, [height, width]: [usize; 2]) -> bool {
        self.width * height >= self.height * width
    }

    /// The largest part in the middle with the ratio of a size, as that size.
    pub fn middle(self, size: [usize; 2]) -> Self {
        let [height, width] = size;
        let part = match self.is_wide(size) {
            true => [self.height, portion(self.height * width, height).min(self.width)],
            false => [portion(self.width * height, width).min(self.height), self.width],
        };
        let corner = [(self.height - part[0]) / 2, (self.width - part[1]) / 2];
        self.part(corner, part, size)
    }

    /// The whole picture, just so large that it covers a size.
    fn covering(self, size: [usize; 2]) -> Self {
        let [height, width] = size;
        let whole = [self.height, self.width];
        let to = match self.is_wide(size) {
            true => [height, portion(self.width * height, self.height).max(width)],
            false => [portion(self.height * width, self.width).max(height), width],
        };
        self.part([0, 0], whole, to)
    }

    /// A part, resized with a filter that widens as the picture shrinks.
    fn part(self, [top, left]: [usize; 2], part: [usize; 2], size: [usize; 2]) -> Self {
        let [height, width] = size;
        let mut bytes = vec![0; height * width * self.channels];
        for channel in 0..self.channels {
            let part = GrayImage::from_fn(part[1] as u32, part[0] as u32, |x, y| {
                let pixel = (top + y as usize) * self.width + left + x as usize;
                image::Luma([self.bytes[pixel * self.channels + channel]])
            });
            let resized = imageops::resize(&part, width as u32, height as u32, imageops::Triangle);
            for (pixel, byte) in resized.into_raw().into_iter().enumerate() {
                bytes[pixel * self.channels + channel] = byte;
            }
        }
        Self { height, width, channels: self.channels, bytes }
    }
}

/// A quotient, rounded, above 0.
fn portion(number: usize, by: usize) -> usize {
    ((number + by / 2) / by).max(1)
}

/// The picture laid on a colour; the last of the `WITH` channels is the opacity.
fn on_ground<const COLORS: usize, const WITH: usize>(
    pixels: &[u8],
    ground: [u8; COLORS],
) -> Vec<u8> {
    let (pixels, _) = pixels.as_chunks::<WITH>();
    let blend = |color: u8, ground: u8, opacity: u8| {
        let (color, ground, opacity) = (u32::from(color), u32::from(ground), u32::from(opacity));
        ((color * opacity + ground * (255 - opacity) + 127) / 255) as u8
    };
    let mut blended = Vec::with_capacity(pixels.len() * COLORS);
    for pixel in pixels {
        blended.extend((0..COLORS).map(|c| blend(pixel[c], ground[c], pixel[COLORS])));
    }
    blended
}

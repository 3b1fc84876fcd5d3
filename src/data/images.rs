//! Folders of PNG pictures, and crops and sizes.
use std::{
    io::{BufRead, BufReader, Cursor, Seek},
    path::{Path, PathBuf},
};

use image::{DynamicImage, GrayImage, ImageDecoder, ImageError, ImageReader, Limits, imageops};

use super::Dataset;
use crate::{
    error::{DataError, FileError, Unexpected},
    files,
};

/// The largest side that images are resized to.
const MAX_SIZE: usize = 4096;

impl Dataset {
    /// The PNG pictures in a folder, in the order of their names; see [`Dataset::open`].
    pub(super) fn from_pictures(
        folder: &Path,
        size: Option<usize>,
        max_pixels: u64,
    ) -> Result<Self, DataError> {
        let paths = pictures(folder)?;
        if paths.is_empty() {
            let expected = "PNG pictures or train-images-idx3-ubyte.gz";
            return Err(DataError::Empty { path: folder.into(), expected });
        }
        let mut all = Pictures::default();
        for path in paths {
            let mut picture = Picture::read(&path, max_pixels)?;
            if let Some(size) = size {
                picture = picture.resized(check(size)?);
            }
            all.push(path, picture)?;
        }
        let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy();
        Self::from_pixels(&name, all.shape, all.pixels, None)
    }

    /// One picture from the bytes of a PNG file of at most `max_pixels` pixels.
    ///
    /// # Errors
    /// If it cannot be decoded or has more pixels; the errors call it `name`.
    pub fn from_png(name: &str, bytes: &[u8], max_pixels: u64) -> Result<Self, DataError> {
        let picture = Picture::decode(Path::new(name), Cursor::new(bytes), max_pixels)?;
        let Picture { height, width, channels, pixels } = picture;
        Self::from_pixels(name, [height, width, channels], pixels, None)
    }

    /// Every image cropped to its centre and resized to `size` pixels on both sides.
    pub(super) fn resized(self, size: usize) -> Result<Self, DataError> {
        if self.height == check(size)? && self.width == size {
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
        Self::from_pixels(&self.name, [size, size, channels], pixels, self.labels.clone())
    }
}

fn check(size: usize) -> Result<usize, DataError> {
    let fits = (1..=MAX_SIZE).contains(&size);
    Unexpected::check(fits, "size", format!("1 to {MAX_SIZE}"), size)?;
    Ok(size)
}

fn pictures(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let failed = FileError::at(folder);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(&failed)? {
        let path = entry.map_err(&failed)?.path();
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png")) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Bytes that a file's text and colour profile may take, unpacked.
const BESIDE: u64 = 16 << 20;

/// Pictures of one size, one after the other.
#[derive(Default)]
struct Pictures {
    /// Height, width and channels.
    shape: [usize; 3],
    pixels: Vec<u8>,
}

impl Pictures {
    /// Adds a picture; all are RGB once one is.
    fn push(&mut self, path: PathBuf, picture: Picture) -> Result<(), DataError> {
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
struct Picture {
    height: usize,
    width: usize,
    channels: usize,
    pixels: Vec<u8>,
}

impl Picture {
    /// Reads a picture as grey or RGB: transparent ones on white, 16 bits rounded to 8.
    fn read(path: &Path, max_pixels: u64) -> Result<Self, DataError> {
        let file = files::open(path).map_err(FileError::at(path))?;
        Self::decode(path, BufReader::new(file), max_pixels)
    }

    /// The same from a file that is open; `path` is for the errors alone. Its size is looked at
    /// before its pixels are allocated.
    fn decode(path: &Path, file: impl BufRead + Seek, max_pixels: u64) -> Result<Self, DataError> {
        let failed =
            |source: ImageError| DataError::Picture { path: path.into(), source: source.into() };
        let mut reader =
            ImageReader::new(file).with_guessed_format().map_err(FileError::at(path))?;
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
        decoder.set_limits(Limits::no_limits()).map_err(failed)?;
        let picture = DynamicImage::from_decoder(decoder).map_err(failed)?;
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
    fn resized(self, size: usize) -> Self {
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

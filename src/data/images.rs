//! Folders of PNG pictures, and crops and sizes.
use std::{
    io::BufReader,
    path::{Path, PathBuf},
};

use image::{DynamicImage, GrayImage, ImageReader, imageops};

use super::{DataError, Dataset};
use crate::files;

/// The largest side that images are resized to.
const MAX_SIZE: usize = 4096;

impl Dataset {
    /// The PNG pictures in a folder, in the order of their names; see [`Dataset::open`].
    pub(super) fn from_pictures(folder: &Path, size: Option<usize>) -> Result<Self, DataError> {
        let paths = pictures(folder)?;
        if paths.is_empty() {
            let expected = "PNG pictures or train-images-idx3-ubyte.gz";
            return Err(DataError::Empty { path: folder.into(), expected });
        }
        let mut pictures = Vec::with_capacity(paths.len());
        for path in paths {
            let mut picture = Picture::read(&path)?;
            if let Some(size) = size {
                picture = picture.resized(check(size)?);
            }
            let sides = |picture: &Picture| (picture.height, picture.width);
            let expected = pictures.first().map_or(sides(&picture), sides);
            if sides(&picture) != expected {
                return Err(DataError::UnequalSizes { path, expected, found: sides(&picture) });
            }
            pictures.push(picture);
        }
        let (height, width) = (pictures[0].height, pictures[0].width);
        let channels = pictures.iter().map(|picture| picture.channels).max().unwrap_or(1);
        let pixels =
            pictures.into_iter().flat_map(|picture| picture.with_channels(channels)).collect();
        let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy();
        Self::from_pixels(&name, [height, width, channels], pixels, None)
    }

    /// Every image cropped to its centre and resized to `size` pixels on both sides.
    pub(super) fn resized(self, size: usize) -> Result<Self, DataError> {
        if self.height == check(size)? && self.width == size {
            return Ok(self);
        }
        let Self { height, width, channels, .. } = self;
        // All 256 levels: between 17 there are others after a change of size.
        let spread =
            |byte: &u8| (f32::from(*byte) * 255.0 / f32::from(self.brightest)).round() as u8;
        let resized = |index| {
            let pixels = self.bytes(index).iter().map(spread).collect();
            Picture { height, width, channels, pixels }.resized(size).pixels
        };
        let pixels = (0..self.len()).flat_map(resized).collect();
        Self::from_pixels(&self.name, [size, size, channels], pixels, self.labels.clone())
    }
}

fn check(size: usize) -> Result<usize, DataError> {
    if (1..=MAX_SIZE).contains(&size) {
        Ok(size)
    } else {
        Err(DataError::value("size", format!("1 to {MAX_SIZE}"), size))
    }
}

fn pictures(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let failed = |source| DataError::Read { path: folder.into(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png")) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
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
    fn read(path: &Path) -> Result<Self, DataError> {
        let reader = files::open(path)
            .and_then(|file| ImageReader::new(BufReader::new(file)).with_guessed_format())
            .map_err(|source| DataError::Read { path: path.into(), source })?;
        let picture = reader
            .decode()
            .map_err(|source| DataError::Picture { path: path.into(), source: source.into() })?;
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

    /// The bytes with this many channels, a grey picture repeated in each.
    fn with_channels(self, channels: usize) -> Vec<u8> {
        if self.channels == channels {
            return self.pixels;
        }
        self.pixels.into_iter().flat_map(|grey| std::iter::repeat_n(grey, channels)).collect()
    }
}

/// The picture laid on white; the last of the `WITH` channels is the opacity.
fn on_white<const COLORS: usize, const WITH: usize>(pixels: &[u8]) -> Vec<u8> {
    let (pixels, _) = pixels.as_chunks::<WITH>();
    let blend = |color: u8, opacity: u8| {
        let (color, opacity) = (u32::from(color), u32::from(opacity));
        ((color * opacity + 255 * (255 - opacity) + 127) / 255) as u8
    };
    pixels.iter().flat_map(|pixel| (0..COLORS).map(|c| blend(pixel[c], pixel[COLORS]))).collect()
}

//! Pictures to start from, and masks, in files.
use crate::{
    data::Dataset,
    error::{DataError, Error, FileError, Unexpected},
    files,
};
use std::path::Path;

/// Bytes of a file beside eight for each pixel.
const BESIDE_PIXELS: u64 = 64 << 20;

/// Reads a picture to start from, `[height, width, channels]` from -1 to 1, of an autoencoder with so many channels:
/// grey is repeated in each.
///
/// # Errors
/// If the file is no picture of at most `max_pixels` pixels, or has other channels.
///
/// ```no_run
/// use ddim::latent::{PictureStart, read_mask, read_start};
///
/// let (picture, size) = read_start("photograph.png".as_ref(), 3, 1 << 24)?;
/// let mask = read_mask("mask.png".as_ref(), size, 1 << 24)?;
/// assert_eq!(picture.len(), 3 * mask.len());
/// let start = PictureStart { picture: &picture, strength: 0.8, mask: Some(&mask) };
/// # Ok::<(), ddim::Error>(())
/// ```
pub fn read_start(
    path: &Path,
    channels: usize,
    max_pixels: u64,
) -> Result<(Vec<f32>, [usize; 2]), Error> {
    let picture = read(path, max_pixels)?;
    let (size, pixels) = ([picture.height(), picture.width()], picture.images());
    let pixels = match picture.channels() {
        1 => pixels.into_iter().flat_map(|x| std::iter::repeat_n(x, channels)).collect(),
        found if found == channels => pixels,
        found => {
            let expected = format!("{channels}, the autoencoder's in_channels");
            let name = format!("{}: channels", path.display());
            return Err(DataError::from(Unexpected::new(&name, expected, found)).into());
        }
    };
    Ok((pixels, size))
}

/// Reads a mask `[height, width]`: 0 is black, 1 white, colors by their luminance.
///
/// # Errors
/// If the file is no picture of at most `max_pixels` pixels, or has not this size.
///
/// Example: [`read_start()`].
pub fn read_mask(path: &Path, size: [usize; 2], max_pixels: u64) -> Result<Vec<f32>, Error> {
    // ITU-R 601, as PIL's conversion to grey.
    const LUMINANCE: [f32; 3] = [0.299, 0.587, 0.114];
    let picture = read(path, max_pixels)?;
    let found = [picture.height(), picture.width()];
    if found != size {
        let [expected, found] = [size, found].map(|[height, width]| format!("{width}x{height}"));
        let name = format!("{}: size", path.display());
        let expected = format!("{expected}, that of the picture to start from");
        return Err(DataError::from(Unexpected::new(&name, expected, found)).into());
    }
    let grey = |pixel: &[f32]| match pixel {
        [grey] => *grey,
        colors => colors.iter().zip(LUMINANCE).map(|(color, share)| color * share).sum(),
    };
    let pixels = picture.images();
    Ok(pixels.chunks(picture.channels()).map(|pixel| 0.5 * grey(pixel) + 0.5).collect())
}

fn read(path: &Path, max_pixels: u64) -> Result<Dataset, Error> {
    let limit = max_pixels.saturating_mul(8).saturating_add(BESIDE_PIXELS);
    let bytes = files::read(path, limit).map_err(FileError::at(path))?;
    Ok(Dataset::from_picture(&path.display().to_string(), &bytes, max_pixels)?)
}

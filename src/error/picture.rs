//! What can be wrong with a picture that is to be made.

/// What can be wrong with a picture that is to be made.
///
/// ```
/// # #[cfg(feature = "pictures")] {
/// use ddim::{error::PictureError, files::MAX_PIXELS, pictures::Grid};
///
/// let grid = Grid { count: 100, size: [1024, 1024], columns: 10, scale: 1 };
/// match grid.check(1, MAX_PIXELS) {
///     Err(PictureError::Size { limit, .. }) => assert_eq!(limit, MAX_PIXELS),
///     result => panic!("{result:?}"),
/// }
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// It would be larger than a limit.
    #[error(
        "a picture of {count} images of {}x{}, a pixel {scale}x{scale}{} is larger than {limit} pixels",
        size[0], size[1],
        if *frames == 1 { String::new() } else { format!(", {frames} times over,") }
    )]
    Size {
        /// Images that it shows.
        count: usize,
        /// Height and width of an image.
        size: [usize; 2],
        /// Side of the square that shows a pixel.
        scale: usize,
        /// Pictures of an animation.
        frames: usize,
        /// Pixels at most.
        limit: u64,
    },
    /// It could not be encoded.
    #[error("encoding {what}: {message}")]
    Encoding {
        /// Which picture.
        what: &'static str,
        /// The encoder's words.
        message: String,
    },
}

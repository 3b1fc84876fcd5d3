//! The embedded handwritten digits (UCI, CC BY 4.0; `assets/DIGITS.md` says whose they are).
use super::Dataset;
use std::path::Path;

static DIGITS: &[u8] = include_bytes!("../../assets/digits.bin");
const COUNT: usize = 1797;
const SIDE: usize = 8;

/// Whether a source names the embedded digits: the bare word. `digits/` and `./digits` are folders.
///
/// ```
/// use ddim::data::is_digits;
///
/// assert!(is_digits("digits".as_ref()));
/// assert!(!is_digits("./digits".as_ref()));
/// ```
pub fn is_digits(source: &Path) -> bool {
    source.as_os_str() == "digits"
}

/// Pixels, labels and marks of the test part.
fn parts() -> (&'static [u8], &'static [u8], &'static [u8]) {
    let (pixels, rest) = DIGITS.split_at(COUNT * SIDE * SIDE);
    let (labels, test_part) = rest.split_at(COUNT);
    (pixels, labels, test_part)
}

/// 1797 handwritten digits, 8x8 pixels of 17 grey levels, labelled 0 to 9.
///
/// Example: [`crate::data`].
pub fn digits() -> Dataset {
    let (pixels, labels, _) = parts();
    Dataset {
        name: "digits".into(),
        height: SIDE,
        width: SIDE,
        channels: 1,
        brightest: 16,
        pixels: pixels.to_vec(),
        labels: Some(labels.to_vec()),
        class_names: None,
    }
}

/// Is each of the digits marked as test part? 297 are.
///
/// ```
/// use ddim::data::{Dataset, Split, digits_test_part};
///
/// let marked = digits_test_part().filter(|test| *test).count();
/// assert_eq!(Dataset::open_part("digits".as_ref(), Split::Test, None)?.len(), marked);
/// # Ok::<(), ddim::Error>(())
/// ```
pub fn digits_test_part() -> impl Iterator<Item = bool> {
    parts().2.iter().map(|mark| *mark == 1)
}

//! Samples as other programs take them: a PNG file for each, and NumPy's archive.
use crate::{cli, failure::Failure, files};
use ddim::pictures::{Picture, byte};
use std::path::{Path, PathBuf};

/// How an archive of this command is known: a field beside the name of its array.
const SIGN: &str = "arr_0.npydd\u{4}\0ddim";

/// Refuses places that are taken by files of other programs.
pub fn prepare(arguments: &cli::Sample, count: usize) -> Result<(), Failure> {
    let overwrite = arguments.existing.overwrite;
    if let Some(folder) = &arguments.each {
        files::prepare_folder(folder)?;
        for path in paths(folder, count).filter(|path| path.symlink_metadata().is_ok()) {
            files::prepare_file(&path, Picture::SIGN, overwrite)?;
        }
    }
    match &arguments.npz {
        Some(path) => files::prepare_file(path, SIGN, overwrite),
        None => Ok(()),
    }
}

/// The files of single images: at least five digits, and as many as the last number has.
fn paths(folder: &Path, count: usize) -> impl Iterator<Item = PathBuf> {
    let digits = count.saturating_sub(1).to_string().len().max(5);
    (0..count).map(move |image| folder.join(format!("{image:0digits$}.png")))
}

/// Writes images `[count, height, width, channels]` to the places that the arguments name, and says
/// which these are.
pub fn write(
    arguments: &cli::Sample,
    images: &[f32],
    shape: [usize; 3],
) -> Result<Vec<PathBuf>, Failure> {
    let mut written = Vec::new();
    let elements: usize = shape.iter().product();
    let count = images.len() / elements;
    if let Some(folder) = &arguments.each {
        for (path, image) in paths(folder, count).zip(images.chunks_exact(elements)) {
            files::write(&path, Picture::single(image, shape).png()?)?;
        }
        written.push(folder.clone());
    }
    if let Some(path) = &arguments.npz {
        let [height, width, channels] = shape;
        let pixels: Vec<u8> = images.iter().map(|number| byte(*number)).collect();
        let array = npy([count, height, width, channels], &pixels);
        files::write(path, archive(&array, u32::try_from(array.len()).is_err()))?;
        written.push(path.clone());
    }
    Ok(written)
}

/// NumPy's file of an array of bytes.
fn npy([count, height, width, channels]: [usize; 4], pixels: &[u8]) -> Vec<u8> {
    let shape = format!("({count}, {height}, {width}, {channels})");
    let text = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}");
    // The array begins at a multiple of 64 bytes, after the end of a line.
    let length = (text.len() + 11).next_multiple_of(64) - 10;
    let text = format!("{text:<0$}\n", length - 1);
    let mut file = b"\x93NUMPY\x01\0".to_vec();
    file.extend((length as u16).to_le_bytes());
    file.extend(text.bytes());
    file.extend(pixels);
    file
}

/// A ZIP archive of one file, `arr_0.npy`, as it is. One above 4 GiB is `large`: its lengths stand
/// in the fields of ZIP64.
fn archive(array: &[u8], large: bool) -> Vec<u8> {
    const NAME: &[u8] = b"arr_0.npy";
    let mut crc = flate2::Crc::new();
    crc.update(array);
    let short = |length: u64| if large { u32::MAX } else { length as u32 }.to_le_bytes();
    let length = array.len() as u64;
    let mut extra = SIGN.as_bytes()[NAME.len()..].to_vec();
    if large {
        extra.extend([1, 0, 16, 0]);
        extra.extend([length.to_le_bytes(), length.to_le_bytes()].concat());
    }
    // Version 4.5, stored, on the first day of 1980.
    let mut entry = [45_u16, 0, 0, 0, 0x21].map(u16::to_le_bytes).concat();
    entry.extend([crc.sum().to_le_bytes(), short(length), short(length)].concat());
    entry.extend([NAME.len(), extra.len()].map(|of| (of as u16).to_le_bytes()).concat());

    let mut file = [b"PK\x03\x04", &entry[..], NAME, &extra, array].concat();
    let directory = file.len() as u64;
    // No comment, disk, attributes; the entry stands at 0.
    file.extend([b"PK\x01\x02\x2d\0", &entry[..], &[0; 14], NAME, &extra].concat());
    let end = file.len() as u64;
    if large {
        file.extend([&b"PK\x06\x06"[..], &44_u64.to_le_bytes(), &[45, 0, 45, 0], &[0; 8]].concat());
        file.extend([1, 1, end - directory, directory].map(u64::to_le_bytes).concat());
        file.extend([&b"PK\x06\x07\0\0\0\0"[..], &end.to_le_bytes(), &[1, 0, 0, 0]].concat());
    }
    file.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    file.extend(((end - directory) as u32).to_le_bytes());
    file.extend([&short(directory)[..], &[0; 2]].concat());
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_holds_the_array_as_it_is() {
        let array = npy([2, 1, 3, 1], &[1, 2, 3, 4, 5, 6]);
        assert_eq!(array.len() % 64, 6);
        assert!(array.starts_with(b"\x93NUMPY\x01\0v\0{'descr': '|u1', "));
        assert_eq!(array[array.len() - 7..], *b"\n\x01\x02\x03\x04\x05\x06");
        for large in [false, true] {
            let file = archive(&array, large);
            let at = file.windows(array.len()).position(|part| part == array).expect("the array");
            let extra = u16::from_le_bytes([file[28], file[29]]);
            assert_eq!(at, 30 + 9 + usize::from(extra), "large: {large}");
            assert!(file.windows(SIGN.len()).any(|part| part == SIGN.as_bytes()));
        }
    }

    #[test]
    fn names_have_as_many_digits_as_the_last() {
        let last = |count| paths(Path::new(""), count).last().expect("one");
        assert_eq!(last(1), Path::new("00000.png"));
        assert_eq!(last(100_000), Path::new("99999.png"));
        assert_eq!(last(100_001), Path::new("100000.png"));
    }
}

//! Samples as other programs take them: a PNG file for each, and NumPy's archive.
use crate::{cli, failure::Failure, files};
use ddim::pictures::{Picture, byte};
use std::{
    collections::HashSet,
    fs,
    io::{Cursor, Write},
    path::{Path, PathBuf},
};
use zip::{CompressionMethod, DateTime, ZipWriter, result::ZipResult, write::FullFileOptions};

/// How an archive of this command is known: an extra field of its array.
const SIGN: &str = "written by ddim";
const SIGN_ID: u16 = 0x6464;

/// Refuses places that are taken by files of other programs.
pub fn prepare(arguments: &cli::Sample, count: usize) -> Result<(), Failure> {
    let overwrite = arguments.existing.overwrite;
    if let Some(folder) = &arguments.each {
        files::prepare_folder(folder)?;
        warn_of_others(folder, count)?;
        for path in paths(folder, count).filter(|path| path.symlink_metadata().is_ok()) {
            files::prepare_file(&path, Picture::SIGN, overwrite)?;
        }
    }
    match &arguments.npz {
        Some(path) => files::prepare_file(path, SIGN, overwrite),
        None => Ok(()),
    }
}

/// Warns of pictures in a folder that will not be replaced: tools that read it whole take them too.
fn warn_of_others(folder: &Path, count: usize) -> Result<(), Failure> {
    let mine: HashSet<PathBuf> = paths(folder, count).collect();
    let entries = fs::read_dir(folder).map_err(|error| Failure::file(folder, error))?;
    let others = entries.flatten().map(|entry| entry.path()).filter(|path| {
        path.extension().is_some_and(|ending| ending == "png") && !mine.contains(path)
    });
    let (number, example) = others.fold((0, None), |(number, _), path| (number + 1, Some(path)));
    if let Some(path) = example {
        log::warn!(
            "{}: {number} other pictures stay there, as {}",
            folder.display(),
            path.display()
        );
    }
    Ok(())
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
        let archive = archive(&array, u32::try_from(array.len()).is_err());
        files::write(path, archive.map_err(|error| Failure::file(path, error))?)?;
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

/// A ZIP archive of one file, `arr_0.npy`, not compressed. One above 4 GiB is `large`.
fn archive(array: &[u8], large: bool) -> ZipResult<Vec<u8>> {
    let mut options = FullFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .large_file(large)
        .last_modified_time(DateTime::default());
    options.add_extra_field(SIGN_ID, SIGN, false)?;
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("arr_0.npy", options)?;
    zip.write_all(array)?;
    Ok(zip.finish()?.into_inner())
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
            let file = archive(&array, large).expect("room");
            assert!(file.windows(array.len()).any(|part| part == array), "large: {large}");
            assert!(file.windows(SIGN.len()).any(|part| part == SIGN.as_bytes()));
            assert_eq!(archive(&array, large).expect("room"), file, "the same bytes again");
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

//! Pictures with captions: each in a text file beside it, or all in one file as Hugging Face's `imagefolder` has it.
use super::{
    Dataset, ReadOptions,
    collected::{Collected, Kept},
    folder::list,
    images::Pixels,
};
use crate::{
    error::{DataError, FileError},
    files::{self, parse_object},
};
use serde::Deserialize;
use std::path::{Component, Path, PathBuf};

/// The file that lists pictures and captions, an object a line.
const LIST: &str = "metadata.jsonl";

/// Pictures of one size, each with a caption.
///
/// ```no_run
/// use ddim::{data::CaptionedPictures, files::MAX_PIXELS};
///
/// let set = CaptionedPictures::open("pictures".as_ref(), 512, MAX_PIXELS)?;
/// println!("{} pictures, the first: {}", set.pictures.len(), set.captions[0]);
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct CaptionedPictures {
    /// The pictures.
    pub pictures: Dataset,
    /// The caption of each.
    pub captions: Vec<String>,
}

/// A line of the list.
#[derive(Deserialize)]
struct Line {
    file_name: String,
    text: String,
}

impl CaptionedPictures {
    /// Opens the pictures of a folder, each cropped to its centre and resized to `size` x `size` pixels. If the folder
    /// holds `metadata.jsonl`, each of its lines names a picture (`file_name`, from the folder on) and its caption
    /// (`text`). Otherwise the caption of `NAME.png` is the text in `NAME.txt`, without white space around it.
    ///
    /// # Errors
    /// If a picture or caption is missing or damaged, one has more than `max_pixels` pixels, or there is none.
    pub fn open(folder: &Path, size: usize, max_pixels: u64) -> Result<Self, DataError> {
        let options = ReadOptions { size: Some([size; 2]), max_pixels, ..ReadOptions::default() };
        options.check()?;
        let list = folder.join(LIST);
        let listed = if list.exists() { listed(folder, &list)? } else { beside(folder)? };
        let mut all = Collected::new(options.size, Kept::Memory(Vec::new()));
        let mut captions = Vec::new();
        for (path, caption) in listed {
            let picture = Pixels::read(&path, &options)?.sized(&options);
            all.push(&path, picture)?;
            captions.push(caption);
        }
        if captions.is_empty() {
            let expected = "pictures with captions: NAME.txt beside NAME.png, or metadata.jsonl";
            let (path, beside) = (folder.into(), String::new());
            return Err(DataError::Empty { path, expected, beside });
        }
        let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy();
        let pictures = all.into_dataset(&name, None)?;
        Ok(Self { pictures, captions })
    }
}

/// The pictures that a list names.
fn listed(folder: &Path, list: &Path) -> Result<Vec<(PathBuf, String)>, DataError> {
    let text = files::read_text(list).map_err(FileError::at(list))?;
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    let read = |(line, number): (&str, usize)| {
        let refuse = |found: String| DataError::Format {
            path: list.into(),
            expected: format!("line {number}: an object with file_name and text"),
            found,
        };
        let Line { file_name, text } =
            parse_object(line).map_err(|error| refuse(error.to_string()))?;
        let inside = |part: Component| matches!(part, Component::Normal(_) | Component::CurDir);
        if !Path::new(&file_name).components().all(inside) {
            return Err(refuse(format!("a file_name outside of the folder, {file_name:?}")));
        }
        Ok((folder.join(file_name), text))
    };
    lines.map(read).collect()
}

/// The pictures of a folder, each with the text beside it.
fn beside(folder: &Path) -> Result<Vec<(PathBuf, String)>, DataError> {
    let [pictures, _] = list(folder, &mut Default::default())?;
    let read = |picture: PathBuf| {
        let path = picture.with_extension("txt");
        let text = files::read_text(&path).map_err(FileError::at(&path))?;
        Ok((picture, text.trim().to_owned()))
    };
    pictures.into_iter().map(read).collect()
}

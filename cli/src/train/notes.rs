//! What a run's checkpoint keeps beside the library's settings: its images, and what is written on the way.
use crate::{cli, failure::Failure, paths};
use ddim::{
    data::{Crop, Dataset, Images, Loading, ReadOptions, is_digits},
    models::unet2d::SampleSize,
    training::TrainingOptions,
};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::path::{Path, PathBuf};

/// What the checkpoint keeps beside the library's settings.
#[derive(Default, Serialize, Deserialize)]
pub struct Notes {
    #[serde(with = "paths")]
    pub data: PathBuf,
    pub size: Option<Sides>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub crop: Part,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub background: Option<[u8; 3]>,
    #[serde(default)]
    pub max_pixels: Option<u64>,
    pub flip: bool,
    pub valid: Option<HeldOut>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Folder>,
    pub steps: u32,
    #[serde(default = "save_every")]
    pub save_every: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_every: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<u32>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub keep: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    pub keep_best: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<u32>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub tensorboard: bool,
    /// The pipeline whose weights the run began with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
}

/// The sides of images: one number for squares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Sides {
    Square(usize),
    /// Height and width.
    Both([usize; 2]),
}

impl From<[usize; 2]> for Sides {
    fn from([height, width]: [usize; 2]) -> Self {
        if height == width { Self::Square(height) } else { Self::Both([height, width]) }
    }
}

impl From<Sides> for [usize; 2] {
    fn from(sides: Sides) -> Self {
        match sides {
            Sides::Square(side) => [side; 2],
            Sides::Both(sides) => sides,
        }
    }
}

/// Which part of an image is seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    #[default]
    Centre,
    Random,
}

/// A folder, by a name that JSON holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folder(#[serde(with = "paths")] pub PathBuf);

/// What is held out of training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum HeldOut {
    Fraction(f64),
    Folder(Folder),
}

impl From<&cli::Valid> for HeldOut {
    fn from(valid: &cli::Valid) -> Self {
        match valid {
            cli::Valid::Fraction(fraction) => Self::Fraction(*fraction),
            cli::Valid::Folder(folder) => Self::Folder(Folder(absolute(folder))),
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Steps between checkpoints, where nobody says how many.
fn save_every() -> u32 {
    500
}

impl Notes {
    /// What the arguments say of images and checkpoints; the steps depend on the images.
    pub fn new(arguments: &cli::Train, source: &Path) -> Self {
        let images = &arguments.images;
        Self {
            data: absolute(source),
            size: images.size.map(Into::into),
            crop: part(images.crop),
            background: images.background,
            max_pixels: images.max_pixels,
            flip: images.flip,
            valid: images.valid.as_ref().map(Into::into),
            cache: cache(arguments),
            steps: 0,
            save_every: save_every(),
            sample_every: None,
            samples: None,
            keep: 0,
            keep_best: false,
            patience: None,
            tensorboard: false,
            init: None,
        }
        .watched(&arguments.watch)
    }

    /// What the arguments say of checkpoints and of what is written on the way. None of it changes a step.
    pub fn watched(self, of: &cli::WatchArguments) -> Self {
        Self {
            save_every: of.save_every.unwrap_or(self.save_every),
            sample_every: of.sample_every.or(self.sample_every),
            samples: of.samples.or(self.samples),
            keep: of.keep.unwrap_or(self.keep),
            keep_best: of.keep_best || self.keep_best,
            patience: of.patience.or(self.patience),
            tensorboard: of.tensorboard || self.tensorboard,
            ..self
        }
    }

    /// Refuses what needs images that are held out, where there are none.
    pub fn check(&self) -> Result<(), Failure> {
        let asks = [("--keep-best", self.keep_best), ("--patience", self.patience.is_some())];
        match asks.into_iter().find(|(_, asked)| *asked && self.valid.is_none()) {
            Some((flag, _)) => {
                let text = format!("{flag}: no images are held out: give --valid");
                Err(Failure::Usage(text))
            }
            None => Ok(()),
        }
    }

    pub fn to_json(&self) -> Json {
        serde_json::to_value(self).expect("text, numbers and flags are JSON")
    }

    /// Takes the side of a model's square images, unless the user gave one.
    pub fn size_as(&mut self, model: Option<SampleSize>) {
        let sides = model.map(SampleSize::sides).filter(|(height, width)| height == width);
        self.size = self.size.or(sides.map(|(side, _)| Sides::Square(side)));
    }

    /// The first step after `done` that saves, samples or is the last.
    pub fn next_stop(&self, done: u64) -> u64 {
        let every = [Some(self.save_every), self.sample_every].into_iter().flatten();
        let stops = every.map(|every| (done / u64::from(every) + 1) * u64::from(every));
        stops.fold(u64::from(self.steps), u64::min)
    }

    /// Whether the run saves after so many steps.
    pub fn saves_at(&self, done: u64) -> bool {
        done.is_multiple_of(u64::from(self.save_every)) || done == u64::from(self.steps)
    }

    /// Whether the run samples after so many steps.
    pub fn samples_at(&self, done: u64) -> bool {
        self.sample_every.is_some_and(|every| done.is_multiple_of(u64::from(every)))
    }

    /// How images are read, by so many threads.
    fn reading(&self, workers: usize) -> ReadOptions {
        let usual = ReadOptions::default();
        ReadOptions {
            size: self.size.map(Into::into),
            crop: self.crop.into(),
            background: self.background.unwrap_or(usual.background),
            max_pixels: self.max_pixels.unwrap_or(usual.max_pixels),
            workers,
            cache: self.cache.clone().map(|Folder(path)| path),
            ..usual
        }
    }

    /// Opens the images in memory.
    pub fn open_data(&self) -> Result<Dataset, Failure> {
        Ok(Dataset::open_with(&self.data, &self.reading(workers(None)))?)
    }

    /// Opens the images wherever they are kept.
    pub fn open_images(&self, workers: usize) -> Result<Images, Failure> {
        Ok(Images::open(&self.data, &self.reading(workers))?)
    }

    /// Opens the images of a folder to hold out.
    pub fn open_held_out(&self, folder: &Path, workers: usize) -> Result<Images, Failure> {
        let reading = ReadOptions { crop: Crop::Centre, ..self.reading(workers) };
        Ok(Images::open(folder, &reading)?)
    }

    /// How batches are made.
    pub fn loading(&self, options: &TrainingOptions, workers: usize) -> Loading {
        let augment = options.augment;
        Loading { flip: self.flip, crop: self.crop.into(), augment, workers }
    }
}

impl From<Part> for Crop {
    fn from(part: Part) -> Self {
        match part {
            Part::Centre => Self::Centre,
            Part::Random => Self::Random,
        }
    }
}

pub fn part(crop: Option<Crop>) -> Part {
    match crop {
        Some(Crop::Random) => Part::Random,
        _ => Part::Centre,
    }
}

/// Threads that decode pictures: those that were asked for, else one for each core up to eight.
pub fn workers(asked: Option<u16>) -> usize {
    const MOST: usize = 8;
    let cores = || std::thread::available_parallelism().map_or(1, usize::from).min(MOST);
    asked.map_or_else(cores, usize::from)
}

/// The folder by a name that holds from anywhere.
pub fn absolute(source: &Path) -> PathBuf {
    if is_digits(source) {
        return source.to_owned();
    }
    source.canonicalize().unwrap_or_else(|_| source.to_owned())
}

/// The folder of decoded pictures, which may not be there yet, by a name that holds from anywhere.
pub fn cache(arguments: &cli::Train) -> Option<Folder> {
    let folder = arguments.images.cache.as_deref()?;
    Some(Folder(std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned())))
}

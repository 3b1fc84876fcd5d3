//! Batches that worker threads read: the same bits and order for any number of them, wherever pictures are kept.
#![cfg(feature = "pictures")]

use crate::common::{support, tiny};
use ddim::{
    data::{
        Batches, Crop, Dataset, ImageSource, Images, Loader, Loading, Pixels, ReadOptions, digits,
    },
    error::DataError,
};
use image::{GrayImage, Luma, Rgb, RgbImage};
use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder for the test")
}

/// Pictures of many sizes in two classes, one of them grey, and files that are left out.
fn pictures() -> TempDir {
    let folder = folder();
    for class in ["a", "b"] {
        fs::create_dir(folder.path().join(class)).expect("room");
    }
    for index in 0..20u32 {
        let class = if index % 3 == 0 { "a" } else { "b" };
        let picture = RgbImage::from_fn(8 + index % 5, 6 + index % 7, |x, y| {
            Rgb([(9 * index + x) as u8, (20 * y) as u8, (index * x) as u8])
        });
        picture.save(folder.path().join(class).join(format!("{index:02}.png"))).expect("room");
    }
    GrayImage::from_pixel(9, 9, Luma([77])).save(folder.path().join("a/grey.bmp")).expect("room");
    fs::write(folder.path().join("b/damaged.png"), b"\x89PNG\r\n\x1a\n, then nothing")
        .expect("room");
    folder
}

fn options(crop: Crop) -> ReadOptions {
    ReadOptions { size: Some([5, 6]), crop, ..ReadOptions::default() }
}

/// Forty steps' worth of batches, with labels.
fn batches(images: &Images, loading: Loading) -> Vec<(Vec<f32>, Option<Vec<u32>>)> {
    let mut loader = Loader::new(images, 3, 11, loading, 0);
    let batch = |_| {
        let batch = loader.batch().expect("pictures");
        (batch.images, batch.labels)
    };
    (0..40).map(batch).collect()
}

#[test]
fn a_loader_makes_the_batches_of_the_data_in_memory() {
    let digits = digits();
    let mut expected = Batches::new(&digits, 60, 5, true);
    for workers in [0, 1, 4] {
        let loading = Loading { flip: true, workers, ..Loading::default() };
        let mut loader = Loader::new(&digits.clone().into(), 60, 5, loading, 25);
        // Over the end of an epoch, of 1,797 images.
        for step in 25..35 {
            assert_eq!(loader.step(), step);
            assert_eq!(loader.batch().expect("digits"), expected.batch(step), "{workers}");
        }
    }
}

#[test]
fn order_and_bits_do_not_depend_on_workers_or_on_where_pictures_are_kept() {
    let folder = pictures();
    for crop in [Crop::Centre, Crop::Random] {
        let options = options(crop);
        let read = |options: &ReadOptions| Images::open(folder.path(), options).expect("pictures");
        let loading = Loading { flip: true, crop, ..Loading::default() };
        let expected = batches(&read(&options), loading);
        assert_eq!(expected[0].0.len(), 3 * 5 * 6 * 3);
        assert_ne!(expected[0], expected[1]);
        let cache = self::folder();
        let cached = ReadOptions { cache: Some(cache.path().join("new")), ..options.clone() };
        let in_files = ReadOptions { resident: 100, ..options.clone() };
        for workers in [0, 1, 3, 8] {
            for options in [&options, &in_files, &cached, &cached] {
                let images = read(&ReadOptions { workers, ..options.clone() });
                assert_eq!((images.len(), images.shape()), (21, [5, 6, 3]));
                assert_eq!(images.class_names().expect("names"), ["a", "b"]);
                let found = batches(&images, Loading { workers, ..loading });
                assert!(found == expected, "{workers} workers, {options:?}");
            }
        }
        // From any step on.
        let images = read(&in_files);
        let mut late = Loader::new(&images, 3, 11, Loading { workers: 2, ..loading }, 31);
        let batch = late.batch().expect("pictures");
        assert_eq!((batch.images, batch.labels), expected[31]);
    }
}

#[test]
fn what_lies_in_the_folder_decides_whether_a_cache_is_read() {
    let folder = pictures();
    let cache = self::folder();
    let options = ReadOptions { cache: Some(cache.path().to_owned()), ..options(Crop::Centre) };
    let open = |options: &ReadOptions| Images::open(folder.path(), options);
    let first = open(&options).expect("pictures");
    let names = |folder: &Path| {
        let mut names: Vec<_> = fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        names.sort();
        names
    };
    let written = names(cache.path());
    assert_eq!(written.len(), 2, "{written:?}");
    let modified = || fs::metadata(&written[0]).and_then(|of| of.modified()).expect("a file");
    let before = modified();
    open(&options).expect("the cache");
    assert_eq!(modified(), before, "it is not written again");
    // A cache cut short, or without its list, is made anew.
    let pixels = written.iter().find(|path| path.extension().is_some_and(|of| of == "pixels"));
    let pixels = pixels.expect("a file of pixels");
    let whole = fs::read(pixels).expect("bytes");
    fs::write(pixels, &whole[..whole.len() - 1]).expect("room");
    open(&options).expect("anew");
    assert_eq!(fs::read(pixels).expect("bytes"), whole);
    // Another size has a cache of its own; a picture that is gone is in none.
    open(&ReadOptions { size: Some([4, 4]), ..options.clone() }).expect("pictures");
    assert_eq!(names(cache.path()).len(), 4);
    fs::remove_file(folder.path().join("b/01.png")).expect("it is there");
    let fewer = open(&options).expect("pictures");
    assert_eq!((first.len(), fewer.len()), (21, 20));
    // A cache that cannot be written is an error, and leaves no part.
    fs::write(cache.path().join("file"), "").expect("room");
    let below = ReadOptions { cache: Some(cache.path().join("file")), ..options };
    let error = open(&below).expect_err("no folder").to_string();
    assert!(error.contains("file"), "{error}");
    let parts =
        names(cache.path()).into_iter().filter(|path| path.to_string_lossy().contains(".part"));
    assert_eq!(parts.count(), 0);
}

#[test]
fn a_picture_that_changes_while_it_is_read_is_an_error() {
    let folder = pictures();
    let in_files = ReadOptions { resident: 0, ..options(Crop::Centre) };
    let images = Images::open(folder.path(), &in_files).expect("pictures");
    fs::remove_file(folder.path().join("b/01.png")).expect("it is there");
    for workers in [0, 3] {
        let loading = Loading { workers, ..Loading::default() };
        let mut loader = Loader::new(&images, 21, 0, loading, 0);
        let error = loader.batch().expect_err("one is gone").to_string();
        assert!(error.contains("01.png"), "{error}");
    }
    // One of another kind: grey where there were colours is taken, larger is no longer needed.
    let source = |pixels: Pixels| {
        struct One(Pixels);
        impl ImageSource for One {
            fn read(&self, _: usize) -> Result<Pixels, DataError> {
                Ok(self.0.clone())
            }
        }
        Images::from_source("one", [2, 2, 3], 1, None, Arc::new(One(pixels))).expect("one")
    };
    let pixels = |height: usize, width, channels| {
        let bytes = (0..height * width * channels).map(|byte| byte as u8).collect();
        Pixels { height, width, channels, bytes }
    };
    assert_eq!(source(pixels(2, 2, 1)).image(0).expect("grey")[..3], [-1.0; 3]);
    assert_eq!(source(pixels(4, 2, 3)).image(0).expect("the middle")[0], 6.0 / 127.5 - 1.0);
    for (height, width, channels) in [(1, 2, 3), (2, 1, 3), (2, 2, 4)] {
        let error = source(pixels(height, width, channels)).image(0).expect_err("small");
        let words = format!("expected 2x2x3 or larger, found {height}x{width}x{channels}");
        assert!(error.to_string().contains(&words), "{error}");
    }
}

/// Images from a storage that takes its time, and how many of them are read at once.
struct Slow {
    digits: Dataset,
    time: Duration,
    reading: AtomicUsize,
    most: AtomicUsize,
}

impl Slow {
    fn new(time: Duration) -> Arc<Self> {
        let [reading, most] = [0, 0].map(AtomicUsize::new);
        Arc::new(Self { digits: digits(), time, reading, most })
    }
}

impl ImageSource for Slow {
    fn read(&self, index: usize) -> Result<Pixels, DataError> {
        let reading = self.reading.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(reading, Ordering::Relaxed);
        std::thread::sleep(self.time);
        self.reading.fetch_sub(1, Ordering::Relaxed);
        self.digits.read(index)
    }
}

#[test]
fn a_reader_as_fast_as_the_workers_waits_for_the_first_batch_alone() {
    // An image takes 4 ms, 16 of them 64 ms; eight workers read a batch in 8 ms, and a step takes 30.
    let source = Slow::new(Duration::from_millis(4));
    let images =
        Images::from_source("slow", [8, 8, 1], 1797, None, source.clone()).expect("digits");
    let mut loader = Loader::new(&images, 16, 0, Loading { workers: 8, ..Loading::default() }, 0);
    loader.batch().expect("digits");
    let first = loader.waited();
    for _ in 0..30 {
        std::thread::sleep(Duration::from_millis(30));
        loader.batch().expect("digits");
    }
    let waited = loader.waited() - first;
    // Alone, the reader would wait for 30 times 64 ms.
    assert!(waited < Duration::from_millis(100), "{waited:?}");
    let most = source.most.load(Ordering::Relaxed);
    assert!((2..=8).contains(&most), "{most}");
}

#[test]
fn a_device_does_not_wait_for_a_slow_storage() {
    let Some(gpu) = support::gpu() else { return };
    const STEPS: u64 = 20;
    const WORKERS: usize = 8;
    let mut trainer = tiny::trainer(&gpu, None);
    let batch = trainer.options().batch;
    let mut timed = |images: &Images, workers| {
        let loading = Loading { workers, ..Loading::default() };
        let (seed, first) = (trainer.options().seed, trainer.steps());
        let mut loader = Loader::new(images, batch, seed, loading, first);
        // The first batch has to be waited for.
        let go = |_: &[_]| std::ops::ControlFlow::Continue(());
        trainer.train_on(&mut loader, first + 1, go).expect("a step");
        let since = std::time::Instant::now();
        trainer.train_on(&mut loader, first + 1 + STEPS, go).expect("good steps");
        since.elapsed()
    };
    let in_memory = Images::from(digits());
    timed(&in_memory, 0);
    // One reader would take 8/3 of the time of a step for its batch, eight readers take a third of it. Somebody else
    // may want the processor meanwhile, so the best of three counts.
    let mut ratios = Vec::new();
    let good = (0..3).any(|_| {
        let plain = timed(&in_memory, 0);
        let time = plain / STEPS as u32 * WORKERS as u32 / batch as u32 / 3;
        let images = Images::from_source("slow", [8, 8, 1], 1797, None, Slow::new(time));
        let slow = timed(&images.expect("digits"), WORKERS);
        ratios.push(slow.as_secs_f64() / plain.as_secs_f64());
        ratios.last().is_some_and(|ratio| *ratio < 1.4)
    });
    assert!(good, "{ratios:?}");
}

//! Data sets: the digits, idx files, pictures, batches and the Frechet distance, with no GPU. Above 300
//! lines, for each format is a table of files.
use std::io::Write;
use std::path::Path;

use ddim::{
    data::{Batches, Dataset, Moments, digits, digits_test_part},
    error::DataError,
};
use flate2::{Compression, write::GzEncoder};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder for the test")
}

#[test]
fn the_digits_are_all_there() {
    let digits = digits();
    assert_eq!((digits.len(), digits.height(), digits.width(), digits.channels()), (1797, 8, 8, 1));
    assert_eq!(digits.classes(), Some(10));
    assert_eq!(digits_test_part().filter(|test| *test).count(), 297);
    // The first is a zero: its fourth row, in levels of 0 to 16.
    let row: Vec<f32> = digits.image(0).skip(3 * 8).take(8).collect();
    let levels = [0.0, 4.0, 12.0, 0.0, 0.0, 8.0, 8.0, 0.0];
    assert_eq!(row, levels.map(|level| level / 8.0 - 1.0));
    assert_eq!(digits.labels().expect("labels")[..12], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]);
    let images = digits.images();
    assert_eq!(images.len(), 1797 * 64);
    assert!(images.iter().all(|pixel| (-1.0..=1.0).contains(pixel)));
    assert_eq!(Dataset::open(Path::new("digits"), None).expect("no file is needed"), digits);
}

#[test]
fn frechet_distances_of_the_digits() {
    let digits = digits();
    let real = Moments::of(&digits).expect("many images");
    assert!(real.distance(&real).abs() < 1e-9);
    let (first, second) = digits.split(0.5, 1).expect("two halves");
    let halves = Moments::of(&first).expect("many").distance(&Moments::of(&second).expect("many"));
    assert!((0.05..0.11).contains(&halves), "{halves}");
    // Normal noise, clipped as a sample would be.
    let mut state = 1u64;
    let mut uniform = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 40) as f32 + 0.5) / (1 << 24) as f32
    };
    let normal = |a: f32, b: f32| (-2.0 * a.ln()).sqrt() * (std::f32::consts::TAU * b).cos();
    let noise: Vec<f32> = (0..1797 * 64).map(|_| normal(uniform(), uniform())).collect();
    let noise = Moments::of_images(&noise, 64).expect("many").distance(&real);
    assert!((10.5..11.5).contains(&noise), "{noise}");
    assert!(matches!(Moments::of_images(&[0.0; 64], 64), Err(DataError::Value { .. })));
    assert!(matches!(Moments::of_images(&[0.0; 130], 64), Err(DataError::Value { .. })));
    assert!(Moments::of_images(&[], 0).is_err());
}

#[test]
fn every_epoch_has_every_image_once() {
    let pixels: Vec<u8> = (0..10).collect();
    let dataset =
        Dataset::from_pixels("ten", [1, 1, 1], pixels, Some((0..10).collect())).expect("ten");
    let mut batches = Batches::new(&dataset, 4, 7, false);
    let steps: Vec<_> = (0..5).map(|step| batches.batch(step)).collect();
    let labels: Vec<u32> =
        steps.iter().flat_map(|batch| batch.labels.clone().expect("labels")).collect();
    for epoch in labels.chunks_exact(10) {
        let mut sorted = epoch.to_vec();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..10).collect::<Vec<_>>());
    }
    assert_ne!(labels[..10], labels[10..], "each epoch has its own order");
    for batch in &steps {
        for (pixel, label) in batch.images.iter().zip(batch.labels.as_ref().expect("labels")) {
            assert_eq!(*pixel, *label as f32 / 127.5 - 1.0);
        }
    }
    // Any step by itself, in any order: as when training is resumed.
    let mut resumed = Batches::new(&dataset, 4, 7, false);
    for step in [4, 0, 3, 1, 2] {
        assert_eq!(resumed.batch(step), steps[step as usize]);
    }
    assert_ne!(Batches::new(&dataset, 4, 8, false).batch(0), steps[0], "the seed counts");
}

#[test]
fn flips_mirror_about_half_of_the_images() {
    let dataset =
        Dataset::from_pixels("pair", [1, 2, 3], vec![1, 2, 3, 4, 5, 6], None).expect("one");
    let plain: Vec<f32> = dataset.image(0).collect();
    let mirrored: Vec<f32> =
        [4u8, 5, 6, 1, 2, 3].map(|byte| f32::from(byte) / 127.5 - 1.0).to_vec();
    let mut batches = Batches::new(&dataset, 1, 0, true);
    let flipped = (0..400).filter(|step| {
        let images = batches.batch(*step).images;
        assert!(images == plain || images == mirrored);
        images == mirrored
    });
    assert!((150..250).contains(&flipped.count()));
}

#[test]
fn splits_are_disjoint_and_whole() {
    let pixels: Vec<u8> = (0..100).collect();
    let dataset =
        Dataset::from_pixels("hundred", [1, 1, 1], pixels.clone(), None).expect("a hundred");
    let (train, valid) = dataset.split(0.1, 3).expect("a tenth");
    assert_eq!((train.len(), valid.len()), (90, 10));
    let mut together: Vec<f32> = [train.images(), valid.images()].concat();
    together.sort_by(f32::total_cmp);
    assert_eq!(together, dataset.images());
    for fraction in [0.0, 1.0, 0.001, f64::NAN, -1.0] {
        assert!(matches!(dataset.split(fraction, 3), Err(DataError::Value { .. })), "{fraction}");
    }
}

#[test]
fn pixels_must_be_whole_images() {
    for (extents, bytes) in [([2, 2, 1], 5), ([2, 2, 1], 0), ([0, 2, 1], 4)] {
        assert!(Dataset::from_pixels("odd", extents, vec![0; bytes], None).is_err());
    }
    let error = Dataset::from_pixels("odd", [1, 1, 1], vec![0; 3], Some(vec![0; 2]));
    assert_eq!(error.expect_err("two labels").to_string(), "labels: expected 3, found 2");
}

fn idx(magic: u32, extents: &[u32], bytes: &[u8]) -> Vec<u8> {
    let words = [&[magic], extents].concat();
    words.iter().flat_map(|word| word.to_be_bytes()).chain(bytes.iter().copied()).collect()
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

#[test]
fn idx_files_are_read_packed_or_not() {
    let pixels: Vec<u8> = (0..3 * 4 * 5).collect();
    let images = idx(0x803, &[3, 4, 5], &pixels);
    let labels = idx(0x801, &[3], &[7, 8, 9]);
    for pack in [packed as fn(&[u8]) -> Vec<u8>, |bytes| bytes.to_vec()] {
        let folder = folder();
        let suffix = if pack(b"") == b"" { "" } else { ".gz" };
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(format!("{name}{suffix}"));
            std::fs::write(path, pack(bytes)).expect("room");
        };
        write("train-images-idx3-ubyte", &images);
        let unlabelled = Dataset::open(folder.path(), None).expect("labels may be missing");
        assert_eq!(unlabelled.labels(), None);
        write("train-labels-idx1-ubyte", &labels);
        let dataset = Dataset::open(folder.path(), None).expect("three images");
        assert_eq!((dataset.len(), dataset.height(), dataset.width()), (3, 4, 5));
        assert_eq!(dataset.labels(), Some(&[7, 8, 9][..]));
        assert_eq!(dataset.image(1).next(), Some(20.0 / 127.5 - 1.0));

        write("train-labels-idx1-ubyte", &idx(0x801, &[2], &[7, 8]));
        let error = Dataset::open(folder.path(), None).expect_err("two labels").to_string();
        assert!(error.ends_with("expected 3 labels, found 2"), "{error}");
    }
}

#[test]
fn damaged_idx_files_are_named() {
    let whole = idx(0x803, &[3, 4, 5], &[1; 60]);
    let packed_whole = packed(&whole);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (packed(&whole[..50]), "expected 60 bytes after the header, found 34"),
        (packed(&whole[..10]), "expected 3 extents, found the end of the file"),
        (packed(b""), "expected magic number 0x803, found the end of the file"),
        (packed(&idx(0x801, &[3, 4, 5], &[1; 60])), "expected magic number 0x803, found 0x801"),
        (
            packed(&idx(0x803, &[3, 4, 5], &[1; 61])),
            "expected 60 bytes after the header, found more",
        ),
        (packed(&idx(0x803, &[0, 4, 5], &[])), "expected extents above 0"),
        (packed(&idx(0x803, &[u32::MAX; 3], &[])), "expected extents above 0 that fit a file"),
        (
            packed(&idx(0x803, &[u32::MAX, 4, 5], &[1; 60])),
            "expected extents of at most 67108864 bytes, packed into 43, found [4294967295, 4, 5]",
        ),
        (packed(&idx(0x803, &[1 << 20, 8, 8], &[1; 60])), "expected 67108864 bytes after"),
        (packed_whole[..packed_whole.len() / 2].to_vec(), "found"),
    ];
    for (bytes, expected) in cases {
        let folder = folder();
        let path = folder.path().join("train-images-idx3-ubyte.gz");
        std::fs::write(&path, bytes).expect("room");
        let error = Dataset::open(folder.path(), None).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains("train-images-idx3-ubyte.gz"), "{error}");
    }
}

#[test]
fn idx_files_are_found_by_every_spelling_and_told_by_content() {
    let images = idx(0x803, &[3, 2, 2], &[9; 12]);
    let labels = idx(0x801, &[3], &[7, 8, 9]);
    for (name, pack) in [
        ("train-images.idx3-ubyte", false),
        ("t10k-images.idx3-ubyte.gz", true),
        ("train-images-idx3-ubyte.GZ", true),
        ("Train_Images.IDX3-ubyte", false),
        // Unpacked or packed by a program that left the name.
        ("train-images-idx3-ubyte.gz", false),
        ("train-images-idx3-ubyte", true),
    ] {
        let folder = folder();
        let write = |name: &str, bytes: &[u8]| {
            let bytes = if pack { packed(bytes) } else { bytes.to_vec() };
            std::fs::write(folder.path().join(name), bytes).expect("room");
        };
        write(name, &images);
        let of_labels =
            [("images", "labels"), ("Images", "Labels"), ("idx3", "idx1"), ("IDX3", "IDX1")];
        let name_of_labels =
            of_labels.iter().fold(name.to_owned(), |name, (from, to)| name.replace(from, to));
        write(&name_of_labels, &labels);
        // A folder of the name, as an unpacker makes it, is in nobody's way.
        let exact = folder.path().join("train-labels-idx1-ubyte");
        if !exact.exists() {
            std::fs::create_dir(exact).expect("room");
        }
        let dataset = Dataset::open(folder.path(), None).expect(name);
        assert_eq!((dataset.len(), dataset.labels()), (3, Some(&[7, 8, 9][..])), "{name}");
    }
}

#[cfg(feature = "pictures")]
mod pictures {
    use image::{
        DynamicImage, GrayAlphaImage, GrayImage, ImageBuffer, Luma, LumaA, Rgb, RgbImage, Rgba,
        RgbaImage,
    };

    use super::*;

    fn save(folder: &Path, name: &str, picture: impl Into<DynamicImage>) {
        picture.into().save(folder.join(name)).expect("room");
    }

    #[test]
    fn grey_pictures_of_every_kind() {
        let folder = folder();
        save(folder.path(), "a.png", GrayImage::from_pixel(2, 3, Luma([51])));
        let deep: ImageBuffer<Luma<u16>, _> = ImageBuffer::from_pixel(2, 3, Luma([0x6666]));
        save(folder.path(), "b.PNG", deep);
        // Half transparent black on white.
        save(folder.path(), "c.png", GrayAlphaImage::from_pixel(2, 3, LumaA([0, 128])));
        std::fs::write(folder.path().join("notes.txt"), "no picture").expect("room");
        let dataset = Dataset::open(folder.path(), None).expect("three pictures");
        assert_eq!(
            (dataset.len(), dataset.height(), dataset.width(), dataset.channels()),
            (3, 3, 2, 1)
        );
        let first = |index| dataset.image(index).next().expect("a pixel");
        assert_eq!(
            [first(0), first(1), first(2)],
            [51, 102, 127].map(|byte| byte as f32 / 127.5 - 1.0)
        );
    }

    #[test]
    fn grey_among_colours_becomes_colour() {
        let folder = folder();
        save(folder.path(), "a.png", GrayImage::from_pixel(2, 2, Luma([9])));
        save(folder.path(), "b.png", RgbImage::from_pixel(2, 2, Rgb([1, 2, 3])));
        save(folder.path(), "c.png", RgbaImage::from_pixel(2, 2, Rgba([1, 2, 3, 0])));
        let deep: ImageBuffer<Rgb<u16>, _> = ImageBuffer::from_pixel(2, 2, Rgb([257, 514, 65535]));
        save(folder.path(), "d.png", deep);
        let dataset = Dataset::open(folder.path(), None).expect("four pictures");
        let pixels = [[9, 9, 9], [1, 2, 3], [255, 255, 255], [1, 2, 255]];
        for (index, pixel) in pixels.into_iter().enumerate() {
            let found: Vec<f32> = dataset.image(index).take(3).collect();
            assert_eq!(found, pixel.map(|byte| byte as f32 / 127.5 - 1.0));
        }
    }

    #[test]
    fn unequal_sizes_need_a_size() {
        let folder = folder();
        // A bright square in the middle of a wide picture: all that the crop leaves.
        let wide =
            GrayImage::from_fn(24, 8, |x, _| Luma([if (8..16).contains(&x) { 255 } else { 0 }]));
        save(folder.path(), "a.png", GrayImage::from_pixel(4, 4, Luma([128])));
        save(folder.path(), "wide.png", wide);
        let error = Dataset::open(folder.path(), None).expect_err("two sizes").to_string();
        assert!(error.contains("wide.png: expected 4x4 pixels"), "{error}");
        assert!(error.contains("found 8x24"), "{error}");
        let dataset = Dataset::open(folder.path(), Some(6)).expect("one size");
        assert_eq!((dataset.len(), dataset.height(), dataset.width()), (2, 6, 6));
        assert!(dataset.image(1).all(|pixel| pixel == 1.0));
        for size in [0, 1_000_000] {
            assert!(matches!(
                Dataset::open(folder.path(), Some(size)),
                Err(DataError::Value { .. })
            ));
        }
    }

    #[test]
    fn the_digits_can_be_resized() {
        let dataset = Dataset::open(Path::new("digits"), Some(16)).expect("a size");
        assert_eq!((dataset.len(), dataset.height(), dataset.width()), (1797, 16, 16));
        let mean = |images: Vec<f32>| images.iter().sum::<f32>() / images.len() as f32;
        assert!((mean(dataset.images()) - mean(digits().images())).abs() < 0.01);
        assert_eq!(dataset.labels(), digits().labels());
        assert_eq!(Dataset::open(Path::new("digits"), Some(8)).expect("its own size"), digits());
    }

    #[test]
    fn folders_without_pictures_and_broken_pictures_are_named() {
        let folder = folder();
        let error = Dataset::open(folder.path(), None).expect_err("empty").to_string();
        assert!(
            error.contains("expected PNG, JPEG, WebP, BMP, TIFF or GIF pictures, a folder"),
            "{error}"
        );
        let error = Dataset::open(&folder.path().join("none"), None).expect_err("no folder");
        assert!(matches!(error, DataError::Read { .. }), "{error}");
        save(folder.path(), "a.png", GrayImage::from_pixel(9, 9, Luma([128])));
        let bytes = std::fs::read(folder.path().join("a.png")).expect("the picture");
        for part in [&bytes[..bytes.len() / 2], b"no picture", b""] {
            std::fs::write(folder.path().join("b.png"), part).expect("room");
            let whole = Dataset::open(folder.path(), None).expect("one is whole");
            assert_eq!(whole.len(), 1);
            let alone = self::folder();
            std::fs::write(alone.path().join("b.png"), part).expect("room");
            let error = Dataset::open(alone.path(), None).expect_err("broken").to_string();
            assert!(error.contains("b.png"), "{error}");
        }
    }

    /// A picture of a bright left half, or of other bytes than its name says.
    fn encoded(format: image::ImageFormat, width: u32, height: u32) -> Vec<u8> {
        let picture = RgbImage::from_fn(width, height, |x, _| {
            if x < width / 2 { Rgb([250, 250, 250]) } else { Rgb([10, 10, 10]) }
        });
        let mut bytes = std::io::Cursor::new(Vec::new());
        DynamicImage::from(picture).write_to(&mut bytes, format).expect("a vector takes all");
        bytes.into_inner()
    }

    /// A JPEG file whose EXIF note says how to turn it.
    fn turned(orientation: u8) -> Vec<u8> {
        let jpeg = encoded(image::ImageFormat::Jpeg, 16, 8);
        let mut exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
        exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
        let length = (exif.len() as u16 + 2).to_be_bytes();
        [&jpeg[..2], &[0xff, 0xe1], &length, &exif, &jpeg[2..]].concat()
    }

    #[test]
    fn formats_are_told_by_content() {
        use image::ImageFormat::{Jpeg, Png, WebP};
        let folder = folder();
        let write = |name: &str, bytes: &[u8]| {
            std::fs::write(folder.path().join(name), bytes).expect("room");
        };
        for (name, format) in [
            ("a.jpg", Jpeg),
            ("b.webp", WebP),
            ("c.png", Png),
            ("d.jpeg", Png),
            ("e.gif", Jpeg),
            ("f", WebP),
        ] {
            write(name, &encoded(format, 16, 8));
        }
        // What is no picture, or none of these, is left out.
        write("._a.png", &encoded(Png, 16, 8));
        write(".DS_Store", b"\0\0\0\x01Bud1");
        write("g.gif", b"GIF89a\x01\0\x01\0\0\0\0;");
        write("h.png", b"no picture");
        write("i.jpg", &encoded(Jpeg, 16, 8)[..300]);
        write("j.webp", &encoded(WebP, 16, 8)[..30]);
        std::fs::create_dir(folder.path().join("x.png")).expect("room");
        std::fs::create_dir(folder.path().join("empty")).expect("room");
        write("x.png/inside.png", &encoded(Png, 16, 8));
        let dataset = Dataset::open(folder.path(), None).expect("six pictures");
        let found = (dataset.len(), dataset.height(), dataset.width(), dataset.channels());
        assert_eq!(found, (6, 8, 16, 3));
        assert_eq!((dataset.labels(), dataset.class_names()), (None, None));
        for index in 0..6 {
            let image: Vec<f32> = dataset.image(index).collect();
            // JPEG rounds; both halves are flat.
            assert!((image[0] - (250.0 / 127.5 - 1.0)).abs() < 0.05, "{index}: {}", image[0]);
            assert!((image[15 * 3] - (10.0 / 127.5 - 1.0)).abs() < 0.05, "{index}");
        }
    }

    #[test]
    fn pictures_stand_upright() {
        // By the orientation of EXIF: height and width, and whether the first pixel is bright.
        for (orientation, sides, bright) in
            [(1, (8, 16), true), (3, (8, 16), false), (6, (16, 8), true), (8, (16, 8), false)]
        {
            let dataset =
                Dataset::from_picture("p", &turned(orientation), 128).expect("a JPEG file");
            assert_eq!((dataset.height(), dataset.width()), sides, "{orientation}");
            let first = dataset.image(0).next().expect("a pixel");
            assert_eq!(first > 0.0, bright, "{orientation}: {first}");
        }
    }

    #[test]
    fn the_size_of_every_format_is_limited_before_it_is_decoded() {
        use image::ImageFormat::{Jpeg, Png, WebP};
        for format in [Jpeg, Png, WebP] {
            let bytes = encoded(format, 16, 8);
            Dataset::from_picture("p", &bytes, 128).expect("as many");
            let error = Dataset::from_picture("p", &bytes, 127).expect_err("too large");
            assert!(matches!(error, DataError::Large { height: 8, width: 16, .. }), "{error}");
        }
        let error = Dataset::from_picture("p", b"%PDF-1.7", 128).expect_err("PDF").to_string();
        assert_eq!(
            error,
            "p: expected a PNG, JPEG, WebP, BMP, TIFF or GIF picture, found another file"
        );
    }

    #[test]
    fn folders_of_classes_give_labels_in_the_order_of_their_names() {
        use image::ImageFormat::{Jpeg, Png};
        let folder = folder();
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("room");
            std::fs::write(path, bytes).expect("room");
        };
        let (png, jpeg) = (encoded(Png, 4, 4), encoded(Jpeg, 4, 4));
        write("dog/b.png", &png);
        write("cat/2.jpg", &jpeg);
        write("cat/1.png", &png);
        write("cat/notes.txt", b"of cats");
        write("nothing/notes.txt", b"no pictures");
        write(".hidden/a.png", &png);
        write("readme.txt", b"cats and dogs");
        let dataset = Dataset::open(folder.path(), None).expect("three pictures");
        assert_eq!(dataset.labels(), Some(&[0, 0, 1][..]));
        assert_eq!(dataset.class_names().expect("names"), ["cat", "dog"]);
        let (most, rest) = dataset.split(0.3, 0).expect("two parts");
        assert_eq!((most.classes(), rest.classes()), (Some(2), Some(2)), "of names");

        // Labels of a model that knows more classes, in its own order.
        let names = ["bird", "dog", "cat"].map(String::from);
        let mapped = dataset.clone().with_classes(&names).expect("it knows both");
        assert_eq!(mapped.labels(), Some(&[2, 2, 1][..]));
        let error = dataset.clone().with_classes(&names[..2]).expect_err("no cat").to_string();
        assert!(error.contains("bird, dog") && error.contains("\"cat\""), "{error}");
        assert_eq!(dataset.clone().with_classes(&[]).expect("no names"), dataset);

        write("stray.png", &png);
        let error = Dataset::open(folder.path(), None).expect_err("both").to_string();
        for part in ["found both: 1 pictures", "stray.png", "cat, dog"] {
            assert!(error.contains(part), "{error}");
        }
        // A folder of folders of classes says where to look.
        let outer = self::folder();
        std::fs::rename(folder.path().join("cat"), outer.path().join("cat")).expect("room");
        let inner = outer.path().join("train");
        std::fs::create_dir(&inner).expect("room");
        std::fs::rename(outer.path().join("cat"), inner.join("cat")).expect("room");
        let error = Dataset::open(outer.path(), None).expect_err("one too high").to_string();
        assert!(error.contains("1 folders of folders, of which to give one (train)"), "{error}");
    }
}

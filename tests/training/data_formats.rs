//! Data beyond PNG and idx: BMP, TIFF, GIF, palettes, 16 bits, backgrounds, CIFAR's binary files and NumPy's archives.
#![cfg(feature = "pictures")]

use ddim::data::{Crop, Dataset, Images, ReadOptions, Split};
use flate2::{Compression, write::GzEncoder};
use image::{
    DynamicImage, GrayImage, ImageBuffer, ImageFormat, Luma, Rgb, RgbImage, Rgba, RgbaImage,
};
use std::{fs, io::Cursor, io::Write, path::Path};
use tempfile::TempDir;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder for the test")
}

fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, format).expect("a vector takes all");
    bytes.into_inner()
}

/// 5x3 pixels, each another colour.
fn colours() -> RgbImage {
    RgbImage::from_fn(5, 3, |x, y| Rgb([40 * x as u8, 80 * y as u8, 200]))
}

fn bytes_of(dataset: &Dataset, index: usize) -> Vec<u8> {
    dataset.image(index).map(|number| ((number + 1.0) * 127.5).round() as u8).collect()
}

/// A PNG of a palette: two colours, the second transparent, 4x2 pixels of one bit.
fn palette() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 4, 2);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::One);
    encoder.set_palette(vec![10, 20, 30, 40, 50, 60]);
    encoder.set_trns(vec![255, 0]);
    let mut writer = encoder.write_header().expect("a vector takes all");
    writer.write_image_data(&[0b0101_0000, 0b0011_0000]).expect("a vector takes all");
    writer.finish().expect("a vector takes all");
    bytes
}

#[test]
fn bmp_tiff_and_gif_are_read_and_their_halves_are_not() {
    let folder = folder();
    let picture = colours();
    for (name, format) in [
        ("a.bmp", ImageFormat::Bmp),
        ("b.tiff", ImageFormat::Tiff),
        ("c.gif", ImageFormat::Gif),
        // Told by content.
        ("d.png", ImageFormat::Bmp),
    ] {
        let bytes = encoded(picture.clone(), format);
        fs::write(folder.path().join(name), &bytes).expect("room");
        for part in [bytes.len() / 3, bytes.len() / 2, bytes.len() - 8] {
            let error = Dataset::from_picture("half", &bytes[..part], 1 << 20);
            assert!(error.is_err(), "{format:?}: {part} of {}", bytes.len());
        }
        let error = Dataset::from_picture("large", &bytes, 14).expect_err("15 pixels").to_string();
        assert!(error.contains("at most 14 pixels, found 3x5"), "{format:?}: {error}");
    }
    // A text of these letters is no picture.
    fs::write(folder.path().join("BMW.txt"), "BMW and Mercedes are cars").expect("room");
    let dataset = Dataset::open(folder.path(), None).expect("four pictures");
    assert_eq!((dataset.len(), dataset.channels()), (4, 3));
    for index in [0, 1, 3] {
        assert_eq!(bytes_of(&dataset, index), picture.as_raw()[..], "{index}");
    }
    // 15 colours fit the palette of a GIF.
    let near = |(a, b): (&u8, &u8)| a.abs_diff(*b) <= 4;
    assert!(bytes_of(&dataset, 2).iter().zip(picture.as_raw()).all(near));
}

#[test]
fn the_first_frame_of_an_animation_counts() {
    use image::{Frame, codecs::gif::GifEncoder};
    let mut bytes = Vec::new();
    let frame = |shade| Frame::new(RgbaImage::from_pixel(4, 4, Rgba([shade, shade, shade, 255])));
    GifEncoder::new(&mut bytes).encode_frames([frame(0), frame(255)]).expect("two frames");
    let dataset = Dataset::from_picture("film", &bytes, 16).expect("a picture");
    assert!(bytes_of(&dataset, 0).iter().all(|byte| *byte == 0));
}

#[test]
fn palettes_deep_pictures_and_backgrounds() {
    let folder = folder();
    fs::write(folder.path().join("a.png"), palette()).expect("room");
    let deep: ImageBuffer<Rgb<u16>, _> = ImageBuffer::from_pixel(4, 2, Rgb([257, 514, 65535]));
    fs::write(folder.path().join("b.tif"), encoded(deep, ImageFormat::Tiff)).expect("room");
    let half = RgbaImage::from_pixel(4, 2, Rgba([200, 100, 0, 51]));
    fs::write(folder.path().join("c.webp"), encoded(half, ImageFormat::WebP)).expect("room");
    let grey = image::GrayAlphaImage::from_pixel(4, 2, image::LumaA([200, 0]));
    fs::write(folder.path().join("d.png"), encoded(grey, ImageFormat::Png)).expect("room");
    let read = |background| {
        let options = ReadOptions { background, ..ReadOptions::default() };
        Dataset::open_with(folder.path(), &options).expect("four pictures")
    };
    let teal = [0, 128, 128];
    let dataset = read(teal);
    let own = [10, 20, 30];
    let expected = [own, teal, own, teal, own, own, teal, teal].concat();
    assert_eq!(bytes_of(&dataset, 0), expected);
    assert_eq!(bytes_of(&dataset, 1), [1, 2, 255].repeat(8));
    // A fifth of the colour over four fifths of the ground.
    assert_eq!(bytes_of(&dataset, 2), [40, 122, 102].repeat(8));
    assert_eq!(bytes_of(&dataset, 3), teal.repeat(8));
    assert_eq!(bytes_of(&read([255; 3]), 3), [255; 24]);
    // On a grey ground a grey picture stays grey, on another it becomes colour.
    let alone = self::folder();
    fs::rename(folder.path().join("d.png"), alone.path().join("d.png")).expect("room");
    for (background, channels) in [([9; 3], 1), (teal, 3)] {
        let options = ReadOptions { background, ..ReadOptions::default() };
        let dataset = Dataset::open_with(alone.path(), &options).expect("one");
        assert_eq!(dataset.channels(), channels);
        assert_eq!(bytes_of(&dataset, 0), background[..channels].repeat(8));
    }
}

#[test]
fn sizes_need_not_be_square() {
    let folder = folder();
    // Columns 8 to 15 of 24 are bright: the middle of a wide picture.
    let wide = GrayImage::from_fn(24, 8, |x, _| Luma([if (8..16).contains(&x) { 255 } else { 0 }]));
    fs::write(folder.path().join("a.png"), encoded(wide, ImageFormat::Png)).expect("room");
    // Rows 6 to 17 of 24: the middle of a tall one, in the ratio of 3 to 2.
    let tall = GrayImage::from_fn(8, 24, |_, y| Luma([if (6..18).contains(&y) { 255 } else { 0 }]));
    fs::write(folder.path().join("b.png"), encoded(tall, ImageFormat::Png)).expect("room");
    let read = |size| {
        let options = ReadOptions { size: Some(size), ..ReadOptions::default() };
        Dataset::open_with(folder.path(), &options).expect("two pictures")
    };
    let dataset = read([6, 4]);
    assert_eq!((dataset.height(), dataset.width()), (6, 4));
    assert!(dataset.image(0).all(|number| number == 1.0), "8x5 of the middle");
    assert!(dataset.image(1).all(|number| number == 1.0), "12x8 of the middle");
    // A strip as wide as the picture holds its dark sides.
    let strip = bytes_of(&read([2, 6]), 0);
    assert_eq!(strip[..6], strip[6..]);
    // The filter of a column reaches four pixels to each side.
    assert!((strip[0], strip[5]) == (0, 0) && strip[2] > 180, "{strip:?}");
    assert_eq!(read([5, 5]), Dataset::open(folder.path(), Some(5)).expect("squares"));
}

#[test]
fn random_crops_move_along_the_longer_side() {
    let folder = folder();
    let ramp = GrayImage::from_fn(40, 10, |x, _| Luma([5 * x as u8]));
    fs::write(folder.path().join("a.png"), encoded(ramp, ImageFormat::Png)).expect("room");
    let options =
        ReadOptions { size: Some([10, 10]), crop: Crop::Random, ..ReadOptions::default() };
    let images = Images::open(folder.path(), &options).expect("one");
    assert_eq!(images.shape(), [10, 10, 1]);
    let loading = ddim::data::Loading { crop: Crop::Random, ..Default::default() };
    let mut loader = ddim::data::Loader::new(&images, 1, 0, loading, 0);
    let mut starts = [0; 31];
    for _ in 0..3100 {
        let image = loader.batch().expect("a picture").images;
        let shades: Vec<u8> =
            image.iter().map(|number| ((number + 1.0) * 127.5).round() as u8).collect();
        let start = shades[0] / 5;
        // Ten columns that lie beside one another, in every row.
        let row: Vec<u8> = (start..start + 10).map(|x| 5 * x).collect();
        assert_eq!(shades, row.repeat(10));
        starts[usize::from(start)] += 1;
    }
    // A hundred of each are expected, with a standard deviation of ten.
    assert!(starts.iter().all(|count| (50..150).contains(count)), "{starts:?}");
    // What is held out shows its middle.
    let middle = images.image(0).expect("a picture");
    assert_eq!(middle[0], 75.0 / 127.5 - 1.0);
}

/// Records of CIFAR whose label is `first + i`, and all of whose red, green and blue is `i`, 100 + `i`, 200 + `i`.
fn records(before: &[u8], first: u8, count: u8) -> Vec<u8> {
    let record = |i: u8| {
        let planes = [i, 100 + i, 200 + i].map(|shade| [shade; 1024]).concat();
        [before, &[first + i], &planes].concat()
    };
    (0..count).flat_map(record).collect()
}

fn cifar10() -> Vec<(String, Vec<u8>)> {
    let batch = |i: u8| (format!("data_batch_{i}.bin"), records(&[], i, 3));
    let names = (0..10).map(|i| format!("class {i}\n")).collect::<String>();
    let names = ("batches.meta.txt".to_owned(), names.into_bytes());
    let test = ("test_batch.bin".to_owned(), records(&[], 0, 2));
    (1..6).map(batch).chain([test, names]).collect()
}

#[test]
fn cifar_is_read_from_folders_and_archives() {
    let folder = folder();
    for (name, bytes) in cifar10() {
        fs::write(folder.path().join(name), bytes).expect("room");
    }
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for (name, bytes) in cifar10() {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        let path = format!("cifar-10-batches-bin/{name}");
        archive.append_data(&mut header, path, &bytes[..]).expect("room");
    }
    let packed = archive.into_inner().and_then(GzEncoder::finish).expect("memory");
    let outside = self::folder();
    let path = outside.path().join("cifar-10-binary.tar.gz");
    fs::write(&path, &packed).expect("room");
    for source in [folder.path(), &path] {
        let dataset = Dataset::open(source, None).expect("five batches");
        let shape = [dataset.height(), dataset.width(), dataset.channels()];
        assert_eq!((dataset.len(), shape), (15, [32, 32, 3]));
        let labels = [1, 2, 3, 2, 3, 4, 3, 4, 5, 4, 5, 6, 5, 6, 7];
        assert_eq!(dataset.labels(), Some(&labels[..]));
        assert_eq!(dataset.class_names().expect("names")[7], "class 7");
        assert_eq!(bytes_of(&dataset, 4), [1, 101, 201].repeat(1024));
        let test = Dataset::open_part(source, Split::Test, None).expect("the other part");
        assert_eq!(test.labels(), Some(&[0, 1][..]));
    }
    // A half of the archive, and another one.
    fs::write(&path, &packed[..packed.len() / 2]).expect("room");
    let error = Dataset::open(&path, None).expect_err("a half").to_string();
    assert!(error.contains("cifar-10-binary.tar.gz"), "{error}");
    let other = outside.path().join("other.gz");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&[7; 2000]).expect("memory");
    fs::write(&other, encoder.finish().expect("memory")).expect("room");
    let error = Dataset::open(&other, None).expect_err("no archive").to_string();
    assert!(error.contains("other.gz"), "{error}");
    // What is missing, and what is no whole record.
    fs::remove_file(folder.path().join("data_batch_3.bin")).expect("it is there");
    let error = Dataset::open(folder.path(), None).expect_err("four batches").to_string();
    assert!(error.contains("expected data_batch_3.bin beside data_batch_1.bin"), "{error}");
    fs::write(folder.path().join("data_batch_3.bin"), [1; 3000]).expect("room");
    let error = Dataset::open(folder.path(), None).expect_err("a part").to_string();
    let words = "data_batch_3.bin: expected records of 3073 bytes, one or more, found 3000 bytes";
    assert!(error.contains(words), "{error}");
}

#[test]
fn cifar_100_has_fine_labels() {
    let folder = folder();
    fs::write(folder.path().join("train.bin"), records(&[19], 90, 4)).expect("room");
    let dataset = Dataset::open(folder.path(), None).expect("four images");
    assert_eq!(dataset.labels(), Some(&[90, 91, 92, 93][..]));
    assert_eq!(bytes_of(&dataset, 2), [2, 102, 202].repeat(1024));
}

/// A file of one array.
fn npy(kind: &str, shape: &str, bytes: &[u8]) -> Vec<u8> {
    let text = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut file = b"\x93NUMPY\x01\0".to_vec();
    file.extend((text.len() as u16).to_le_bytes());
    file.extend(text.bytes());
    file.extend(bytes);
    file
}

fn npz(path: &Path, packed: bool, arrays: &[(&str, Vec<u8>)]) {
    let mut zip = ZipWriter::new(fs::File::create(path).expect("room"));
    let method = if packed { CompressionMethod::Deflated } else { CompressionMethod::Stored };
    for (name, bytes) in arrays {
        let options = SimpleFileOptions::default().compression_method(method);
        zip.start_file(format!("{name}.npy"), options).expect("room");
        zip.write_all(bytes).expect("room");
    }
    zip.finish().expect("room");
}

#[test]
fn arrays_of_numpy_are_images_and_labels() {
    let folder = folder();
    let path = folder.path().join("set.npz");
    let pixels: Vec<u8> = (0..3 * 2 * 2 * 3).collect();
    let colour = npy("|u1", "(3, 2, 2, 3)", &pixels);
    let labels: Vec<u8> = [7i64, 0, 255].iter().flat_map(|label| label.to_le_bytes()).collect();
    let big: Vec<u8> = [7i32, 0, 255].iter().flat_map(|label| label.to_be_bytes()).collect();
    for packed in [false, true] {
        for (kind, labels, shape) in
            [("<i8", &labels[..], "(3,)"), (">i4", &big, "(3, 1)"), ("|u1", &[7, 0, 255], "(3,)")]
        {
            let labels = npy(kind, shape, labels);
            npz(&path, packed, &[("labels", labels), ("images", colour.clone())]);
            let dataset = Dataset::open(&path, None).expect("three images");
            let shape = [dataset.height(), dataset.width(), dataset.channels()];
            assert_eq!((dataset.len(), shape), (3, [2, 2, 3]));
            assert_eq!(dataset.labels(), Some(&[7, 0, 255][..]), "{kind}");
            assert_eq!(bytes_of(&dataset, 1), pixels[12..24]);
        }
    }
    // Both parts, as Keras publishes MNIST.
    let grey =
        |shade: u8, count: usize| npy("|u1", &format!("({count}, 2, 2)"), &vec![shade; 4 * count]);
    npz(&path, true, &[("x_train", grey(1, 2)), ("x_test", grey(9, 1))]);
    let [all, test] = [None, Some(Split::Test)].map(|split| {
        let options = ReadOptions { split, ..ReadOptions::default() };
        Dataset::open_with(&path, &options).expect("images")
    });
    assert_eq!((all.len(), test.len(), test.labels()), (2, 1, None));
    assert_eq!((bytes_of(&all, 0), bytes_of(&test, 0)), (vec![1; 4], vec![9; 4]));
}

#[test]
fn archives_of_other_things_are_named() {
    let folder = folder();
    let path = folder.path().join("set.npz");
    let images = npy("|u1", "(2, 2, 2)", &[0; 8]);
    for (arrays, words) in [
        (vec![("weights", images.clone())], "images named images, x, x_train"),
        (vec![("images", npy("<f4", "(2, 2, 2)", &[0; 32]))], "found images of <f4 [2, 2, 2]"),
        (vec![("images", npy("|u1", "(2, 3, 2, 2)", &[0; 24]))], "[count, height, width]"),
        (vec![("images", npy("|u1", "(2, 2, 2)", &[0; 7]))], "expected 8 bytes after the header"),
        (vec![("images", npy("|u1", "(2, 2, 2)", &[0; 9]))], "expected 8 bytes after the header"),
        (vec![("images", npy("|u1", "(99999999, 999, 999)", &[0; 9]))], "packed into"),
        (vec![("images", npy("|u1", "(9999999999999, 99999999999, 9)", &[0]))], "packed into"),
        (vec![("images", b"no array".to_vec())], "expected an array of NumPy"),
        (vec![("images", images.clone()), ("labels", npy("|u1", "(3,)", &[0; 3]))], "2 labels"),
        (
            vec![("images", images.clone()), ("labels", npy("<i2", "(2,)", &[0, 1, 0, 0]))],
            "labels as whole numbers from 0 to 255",
        ),
        (
            vec![("images", images.clone()), ("labels", npy("|i1", "(2,)", &[0, 255]))],
            "labels as whole numbers from 0 to 255",
        ),
        (
            vec![("images", images), ("labels", npy("<f8", "(2,)", &[0; 16]))],
            "labels as whole numbers from 0 to 255, one for each image, found <f8",
        ),
    ] {
        npz(&path, false, &arrays);
        let error = Dataset::open(&path, None).expect_err(words).to_string();
        assert!(error.contains("set.npz") && error.contains(words), "{error}");
    }
    fs::write(&path, b"PK\x03\x04 and no more").expect("room");
    let error = Dataset::open(&path, None).expect_err("no archive").to_string();
    assert!(error.contains("set.npz: expected a folder, or an archive"), "{error}");
}

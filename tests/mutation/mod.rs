//! Files of strangers: every format that is read, whole examples of each, and changes of them. The
//! test in CI, the fuzz targets and their driver share it. Above 300 lines, for each format is a row.
#![allow(dead_code, reason = "each user takes a part of it")]

use ddim::{
    data::Dataset,
    diffusion::schedule::SchedulerConfig,
    files::MAX_PIXELS,
    models::unet2d::UNetConfig,
    nn::{Initial, ParameterSpec, Weights},
    ops::TimestepProbabilities,
    pipeline::{Pointer, check_index, parse_class_names},
    training::{Losses, Settings, State, TrainingOptions},
    value::{Shape, TensorType},
    verify::{parse_index, parse_manifest},
    weights::{Precision, of_bytes, parse_tensors, tensor_bytes},
};
use row::Row;
use std::{collections::HashMap, hint::black_box, io::Write, path::Path, sync::LazyLock};

pub mod bounded;
/// The command's own, which no library holds.
#[path = "../../cli/src/experiments/row.rs"]
mod row;
mod torch;

/// A format that is read from files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Safetensors,
    TorchZip,
    TorchLegacy,
    UNetConfig,
    SchedulerConfig,
    ModelIndex,
    Settings,
    State,
    Pointer,
    Losses,
    Results,
    CaseIndex,
    Manifest,
    Idx,
    IdxGz,
    Png,
    Jpeg,
    WebP,
    Bmp,
    Tiff,
    Gif,
    Npz,
    ClassNames,
}

impl Format {
    pub const ALL: [Self; 23] = [
        Self::Safetensors,
        Self::TorchZip,
        Self::TorchLegacy,
        Self::UNetConfig,
        Self::SchedulerConfig,
        Self::ModelIndex,
        Self::Settings,
        Self::State,
        Self::Pointer,
        Self::Losses,
        Self::Results,
        Self::CaseIndex,
        Self::Manifest,
        Self::Idx,
        Self::IdxGz,
        Self::Png,
        Self::Jpeg,
        Self::WebP,
        Self::Bmp,
        Self::Tiff,
        Self::Gif,
        Self::Npz,
        Self::ClassNames,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::TorchZip => "torch_zip",
            Self::TorchLegacy => "torch_legacy",
            Self::UNetConfig => "unet_config",
            Self::SchedulerConfig => "scheduler_config",
            Self::ModelIndex => "model_index",
            Self::Settings => "settings",
            Self::State => "state",
            Self::Pointer => "pointer",
            Self::Losses => "losses",
            Self::Results => "results",
            Self::CaseIndex => "case_index",
            Self::Manifest => "manifest",
            Self::Idx => "idx",
            Self::IdxGz => "idx_gz",
            Self::Png => "png",
            Self::Jpeg => "jpeg",
            Self::WebP => "webp",
            Self::Bmp => "bmp",
            Self::Tiff => "tiff",
            Self::Gif => "gif",
            Self::Npz => "npz",
            Self::ClassNames => "class_names",
        }
    }

    /// Reads it; true if it is whole.
    pub fn read(self, bytes: &[u8]) -> bool {
        let path = Path::new("file");
        let text = || std::str::from_utf8(bytes);
        match self {
            Self::Safetensors | Self::TorchZip | Self::TorchLegacy => read_weights(path, bytes),
            Self::UNetConfig => text().is_ok_and(|text| black_box(UNetConfig::parse(text)).is_ok()),
            Self::SchedulerConfig => text().is_ok_and(|text| {
                let config = black_box(SchedulerConfig::parse(text));
                // Short schedules alone: a million betas take their time, in every step.
                let short = config.iter().filter(|config| config.num_train_timesteps <= 2000);
                short.for_each(|config| drop(black_box(config.ddim(3, 0.0))));
                config.is_ok()
            }),
            Self::ModelIndex => text().is_ok_and(|text| check_index(path, text).is_ok()),
            Self::Settings => {
                text().is_ok_and(|text| black_box(Settings::parse(path, text)).is_ok())
            }
            Self::State => {
                let (parameters, memory) = model();
                black_box(State::parse(path, bytes, parameters, Some(*memory))).is_ok()
            }
            Self::Pointer => text().is_ok_and(|text| black_box(Pointer::parse(path, text)).is_ok()),
            Self::Losses => text().is_ok_and(|text| {
                let losses = black_box(Losses::parse(path, text, u64::MAX));
                // What is read is finite, and reads the same once it is written again.
                losses.iter().for_each(|losses| {
                    let again = Losses::parse(path, &losses.to_csv(), u64::MAX);
                    assert!(again.is_ok_and(|again| again == *losses), "{losses:?}");
                });
                losses.is_ok()
            }),
            Self::Results => text().is_ok_and(|text| {
                let rows = black_box(Row::parse(text));
                rows.iter().flatten().for_each(|row| {
                    let finite = |number: f64| (0.0..f64::INFINITY).contains(&number);
                    assert!(finite(row.value) && finite(row.seconds), "{row:?}");
                });
                rows.is_ok()
            }),
            Self::CaseIndex => text().is_ok_and(|text| black_box(parse_index(path, text)).is_ok()),
            Self::Manifest => {
                text().is_ok_and(|text| black_box(parse_manifest(path, text)).is_ok())
            }
            Self::Idx | Self::IdxGz => {
                // The labels of three images: a file of two parts, cut where the first ends.
                let labels = [&[0, 0, 8, 1, 0, 0, 0, 3][..], &[0, 1, 2]].concat();
                let images = black_box(Dataset::from_idx("idx", bytes, Some(&labels)));
                let labels = black_box(Dataset::from_idx("idx", &images_of_three(), Some(bytes)));
                images.is_ok() || labels.is_ok()
            }
            Self::Png => black_box(Dataset::from_picture("png", bytes, MAX_PIXELS)).is_ok(),
            // Small ones: a changed size of many pixels takes its time, in every step.
            Self::Jpeg | Self::WebP | Self::Bmp | Self::Tiff | Self::Gif => {
                black_box(Dataset::from_picture(self.name(), bytes, 1 << 16)).is_ok()
            }
            Self::Npz => black_box(Dataset::from_npz("npz", bytes, None)).is_ok(),
            Self::ClassNames => {
                text().is_ok_and(|text| black_box(parse_class_names(path, text)).is_ok())
            }
        }
    }

    /// Bytes that the file says it holds once it is unpacked, as far as they are allowed.
    pub fn unpacked(self, bytes: &[u8]) -> u64 {
        let word = |at: usize| {
            let word = bytes.get(at..at + 4).and_then(|word| word.first_chunk());
            u64::from(word.map_or(0, |word| u32::from_be_bytes(*word)))
        };
        match self {
            Self::Png => {
                let pixels = word(16) * word(20);
                let sample = if bytes.get(24) == Some(&16) { 2 } else { 1 };
                if pixels <= MAX_PIXELS { pixels * 4 * sample } else { 0 }
            }
            // Within the constant part of the bound.
            _ => 0,
        }
    }

    /// Is it a file of weights?
    pub fn is_weights(self) -> bool {
        matches!(self, Self::Safetensors | Self::TorchZip | Self::TorchLegacy)
    }

    /// Whole files.
    pub fn seeds(self) -> Vec<Vec<u8>> {
        match self {
            Self::Safetensors => vec![tensors(&[("a", &[2, 3]), ("b.c", &[1])]), tensors(&[])],
            Self::TorchZip => vec![torch::zip(&torch::OBJECTS), torch::zip(&torch::LIST)],
            Self::TorchLegacy => vec![torch::legacy(&torch::OBJECTS), torch::legacy(&torch::LIST)],
            Self::UNetConfig => {
                let class = UNetConfig { num_class_embeds: Some(10), ..UNetConfig::default() };
                vec![UNetConfig::default().to_json().into(), class.to_json().into()]
            }
            Self::SchedulerConfig => {
                let betas = r#"{"_class_name": "DDIMScheduler", "num_train_timesteps": 3,
                                "trained_betas": [0.1, 0.2, 0.3], "set_alpha_to_one": false}"#;
                vec![SchedulerConfig::default().to_json().into(), betas.into()]
            }
            Self::ModelIndex => vec![
                br#"{"_class_name": "DDPMPipeline", "scheduler": ["diffusers", "DDPMScheduler"],
                     "unet": ["diffusers", "UNet2DModel"], "safety_checker": [null, null]}"#
                    .into(),
            ],
            Self::Settings => {
                let options = serde_json::to_string(&TrainingOptions::default());
                let options = options.expect("numbers are JSON");
                let text = format!(
                    r#"{{"options": {options}, "size": [8, 8], "plan": "00", "device": "none",
                         "notes": {{"data": "digits", "steps": 3}}}}"#
                );
                vec![text.into()]
            }
            Self::State => {
                let mut weights = Weights::default();
                for spec in &model().0 {
                    let shape = spec.of.shape;
                    weights.insert(&spec.name, shape, vec![0.5; shape.elements()]);
                }
                let parts = [(); 4].map(|()| weights.clone());
                let memory = Some(vec![3.0; 2 * 11]);
                let scaling = Some([1024.0, 7.0, 0.0, 3.0]);
                let state = State { parts, memory, scaling, step: 70_000 };
                vec![state.to_bytes(Path::new("file")).expect("plain tensors")]
            }
            Self::Pointer => vec![
                br#"{"generation": 3, "files": {"unet/config.json": {"bytes": 9, "crc32": 7},
                     "training/state.safetensors": {"bytes": 4294967297, "crc32": 4294967295}}}"#
                    .into(),
            ],
            Self::Losses => vec![
                b"step,loss,gradient_norm,held_out_loss\n1,1.25,3e-9,\n2,0.5,0.1,0.75\n10,0,1,\n"
                    .into(),
            ],
            Self::Results => vec![
                b"experiment,setting,steps,value,images,seconds\n\
                  distance,eta 0.2,10,0.30000000000000004,8,1.500\nlabels,,50,1,9,0.1\n"
                    .into(),
            ],
            Self::CaseIndex => {
                vec![br#"{"cases": [{"group": "ops", "name": "silu", "kind": "silu"}]}"#.into()]
            }
            Self::Manifest => vec![
                br#"{"kind": "conv2d", "file": "a.safetensors", "config": {"stride": 2,
                     "padding": [0, 1, 0, 1]}, "outputs": {"y": {"atol": 1e-5, "shape": [2, 3]}},
                     "model": "models/a"}"#
                    .into(),
            ],
            Self::Idx => vec![images_of_three(), vec![0, 0, 8, 1, 0, 0, 0, 3, 0, 1, 2]],
            Self::IdxGz => Self::Idx.seeds().iter().map(|bytes| packed(bytes)).collect(),
            Self::Png => pictures(image::ImageFormat::Png),
            Self::Jpeg => pictures(image::ImageFormat::Jpeg),
            Self::WebP => pictures(image::ImageFormat::WebP),
            Self::Bmp => pictures(image::ImageFormat::Bmp),
            Self::Tiff => pictures(image::ImageFormat::Tiff),
            Self::Gif => pictures(image::ImageFormat::Gif),
            Self::Npz => vec![npz(false), npz(true)],
            Self::ClassNames => vec![br#"{"names": ["cat", "dog", "a \u00e4"]}"#.into()],
        }
    }

    /// A change of a whole file; bytes may stay as they were.
    pub fn mutate(self, bytes: &mut Vec<u8>, random: &mut Random) {
        match self {
            // Half of the changes are made inside what is packed.
            Self::IdxGz if random.one_of(2) => {
                let mut inside = Self::Idx.seeds().swap_remove(random.below(2));
                change(&mut inside, random, false);
                *bytes = packed(&inside);
            }
            // Half of the changes are made in the pickle, and the file around it made whole.
            Self::TorchZip if random.one_of(2) => *bytes = torch::zip(&torch::changed(random)),
            Self::TorchLegacy if random.one_of(2) => {
                *bytes = torch::legacy(&torch::changed(random))
            }
            Self::TorchZip
            | Self::TorchLegacy
            | Self::IdxGz
            | Self::Idx
            | Self::Jpeg
            | Self::WebP
            | Self::Bmp
            | Self::Tiff
            | Self::Gif
            | Self::Npz => change(bytes, random, false),
            Self::Png => {
                change(bytes, random, false);
                if random.one_of(2) {
                    seal(bytes);
                }
            }
            // A whole file of another model's state, which no change of a header makes.
            Self::State if random.one_of(4) => *bytes = another_state(bytes, random),
            Self::Safetensors | Self::State => {
                let header = bytes.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
                if random.one_of(2) && header < bytes.len() as u64 {
                    // The header alone, its length made right.
                    let rest = bytes.split_off(8 + (header as usize).min(bytes.len() - 8));
                    let mut text = bytes.split_off(8);
                    change(&mut text, random, true);
                    *bytes = (text.len() as u64).to_le_bytes().into();
                    bytes.extend(text);
                    bytes.extend(rest);
                } else {
                    change(bytes, random, false);
                }
            }
            _ => change(bytes, random, true),
        }
    }
}

/// An archive of two images and their labels, packed or not.
fn npz(is_packed: bool) -> Vec<u8> {
    use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};
    let method = if is_packed { CompressionMethod::Deflated } else { CompressionMethod::Stored };
    let options = SimpleFileOptions::default().compression_method(method);
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let arrays: [(&str, &str, &[u8]); 2] =
        [("images", "(2, 3, 2)", &[9; 12]), ("labels", "(2,)", &[1, 0])];
    for (name, shape, bytes) in arrays {
        let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n");
        let length = (header.len() as u16).to_le_bytes();
        let file = [b"\x93NUMPY\x01\0", &length[..], header.as_bytes(), bytes].concat();
        let written = zip.start_file(format!("{name}.npy"), options);
        written.and_then(|()| Ok(zip.write_all(&file)?)).expect("a vector takes all");
    }
    zip.finish().expect("a vector takes all").into_inner()
}

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `count`; 0 if there is none.
    pub fn below(&mut self, count: usize) -> usize {
        (self.draw() % count.max(1) as u64) as usize
    }

    pub fn one_of(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// One to four changes anywhere.
pub fn change(bytes: &mut Vec<u8>, random: &mut Random, text: bool) {
    const WORDS: [&str; 20] = [
        "-1",
        "0",
        "1e999",
        "18446744073709551616",
        "4294967296",
        "0.5",
        "null",
        "true",
        "\"\"",
        "[]",
        "{}",
        "[[[[[[[[",
        "{\"a\":",
        "\\ud800",
        "NaN",
        "1e-320",
        ",",
        "}",
        "\"F64\"",
        "\n",
    ];
    const NUMBERS: [u64; 8] =
        [0, 1, 0x7fff_ffff, 0xffff_ffff, 0x8000_0000, 1 << 40, u64::MAX, 0x0000_1000_0000_1000];
    for _ in 0..1 + random.below(4) {
        let at = random.below(bytes.len());
        let end = (at + 1 + random.below(16)).min(bytes.len());
        match random.below(if text { 9 } else { 8 }) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => bytes[at] = random.draw() as u8,
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at.min(end)..end)),
            4 => {
                let part = bytes[at.min(end)..end].to_vec();
                let place = random.below(bytes.len() + 1);
                let again = part.iter().cycle().take(part.len() * (1 + random.below(3)));
                bytes.splice(place..place, again.copied());
            }
            5 => {
                let number = NUMBERS[random.below(8)].to_le_bytes();
                let width = [1, 2, 4, 8][random.below(4)];
                overwrite(bytes, at, &number[..width]);
            }
            6 => {
                let number = NUMBERS[random.below(8)] as u32;
                overwrite(bytes, at, &number.to_be_bytes());
            }
            // In place of a number, where there is one.
            7 | 8 if text => {
                let digit = |byte: &u8| byte.is_ascii_digit();
                let start = bytes.iter().skip(at).position(digit).map_or(at, |past| at + past);
                let length =
                    bytes[start.min(bytes.len())..].iter().take_while(|b| digit(b)).count();
                let word = WORDS[random.below(WORDS.len())];
                bytes.splice(start..start + length, word.bytes());
            }
            _ => bytes.push(random.draw() as u8),
        }
    }
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    for (byte, with) in bytes.iter_mut().skip(at).zip(with) {
        *byte = *with;
    }
}

/// A model of two parameters, and the shape of its last losses of two timesteps.
fn model() -> &'static ([ParameterSpec; 2], Shape) {
    static MODEL: LazyLock<([ParameterSpec; 2], Shape)> = LazyLock::new(|| {
        let specs = [("a", &[2, 3][..]), ("b.c", &[1])].map(|(name, shape)| ParameterSpec {
            name: name.into(),
            of: TensorType::f32(shape),
            initial: Initial::Normal(1.0),
        });
        (specs, TimestepProbabilities::memory(2).shape)
    });
    &MODEL
}

/// Reads every tensor whole, and its last row alone.
fn read_weights(path: &Path, bytes: &[u8]) -> bool {
    let Ok(file) = of_bytes(path, bytes) else { return false };
    file.tensors().into_iter().all(|(name, shape)| {
        let whole = black_box(file.read(&name)).is_ok();
        if let Some(&rows @ 1..) = shape.first() {
            let last = black_box(file.read_rows(&name, Some(rows - 1..rows)));
            assert_eq!(last.is_ok(), whole, "{name}");
        }
        whole
    })
}

/// A state with a tensor of another shape, name or number.
fn another_state(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let path = Path::new("file");
    let mut tensors: Vec<_> = parse_tensors(path, bytes)
        .expect("a whole file")
        .into_iter()
        .map(|of| (of.name, of.shape, of.numbers.into_f32()))
        .collect();
    let changed = random.below(tensors.len());
    let (name, shape, numbers) = &mut tensors[changed];
    match random.below(3) {
        0 => name.push('x'),
        1 => {
            let axis = random.below(shape.len());
            shape[axis] = random.below(20);
            numbers.resize(shape.iter().product(), 3.0);
        }
        _ => {
            let at = random.below(numbers.len());
            numbers[at] = [-1.0, 0.5, 4.0, 70_000.0, f32::NAN, f32::INFINITY][random.below(6)];
        }
    }
    let tensors =
        tensors.iter().map(|(name, shape, numbers)| (&name[..], &shape[..], &numbers[..]));
    tensor_bytes(path, Precision::F32, tensors).expect("plain tensors")
}

/// Three images of 2x4 pixels.
fn images_of_three() -> Vec<u8> {
    let mut bytes = [0x803, 3, 2, 4].map(u32::to_be_bytes).concat();
    bytes.extend(0..24);
    bytes
}

pub fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("a vector takes all");
    encoder.finish().expect("a vector takes all")
}

pub fn tensors(of: &[(&str, &[usize])]) -> Vec<u8> {
    let data =
        vec![0x3c; 4 * of.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum::<usize>()];
    let mut rest = &data[..];
    let views = of.iter().map(|(name, shape)| {
        let (own, after) = rest.split_at(4 * shape.iter().product::<usize>());
        rest = after;
        let view =
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.to_vec(), own);
        (*name, view.expect("as many bytes"))
    });
    let views: Vec<_> = views.collect();
    let metadata: HashMap<String, String> = [("format".into(), "pt".into())].into();
    safetensors::serialize(views, Some(metadata)).expect("plain tensors")
}

/// Grey, RGB, RGBA and 16-bit pictures, as far as a format has them.
fn pictures(format: image::ImageFormat) -> Vec<Vec<u8>> {
    use image::{DynamicImage, ImageFormat};
    let pictures = [
        DynamicImage::new_luma8(5, 4),
        DynamicImage::new_rgb8(3, 7),
        DynamicImage::new_rgba8(4, 4),
        DynamicImage::new_rgb16(2, 3),
        DynamicImage::new_luma_a16(3, 3),
    ];
    let held = match format {
        ImageFormat::Jpeg => 0..2,
        ImageFormat::WebP | ImageFormat::Bmp => 0..3,
        ImageFormat::Gif => 1..3,
        ImageFormat::Tiff => 0..4,
        _ => 0..5,
    };
    pictures[held]
        .iter()
        .map(|picture| {
            let mut bytes = Vec::new();
            let mut file = std::io::Cursor::new(&mut bytes);
            picture.write_to(&mut file, format).expect("a vector takes all");
            bytes
        })
        .collect()
}

/// Makes the sums of a PNG's chunks right again, as far as there are chunks.
fn seal(bytes: &mut [u8]) {
    let mut at = 8;
    while let Some(length) = bytes.get(at..at + 4).and_then(|word| word.first_chunk()) {
        let length = u32::from_be_bytes(*length) as usize;
        let end = at + 8 + length;
        if end + 4 > bytes.len() {
            return;
        }
        let mut crc = flate2::Crc::new();
        crc.update(&bytes[at + 4..end]);
        bytes[end..end + 4].copy_from_slice(&crc.sum().to_be_bytes());
        at = end + 4;
    }
}

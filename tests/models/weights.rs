//! Reading and writing weights, with no GPU.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::common::case::Case;
use ddim::error::WeightsError;
use ddim::files::write_file;
use ddim::nn::{Initial, ParameterSource, ParameterSpec};
use ddim::value::{Shape, TensorType};
use ddim::weights::{
    self, FileWeights, Layout, NonFinite, Numbers, Precision, canonical_name, read, read_tensors,
    write, write_tensors,
};
use safetensors::{Dtype, tensor::TensorView};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder for the test")
}

fn model(name: &str) -> PathBuf {
    Case::folder().join("models").join(name).join("diffusion_pytorch_model.safetensors")
}

fn spec(name: &str, shape: &[usize]) -> ParameterSpec {
    let (name, of) = (name.to_owned(), TensorType::f32(shape));
    ParameterSpec { name, of, initial: Initial::Constant(0.0) }
}

/// What a model expects, from a file of its weights.
fn expected(path: &Path) -> Vec<ParameterSpec> {
    let stored = read_tensors(path).expect("a whole file");
    stored
        .into_iter()
        .map(|tensor| {
            let shape = match tensor.shape[..] {
                [output, input] if tensor.name != "class_embedding.weight" => vec![input, output],
                [output, input, height, width] => vec![height, width, input, output],
                _ => tensor.shape.clone(),
            };
            spec(&canonical_name(&tensor.name), &shape)
        })
        .collect()
}

#[test]
fn weights_survive_reading_and_writing() {
    for name in ["unet_8_16_gray", "unet_32_64_rgb", "unet_8_16_class"] {
        let path = model(name);
        let expected = expected(&path);
        let parameters = read(&path, &expected).expect("the weights of a case");
        assert_eq!(parameters.len(), expected.len());
        let folder = folder();
        for storage in [Precision::F32, Precision::F16] {
            let copy = folder.path().join("copy.safetensors");
            write(&copy, &parameters, storage).expect("room for a copy");
            let again = read(&copy, &expected).expect("its own file");
            for ((name, before), (_, after)) in parameters.iter().zip(again.iter()) {
                for (before, after) in before.data.iter().zip(&after.data) {
                    let exact = storage == Precision::F32
                        || half::f16::from_f32(*before).to_f32() == *after;
                    assert!(
                        exact && (before - after).abs() <= before.abs() * 1e-3 + 1e-7,
                        "{name}"
                    );
                }
            }
            let bytes = std::fs::read(&copy).expect("the copy");
            write(&copy, &parameters, storage).expect("room for a copy");
            assert_eq!(bytes, std::fs::read(&copy).expect("the copy"), "same tensors, same bytes");
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 1, "leftovers");
    }
}

#[test]
fn a_file_that_shrinks_after_it_was_opened_is_an_error_that_names_it() {
    let folder = folder();
    let path = folder.path().join("model.safetensors");
    std::fs::copy(model("unet_8_16_gray"), &path).expect("room");
    let expected = expected(&path);
    let opened = FileWeights::open(&path, &expected, NonFinite::Refuse).expect("a whole file");
    let last = opened.names().last().copied().expect("parameters").to_owned();
    assert!(opened.elements(&last).is_ok());
    // In place, as a download that begins again does.
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("it is there");
    file.set_len(file.metadata().expect("a file").len() / 2).expect("a shorter file");
    let errors = expected.iter().filter_map(|spec| opened.elements(&spec.name).err());
    let errors: Vec<String> = errors.map(|error| error.to_string()).collect();
    assert!((1..expected.len()).contains(&errors.len()), "of the second half alone");
    assert!(errors.iter().all(|error| error.contains("model.safetensors")), "{errors:?}");
    assert!(opened.load().is_err());
}

#[test]
fn layouts_put_every_element_in_its_place() {
    // Elements count up in the order of the file.
    let (output, input, height, width) = (5, 3, 2, 4);
    let shape = Shape::new(&[height, width, input, output]);
    let layout = Layout::of("conv_in.weight", &shape);
    let stored: Vec<f32> = (0..shape.elements()).map(|index| index as f32).collect();
    let ours = layout.read(&shape, &stored);
    for (o, i, y, x) in [(0, 0, 0, 0), (4, 2, 1, 3), (1, 2, 0, 3), (3, 0, 1, 2)] {
        let there = ((o * input + i) * height + y) * width + x;
        assert_eq!(ours[((y * width + x) * input + i) * output + o], stored[there]);
    }
    assert_eq!(layout.write(&shape, &ours), stored);
    assert_eq!(layout.stored_shape(&shape), [output, input, height, width]);

    let shape = Shape::new(&[2, 3]);
    let linear = Layout::of("time_embedding.linear_1.weight", &shape);
    assert_eq!(
        linear.read(&shape, &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
        [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]
    );
    assert_eq!(Layout::of("class_embedding.weight", &shape), Layout::Same);
}

#[test]
fn names_of_2022_are_todays() {
    for (old, new) in [
        ("mid_block.attentions.0.query.weight", "mid_block.attentions.0.to_q.weight"),
        ("down_blocks.1.attentions.1.key.bias", "down_blocks.1.attentions.1.to_k.bias"),
        ("up_blocks.0.attentions.2.value.weight", "up_blocks.0.attentions.2.to_v.weight"),
        ("mid_block.attentions.0.proj_attn.bias", "mid_block.attentions.0.to_out.0.bias"),
        ("mid_block.attentions.0.to_out.0.bias", "mid_block.attentions.0.to_out.0.bias"),
        ("query.weight", "query.weight"),
    ] {
        assert_eq!(canonical_name(old), new);
    }

    let folder = folder();
    let path = folder.path().join("old.safetensors");
    // A 1x1 convolution in the place of a linear layer.
    let weight = [1.0, 2.0, 3.0, 4.0];
    let tensors: [(&str, &[usize], &[f32]); 1] =
        [("mid_block.attentions.0.query.weight", &[2, 2, 1, 1], &weight)];
    write_tensors(&path, Precision::F32, tensors).expect("room");
    let expected = [spec("mid_block.attentions.0.to_q.weight", &[2, 2])];
    let parameters = read(&path, &expected).expect("the old name is known");
    assert_eq!(parameters.get(&expected[0].name).expect("it was read").data, [1.0, 3.0, 2.0, 4.0]);

    let both: [(&str, &[usize], &[f32]); 2] = [
        ("mid_block.attentions.0.query.weight", &[2, 2], &weight),
        ("mid_block.attentions.0.to_q.weight", &[2, 2], &weight),
    ];
    write_tensors(&path, Precision::F32, both).expect("room");
    assert!(matches!(read(&path, &expected), Err(WeightsError::Twice { .. })));
}

#[test]
fn every_element_type_is_read() {
    let folder = folder();
    let path = folder.path().join("types.safetensors");
    let f16: Vec<u8> =
        [1.5f32, -2.0].iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes()).collect();
    let bf16: Vec<u8> =
        [1.5f32, -2.0].iter().flat_map(|x| half::bf16::from_f32(*x).to_le_bytes()).collect();
    let f64: Vec<u8> = [1.5f64, -2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let view = |dtype, bytes| TensorView::new(dtype, vec![2], bytes).expect("a view");
    let views = [
        ("a", view(Dtype::F16, &f16)),
        ("b", view(Dtype::BF16, &bf16)),
        ("c", view(Dtype::F64, &f64)),
    ];
    let bytes = safetensors::serialize(views, None::<HashMap<String, String>>).expect("bytes");
    write_file(&path, &bytes).expect("room");
    for tensor in read_tensors(&path).expect("all three are floats") {
        assert_eq!(tensor.numbers.to_f64(), [1.5, -2.0], "{}", tensor.name);
    }
    let views = [("flags", TensorView::new(Dtype::BOOL, vec![2], &[0, 1]).expect("a view"))];
    let bytes = safetensors::serialize(views, None::<HashMap<String, String>>).expect("bytes");
    write_file(&path, &bytes).expect("room");
    let error = read_tensors(&path).expect_err("booleans are no weights").to_string();
    assert!(
        error.contains("flags: expected F16, BF16, F32, F64, I32 or I64, found BOOL"),
        "{error}"
    );
}

#[test]
fn what_does_not_fit_is_named() {
    let path = model("unet_8_16_gray");
    let mut wrong = expected(&path);
    let conv = wrong.iter().position(|spec| spec.name == "conv_in.weight").expect("a U-Net has it");
    wrong[conv] = spec("conv_in.weight", &[3, 3, 3, 8]);
    let error = read(&path, &wrong).expect_err("other channels").to_string();
    assert!(error.ends_with("conv_in.weight: expected [8,3,3,3], found [8,1,3,3]"), "{error}");
    assert!(error.contains("unet_8_16_gray"), "{error}");

    wrong.remove(conv);
    let error = read(&path, &wrong).expect_err("one too many").to_string();
    assert!(error.ends_with("conv_in.weight: expected no such tensor, found [8,1,3,3]"), "{error}");

    wrong.push(spec("conv_in.weight", &[3, 3, 1, 8]));
    wrong.push(spec("conv_mid.weight", &[2, 3]));
    let error = read(&path, &wrong).expect_err("one too few").to_string();
    assert!(error.ends_with("conv_mid.weight: expected [3,2], found no such tensor"), "{error}");

    let missing = read(Path::new("no/such/file"), &wrong).expect_err("no file").to_string();
    assert!(missing.starts_with("no/such/file: "), "{missing}");
}

#[test]
fn damaged_files_are_errors() {
    let bytes = std::fs::read(model("unet_8_16_gray")).expect("a case's weights");
    let folder = folder();
    let path = folder.path().join("damaged.safetensors");
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    for length in [0, 1, 7, 8, 9, 100, header - 1, header, header + 1, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..length]).expect("room");
        let error = read_tensors(&path).expect_err("a part of a file");
        assert!(matches!(error, WeightsError::Format { .. }), "{length}: {error}");
        assert!(error.to_string().contains("damaged.safetensors"), "{error}");
    }
    // No byte of the header may lead to a panic, whatever it becomes.
    for index in (0..header).step_by(37) {
        let mut damaged = bytes.clone();
        damaged[index] = damaged[index].wrapping_mul(31).wrapping_add(index as u8 | 1);
        std::fs::write(&path, &damaged).expect("room");
        let _ = read_tensors(&path);
    }
    let mut huge = bytes.clone();
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    std::fs::write(&path, &huge).expect("room");
    assert!(read_tensors(&path).is_err());
}

#[test]
fn a_file_that_cannot_be_written_leaves_the_old_one() {
    let folder = folder();
    let path = folder.path().join("weights.safetensors");
    let good: [(&str, &[usize], &[f32]); 1] = [("a", &[2], &[1.0, 2.0])];
    write_tensors(&path, Precision::F16, good).expect("room");
    let too_large: [(&str, &[usize], &[f32]); 1] = [("a", &[2], &[1.0, 1e6])];
    let error =
        write_tensors(&path, Precision::F16, too_large).expect_err("beyond f16").to_string();
    assert!(error.ends_with("a: 1000000 does not fit an f16"), "{error}");
    let stored = read_tensors(&path).expect("the old file");
    assert_eq!(stored[0].numbers, Numbers::F32(vec![1.0, 2.0]));

    let nowhere = folder.path().join("missing").join("weights.safetensors");
    let error = write_tensors(&nowhere, Precision::F32, good).expect_err("no such folder");
    assert!(matches!(error, WeightsError::Write { .. }), "{error}");
    // Renaming a file over a folder fails after the bytes were written.
    let occupied = folder.path().join("occupied");
    std::fs::create_dir_all(occupied.join("inside")).expect("a folder");
    assert!(write_tensors(&occupied, Precision::F32, good).is_err());
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 2, "leftovers");

    #[cfg(unix)]
    {
        // Renaming would put a file in place of a device or a socket.
        let socket = folder.path().join("socket");
        let _listening = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        let error = write_tensors(&socket, Precision::F32, good).expect_err("no file");
        assert!(matches!(error, WeightsError::Write { .. }), "{error}");
        assert!(!socket.metadata().expect("it is still there").is_file());
        assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 3, "leftovers");
    }
}

/// More than this machine's memory holds: a file of zeros that takes no room, but for the end.
#[cfg(unix)]
#[test]
fn a_tensor_is_read_without_the_others() {
    use std::os::unix::fs::FileExt;
    let folder = folder();
    let path = folder.path().join("large.safetensors");
    let large = 1_u64 << 42;
    let header = format!(
        r#"{{"large":{{"dtype":"F32","shape":[{}],"data_offsets":[0,{large}]}},
            "small":{{"dtype":"F32","shape":[2],"data_offsets":[{large},{}]}}}}"#,
        large / 4,
        large + 8
    );
    let start = 8 + header.len() as u64;
    let file = std::fs::File::create(&path).expect("room");
    file.write_all_at(&(header.len() as u64).to_le_bytes(), 0).expect("room");
    file.write_all_at(header.as_bytes(), 8).expect("room");
    let numbers = [1.5_f32, -2.0].map(f32::to_le_bytes).concat();
    file.write_all_at(&numbers, start + large).expect("room for the last bytes");
    let opened = weights::open(&path).expect("a whole file");
    let names: Vec<String> = opened.tensors().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["large", "small"]);
    assert_eq!(opened.read("small").expect("two numbers"), Numbers::F32(vec![1.5, -2.0]));
    // What was cut off after it was opened is an error, not zeros.
    file.set_len(start + large).expect("a shorter file");
    assert!(matches!(opened.read("small"), Err(WeightsError::Read { .. })));
}

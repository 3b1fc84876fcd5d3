//! Models of other projects: what opens, what is said of what does not, and the same again as a folder of diffusers.
use ddim::{
    error::{ConfigError, Error},
    nn::Weights,
    pipeline::{self, Opening, Pipeline, convert, inspect, open, open_with},
    weights::{Precision, write_tensors},
};
use serde_json::Value as Json;
use std::{
    fs,
    path::{Path, PathBuf},
};

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases_more/checkpoints")
}

/// The path of a case's model, and its settings.
fn case(name: &str) -> (PathBuf, Json) {
    let text = fs::read_to_string(cases().join(format!("{name}.json"))).expect("a case");
    let manifest: Json = serde_json::from_str(&text).expect("JSON");
    let config = &manifest["config"];
    let settings = if config["flags"].is_null() { &config["config"] } else { &config["flags"] };
    let model = manifest["model"].as_str().expect("a model");
    (cases().parent().expect("its folder").join(model), settings.clone())
}

/// The settings in a file, as their project has them.
fn flags(at: &Path, text: &str) -> Opening {
    let file = at.join("flags");
    fs::write(&file, text).expect("room");
    Opening { flags: Some(file), ..Opening::default() }
}

/// A command line, or a yml of two levels.
fn as_written(settings: &Json) -> String {
    let word = |value: &Json| match value {
        Json::String(text) => text.clone(),
        Json::Bool(true) => "True".into(),
        Json::Bool(false) => "False".into(),
        other => other.to_string(),
    };
    let mut text = String::new();
    for (key, value) in settings.as_object().expect("settings") {
        match value.as_object() {
            None => text += &format!(" --{key} {}", word(value)),
            Some(part) => {
                text += &format!("{key}:  # a part\n");
                part.iter()
                    .for_each(|(key, value)| text += &format!("    {key}: {}\n", word(value)));
            }
        }
    }
    text
}

/// A model's weights on the host.
fn loaded(model: &Pipeline) -> Weights {
    model.weights.load().expect("an open file")
}

/// The largest difference of two models' weights, as a share of the number.
fn distance(a: &Weights, b: &Weights) -> f32 {
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().zip(b.iter()).flat_map(|((name, a), (other, b))| {
        assert_eq!((name, a.shape), (other, b.shape));
        a.data.iter().zip(&b.data)
    });
    pairs.map(|(a, b)| (a - b).abs() / a.abs().max(1e-4)).fold(0.0, f32::max)
}

#[test]
fn each_dialect_becomes_a_folder_of_diffusers_and_opens_again() {
    for name in ["improved_diffusion", "guided_updown_new_order_fp16", "ddim_bare_legacy_fp16"] {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let (path, settings) = case(name);
        let how = flags(folder.path(), &as_written(&settings));
        let model = open_with(&path, &how).unwrap_or_else(|error| panic!("{name}: {error}"));
        let json = flags(folder.path(), &settings.to_string());
        let weights = loaded(&model);
        assert_eq!(loaded(&open_with(&path, &json).expect("the same as JSON")), weights);
        for (precision, most) in
            [(Precision::F32, 0.0), (Precision::F16, 0.0), (Precision::Bf16, 1.0 / 256.0)]
        {
            // f16 loses nothing of what f16 was; bf16 rounds to 8 bits.
            let out = folder.path().join("out");
            convert(&path, &out, &json, precision).expect("room");
            let again = open(&out).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(again.unet.config(), model.unet.config(), "{name}");
            assert_eq!(again.scheduler, model.scheduler, "{name}");
            let distance = distance(&weights, &loaded(&again));
            assert!(distance <= most, "{name} {precision:?}: {distance}");
        }
    }
}

#[test]
fn a_file_without_its_configuration_says_what_is_missing_and_what_the_shapes_tell() {
    for (name, parts) in [
        (
            "improved_diffusion",
            &[
                "num_heads",
                "image_size",
                "num_channels 32",
                "channel_mult \"1\"",
                "--flags",
                "learn_sigma true",
                "attention_resolutions \"image_size/1\"",
            ][..],
        ),
        (
            "guided_updown_new_order_fp16",
            &["use_new_attention_order", "resblock_updown true", "num_res_blocks 1"],
        ),
        (
            "ddim_bare_legacy_fp16",
            &["data.image_size", "ch 32", "ch_mult [1,2]", "attn_resolutions [image_size/1]"],
        ),
    ] {
        let (path, _) = case(name);
        let error = open(&path).expect_err(name);
        assert!(matches!(error, Error::Config(ConfigError::NotGiven { .. })), "{error}");
        let error = error.to_string();
        for part in parts {
            assert!(error.contains(part), "{error} lacks {part}");
        }
        let found = inspect(&path, &Opening::default()).expect("a whole file");
        assert_eq!(found.note, Some(error), "{name}");
        assert!(found.configuration.iter().any(|(part, _)| *part == "unet"), "{name}");
    }
}

/// A model of diffusers and its tensors under the names of the DDIM release, in a list with other tensors.
fn as_a_list(at: &Path) -> (Weights, PathBuf) {
    let (path, settings) = case("ddim_bare_legacy_fp16");
    let model = open_with(&path, &flags(at, &settings.to_string())).expect("a model");
    let file = ddim::weights::read_tensors(&path).expect("its tensors");
    let mut list = Vec::new();
    for tensor in file {
        let numbers = tensor.numbers.into_f32();
        let halves: Vec<f32> = numbers.iter().map(|number| number / 2.0).collect();
        list.push((format!("0/module.{}", tensor.name), tensor.shape.clone(), halves));
        list.push((format!("1/state/{}/exp_avg", tensor.name), vec![1], vec![0.0]));
        list.push((format!("4/{}", tensor.name), tensor.shape, numbers));
    }
    let path = at.join("ckpt.pth");
    write(&path, &list);
    list.retain(|(name, ..)| !name.starts_with("4/"));
    write(&at.join("without.pth"), &list);
    (loaded(&model), path)
}

fn write(path: &Path, tensors: &[(String, Vec<usize>, Vec<f32>)]) {
    let tensors = tensors.iter().map(|(name, shape, data)| (&name[..], &shape[..], &data[..]));
    write_tensors(path, Precision::F32, tensors).expect("room");
}

#[test]
fn of_a_training_list_the_averages_count_and_without_them_the_model() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let (weights, list) = as_a_list(folder.path());
    let how = flags(folder.path(), &case("ddim_bare_legacy_fp16").1.to_string());
    assert_eq!(loaded(&open_with(&list, &how).expect("a list of five")), weights);
    let model = open_with(&folder.path().join("without.pth"), &how).expect("a list of four");
    for ((_, whole), (_, half)) in weights.iter().zip(loaded(&model).iter()) {
        assert!(whole.data.iter().zip(&half.data).all(|(whole, half)| whole / 2.0 == *half));
    }
}

/// A copy of a case's folder.
fn copy(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder for the test");
    for entry in fs::read_dir(cases().join(name)).expect("a folder") {
        let entry = entry.expect("a file");
        fs::write(folder.path().join(entry.file_name()), fs::read(entry.path()).expect("a file"))
            .expect("room");
    }
    folder
}

#[test]
fn safetensors_come_before_bin_and_no_variant_before_one() {
    let folder = copy("diffusers_fp16_variant");
    let at = |name: &str| folder.path().join(format!("diffusion_pytorch_model.{name}"));
    let format = |variant: Option<&str>| {
        let how = Opening { variant: variant.map(str::to_owned), ..Opening::default() };
        let found = inspect(folder.path(), &how)?;
        Ok::<_, Error>((found.file.file_name().expect("a file").to_owned(), found.format))
    };
    let found = |name: &str, format: &str| {
        (at(name).file_name().expect("a file").to_owned(), format.into())
    };
    assert_eq!(format(None).expect("one variant"), found("fp16.safetensors", "safetensors"));
    let error = format(Some("bf16")).expect_err("no such variant").to_string();
    assert!(error.contains("the variant bf16") && error.contains("fp16.safetensors"), "{error}");
    fs::copy(cases().join("diffusers_bin/diffusion_pytorch_model.bin"), at("bin")).expect("room");
    assert_eq!(format(None).expect("a bin"), found("bin", "PyTorch zip"));
    fs::copy(at("fp16.safetensors"), at("safetensors")).expect("room");
    assert_eq!(format(None).expect("all three"), found("safetensors", "safetensors"));
    assert_eq!(
        format(Some("fp16")).expect("it is there"),
        found("fp16.safetensors", "safetensors")
    );
    // Shards of a variant.
    let shards = copy("diffusers_shards");
    let index = shards.path().join("diffusion_pytorch_model.safetensors.index.json");
    let text = fs::read_to_string(&index).expect("an index").replace("model-0", "model.fp16-0");
    fs::write(index.with_file_name("diffusion_pytorch_model.safetensors.index.fp16.json"), text)
        .expect("room");
    fs::remove_file(&index).expect("it was there");
    for number in 1..=3 {
        let name =
            |variant| format!("diffusion_pytorch_model{variant}-0000{number}-of-00003.safetensors");
        fs::rename(shards.path().join(name("")), shards.path().join(name(".fp16"))).expect("room");
    }
    let found = inspect(shards.path(), &Opening::default()).expect("shards of a variant");
    assert_eq!(found.format, "safetensors, 3 files");
    assert_eq!(found.tensors.len(), 144);
}

#[test]
fn weights_alone_need_a_noise_schedule_to_sample() {
    let error = open(&cases().join("diffusers_bf16/diffusion_pytorch_model.safetensors"));
    let error = error.expect_err("no scheduler").to_string();
    assert!(error.contains("the pipeline's folder"), "{error}");
    let model: Pipeline = open(&cases().join("diffusers_pipeline")).expect("a whole pipeline");
    assert_eq!(model.scheduler.class_name, "DDPMScheduler");
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path().join("other.safetensors");
    write(&path, &[("layer.weight".into(), vec![2], vec![1.0, 2.0])]);
    let error = pipeline::open(&path).expect_err("of no model").to_string();
    assert!(error.contains("layer.weight") && error.contains("no model"), "{error}");
}

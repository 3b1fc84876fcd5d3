//! What the page in `demos/web` relies on: the numbers of a forward pass, and a model in memory. `demos/web/test/forward.json`
//! holds an image and what the digits model predicts for it; `REWRITE=1` writes it anew.
use crate::common::support;
use ddim::{
    diffusion::{Sampler, schedule::SchedulerConfig},
    models::unet2d::{UNet, UNetConfig},
    nn::{self, Weights},
    ops::Input,
    pipeline,
    value::TensorType,
    weights::{FileWeights, NonFinite, Precision},
};
use serde_json::{Value as Json, json};
use std::{fs, path::Path};

/// The model of `demos/web`.
fn unet() -> UNet {
    let config = include_str!("../../benches/models/digits.json");
    UNet::new(UNetConfig::parse(config).expect("a configuration")).expect("a small model")
}

#[test]
fn the_page_is_held_against_these_numbers() {
    let Some(gpu) = support::gpu() else { return };
    let unet = unet();
    let specs = nn::parameters(&unet, [1, 8, 8]).expect("a small model");
    let weights = Weights::initial(&specs, 0);
    let image = Input::normal(TensorType::f32(&[64])).tensor(1).data;
    let image: Vec<f32> = image.into_iter().map(|number| number as f32).collect();
    let table = SchedulerConfig::default().ddim(1, 0.0).expect("one step");
    let mut sampler =
        Sampler::new(&gpu, &unet, &weights, [1, 8, 8], &table, None, 0).expect("a small model");
    sampler.begin_from(0, &image).expect("64 numbers");
    sampler.advance(1).expect("a device");
    let prediction = sampler.prediction().expect("a device");

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("demos/web/test/forward.json");
    if std::env::var_os("REWRITE").is_some() {
        let text = json!({ "image": image, "prediction": prediction });
        fs::write(&path, format!("{text:#}\n")).expect("room");
    }
    let text = fs::read_to_string(&path).expect("it is in the repository");
    let known: Json = serde_json::from_str(&text).expect("JSON");
    let numbers = |name: &str| -> Vec<f32> {
        let list = known[name].as_array().expect("numbers").iter();
        list.map(|number| number.as_f64().expect("a number") as f32).collect()
    };
    assert_eq!(numbers("image"), image);
    let expected = numbers("prediction");
    assert_eq!(expected.len(), prediction.len());
    let largest = expected.iter().fold(0.0_f32, |largest, number| largest.max(number.abs()));
    assert!(largest > 0.1, "all numbers are small: {largest}");
    for (number, (found, known)) in prediction.iter().zip(&expected).enumerate() {
        // f32 sums in the order of another driver's kernels.
        assert!((found - known).abs() < 1e-5 * largest.max(1.0), "{number}: {found}, not {known}");
    }
}

#[test]
fn a_model_is_written_and_read_in_memory() {
    let (unet, scheduler) = (unet(), SchedulerConfig::default());
    let specs = nn::parameters(&unet, [1, 8, 8]).expect("a small model");
    let weights = Weights::initial(&specs, 1);
    let config = unet.config();
    let files = pipeline::files(Path::new("model"), config, &scheduler, &weights, Precision::F32);
    let files = files.expect("finite numbers");
    let bytes = |wanted: &str| {
        let found = files.iter().find(|(path, _)| path.ends_with(wanted));
        found.expect("a file of every pipeline").1.clone()
    };
    let text = |wanted: &str| String::from_utf8(bytes(wanted)).expect("text");
    assert_eq!(UNetConfig::parse(&text("unet/config.json")).expect("its own"), *config);
    let read = SchedulerConfig::parse(&text("scheduler_config.json")).expect("its own");
    assert_eq!(read, scheduler);
    let open = |bytes| {
        let name = Path::new("held in memory");
        FileWeights::from_bytes(name, bytes, &specs, NonFinite::Refuse)
    };
    let mut held = bytes("diffusion_pytorch_model.safetensors");
    let read = open(held.clone()).and_then(|file| file.read()).expect("its own file");
    assert_eq!(read.len(), weights.len());
    for (name, parameter) in weights.iter() {
        assert_eq!(read.get(name).expect("written").data, parameter.data, "{name}");
    }
    held.truncate(held.len() - 4);
    let error = open(held).expect_err("a truncated file").to_string();
    assert!(error.contains("held in memory"), "{error}");
}

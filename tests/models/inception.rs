//! InceptionV3's features against those of PyTorch (scripts/inception-case), with weights that a formula gives.
use crate::common::support;
use ddim::{
    Error,
    classifier::{InceptionFeatures, Resizing},
    error::{TrainingError, WeightsError},
    models::inception::Inception,
    weights::{self, Numbers, TensorFile},
};
use std::{ops::Range, path::Path};

/// Numbers from 0 to 1 that follow from a name: FNV-1a of the name, then SplitMix64 of each place.
fn uniform(name: &str, count: usize) -> impl Iterator<Item = f64> + use<> {
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    (1..=count as u64).map(move |place| {
        let mut x = place.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(seed);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) >> 40) as f64 / f64::from(1 << 24)
    })
}

/// A file of torch-fidelity's names whose numbers follow from these.
struct Formula(Vec<(String, Vec<usize>)>);

impl Formula {
    fn new() -> Self {
        // What such a file holds beside: it is not read.
        let mut tensors = vec![("fc.weight".to_owned(), vec![1008, 2048])];
        for spec in Inception.parameters().expect("a network") {
            let Some(layer) = spec.name.strip_suffix(".weight") else { continue };
            let [height, width, inputs, outputs] = spec.of.shape[..] else { panic!("a kernel") };
            let kernel = vec![outputs, inputs, height, width];
            tensors.push((format!("{layer}.conv.weight"), kernel));
            for name in ["weight", "bias", "running_mean", "running_var"] {
                tensors.push((format!("{layer}.bn.{name}"), vec![outputs]));
            }
        }
        Self(tensors)
    }
}

impl TensorFile for Formula {
    fn format(&self) -> String {
        "a formula".into()
    }

    fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        self.0.clone()
    }

    fn read_rows(&self, name: &str, rows: Option<Range<usize>>) -> Result<Numbers, WeightsError> {
        assert!(rows.is_none() && name != "fc.weight", "{name} is read whole, or not at all");
        let (_, shape) = self.0.iter().find(|(of, _)| of == name).expect("a tensor");
        let (scale, shift) = match name.rsplit_once('.') {
            Some((layer, "weight")) if layer.ends_with(".conv") => {
                let inputs: usize = shape[1..].iter().product();
                let bound = (6.0 / inputs as f64).sqrt();
                (2.0 * bound, -bound)
            }
            Some((_, "weight" | "running_var")) => (1.0, 0.5),
            _ => (0.2, -0.1),
        };
        let numbers = uniform(name, shape.iter().product());
        Ok(Numbers::F32(numbers.map(|x| (x * scale + shift) as f32).collect()))
    }
}

#[test]
fn features_are_those_of_pytorch() {
    let Some(gpu) = support::gpu() else { return };
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/inception.safetensors");
    let golden = weights::open(&golden).expect("the features of PyTorch");
    let shape = [20, 16, 3];
    let elements: usize = shape.iter().product();
    let bytes = uniform("images", 3 * elements).map(|x| (x * 256.0).floor() as f32);
    let images: Vec<f32> = bytes.map(|byte| byte / 127.5 - 1.0).collect();
    let network = InceptionFeatures::of_file(&gpu, Path::new("formula"), &Formula::new(), 2);
    let mut network = network.expect("all tensors");
    // A batch and a part of one, and a part alone.
    for (name, resizing, count, parts) in [
        ("torch_fidelity", Resizing::TorchFidelity, 3, &[2, 3][..]),
        ("pytorch_fid", Resizing::PytorchFid, 1, &[1][..]),
    ] {
        let mut heard = Vec::new();
        let some = &images[..count * elements];
        let found = network.features(some, shape, resizing, |done| heard.push(done));
        let found = found.expect("whole images");
        assert_eq!((found.len(), &heard[..]), (count * Inception::FEATURES, parts));
        let expected = golden.read(name).expect("features").into_f32();
        let largest = expected.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        let apart = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{name}: {apart:e} of {largest}");
        assert!(apart < 1e-3 * largest && largest > 1.0, "{name}: {apart} of {largest}");
    }
    for (images, shape) in
        [(&images[1..], shape), (&images[..], [20, 24, 2]), (&images[..], [0; 3])]
    {
        let refused = network.features(images, shape, Resizing::default(), |_| {});
        let error = refused.expect_err("no whole images of 1 or 3 channels");
        assert!(matches!(error, Error::Training(TrainingError::Images { .. })), "{error}");
    }
}

//! InceptionV3's features against those of PyTorch (scripts/inception-case), with weights that a formula gives.
use common::support;
use ddim::{
    classifier::{InceptionFeatures, Resizing},
    models::inception::Inception,
    weights::{self, Precision, write_tensors},
};
use std::path::Path;

mod common;

/// Numbers from 0 to 1 that follow from a name: FNV-1a of the name, then SplitMix64 of each place.
fn uniform(name: &str, count: usize) -> impl Iterator<Item = f64> {
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

type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

/// The tensors of a file of torch-fidelity.
fn tensors() -> Tensors {
    let mut tensors = Tensors::new();
    let mut add = |name: String, shape: &[usize], scale: f64, shift: f64| {
        let numbers = uniform(&name, shape.iter().product()).map(|x| (x * scale + shift) as f32);
        let numbers = numbers.collect();
        tensors.push((name, shape.to_vec(), numbers));
    };
    for spec in Inception.parameters().expect("a network") {
        let Some(layer) = spec.name.strip_suffix(".weight") else { continue };
        let [height, width, inputs, outputs] = spec.of.shape[..] else { panic!("a kernel") };
        let bound = (6.0 / (inputs * height * width) as f64).sqrt();
        let shape = [outputs, inputs, height, width];
        add(format!("{layer}.conv.weight"), &shape, 2.0 * bound, -bound);
        for (name, scale, shift) in [
            ("weight", 1.0, 0.5),
            ("bias", 0.2, -0.1),
            ("running_mean", 0.2, -0.1),
            ("running_var", 1.0, 0.5),
        ] {
            add(format!("{layer}.bn.{name}"), &[outputs], scale, shift);
        }
    }
    // What such a file holds beside: it is not read.
    tensors.push(("fc.weight".into(), vec![1008, 2048], vec![0.0; 1008 * 2048]));
    tensors
}

fn write(path: &Path, tensors: &Tensors) {
    let named = tensors.iter().map(|(name, shape, data)| (&name[..], &shape[..], &data[..]));
    write_tensors(path, Precision::F32, named).expect("room");
}

#[test]
fn features_are_those_of_pytorch() {
    let Some(gpu) = support::gpu() else { return };
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path().join("inception.safetensors");
    let mut all = tensors();
    write(&path, &all);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/inception.safetensors");
    let golden = weights::open(&golden).expect("the features of PyTorch");
    let bytes = uniform("images", 3 * 20 * 16 * 3).map(|x| (x * 256.0).floor() as f32);
    let images: Vec<f32> = bytes.map(|byte| byte / 127.5 - 1.0).collect();
    for (name, resizing) in
        [("torch_fidelity", Resizing::TorchFidelity), ("pytorch_fid", Resizing::PytorchFid)]
    {
        let mut network = InceptionFeatures::open(&gpu, &path, resizing).expect("weights");
        let mut heard = Vec::new();
        let found = network.features(&images, [20, 16, 3], |done| heard.push(done));
        let found = found.expect("three images");
        assert_eq!((found.len(), heard), (3 * Inception::FEATURES, vec![3]));
        let expected = golden.read(name).expect("features").into_f32();
        let largest = expected.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        let apart = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-3 * largest, "{name}: {apart} of {largest}");
        assert!(largest > 0.1, "{name}: {largest}");
        let error = network.features(&images[1..], [20, 16, 3], |_| {}).expect_err("a part");
        assert!(error.to_string().contains("expected whole images"), "{error}");
    }
    // A file that lacks a tensor, or holds it in another shape.
    let last = all.iter().position(|(name, ..)| name == "Mixed_7c.branch_pool.bn.running_var");
    let (name, shape, numbers) = all.remove(last.expect("it is there"));
    for (changed, words) in [
        (None, "running_var: expected [192], found no such tensor"),
        (Some((name, vec![2, shape[0] / 2], numbers)), "expected [192], found [2, 96]"),
    ] {
        write(&path, &all.iter().cloned().chain(changed).collect());
        let error = InceptionFeatures::open(&gpu, &path, Resizing::TorchFidelity).err();
        let error = error.expect(words).to_string();
        assert!(error.contains(words), "{error}");
    }
}

//! Storage types: every f16 and bf16 number is read as what it is, and every f32 is rounded to the nearest of them, to the
//! last bit, whether the device has a type for them or integers hold two.
use crate::common::support;
use ddim::{
    gpu::{Executor, Gpu},
    graph::Graph,
    models::unet2d::{UNet, UNetConfig},
    nn::{Condition, ElementTypes, FrozenModel, Model, ModelInputs, Weights},
    ops::{Cast, Input},
    passes,
    plan::{Arithmetic, DeviceProfile, Target},
    value::{ElementType, TensorType},
};
use half::{bf16, f16};
use std::{error::Error, path::Path};

const HALVES: [ElementType; 2] = [ElementType::F16, ElementType::Bf16];

/// The number of these 16 bits.
fn widen(half: ElementType, bits: u16) -> f32 {
    match half {
        ElementType::F16 => f16::from_bits(bits).to_f32(),
        _ => bf16::from_bits(bits).to_f32(),
    }
}

/// The 16 bits of the nearest number.
fn narrow(half: ElementType, x: f32) -> u16 {
    match half {
        ElementType::F16 => f16::from_f32(x).to_bits(),
        _ => bf16::from_f32(x).to_bits(),
    }
}

/// The device as it is, and as if it had no type of f16.
fn targets(gpu: &Gpu) -> Vec<Target> {
    let own = gpu.target().clone();
    let packed = Target { f16: false, ..own.clone() };
    if own.f16 { vec![own, packed] } else { vec![packed] }
}

/// The bytes of `numbers`, stored as `from`, in another storage.
fn cast(
    gpu: &Gpu,
    target: &Target,
    from: ElementType,
    to: ElementType,
    numbers: &[f32],
) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(&[numbers.len()]).with_element(from));
    let y = graph.push(Cast { to }, &[x])?;
    graph.outputs.push(y);
    let mut executor = Executor::new(gpu, passes::compile(&graph, target)?)?;
    executor.poison()?;
    executor.write(x, numbers)?;
    executor.run(1)?;
    Ok(executor.read_raw(y)?)
}

#[test]
fn every_half_is_read_as_what_it_is() {
    let Some(gpu) = support::gpu() else { return };
    for half in HALVES {
        let numbers: Vec<f32> = (0..=u16::MAX).map(|bits| widen(half, bits)).collect();
        for target in targets(&gpu) {
            let bytes =
                cast(&gpu, &target, half, ElementType::F32, &numbers).expect("a run of the device");
            let found: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes[..4 * numbers.len()]);
            for (found, number) in found.iter().zip(&numbers) {
                let same = found.to_bits() == number.to_bits() || found.is_nan() && number.is_nan();
                assert!(same, "{half}, packed {}: {number:e} is read as {found:e}", !target.f16);
            }
        }
    }
}

#[test]
fn numbers_are_rounded_to_the_nearest_half() {
    let Some(gpu) = support::gpu() else { return };
    for half in HALVES {
        // Each number, what lies half-way to the next, and the f32 on both sides of that.
        let mut numbers = vec![f32::MAX, f32::MIN, f32::MIN_POSITIVE, 65519.9, 65520.0, 1e-30];
        for bits in 0..u16::MAX {
            let (low, high) = (widen(half, bits), widen(half, bits + 1));
            let between = ((f64::from(low) + f64::from(high)) / 2.0) as f32;
            let near = [between.next_down(), between, between.next_up()];
            numbers.push(low);
            numbers.extend(near.into_iter().filter(|near| near.is_finite()));
        }
        // Software drivers take subnormal numbers of f32 for zero, as a device may.
        numbers.retain(|x| x.is_nan() || x.is_infinite() || x.is_normal() || *x == 0.0);
        for target in targets(&gpu) {
            let bytes =
                cast(&gpu, &target, ElementType::F32, half, &numbers).expect("a run of the device");
            let found: Vec<u16> = bytemuck::pod_collect_to_vec(&bytes[..2 * numbers.len()]);
            for (&found, &number) in found.iter().zip(&numbers) {
                let nearest = narrow(half, number);
                let same = found == nearest || widen(half, found).is_nan() && number.is_nan();
                let packed = !target.f16;
                assert!(
                    same,
                    "{half}, packed {packed}: {number:e} is {found:#x}, not {nearest:#x}"
                );
            }
        }
    }
}

/// The prediction of the U-Net of Ho et al. 2020 for CIFAR-10, untrained, and the bytes of its plan.
fn predict(
    gpu: &Gpu,
    target: &Target,
    types: ElementTypes,
) -> Result<(Vec<f32>, u64), Box<dyn Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/models/cifar10.json");
    let unet = UNet::new(UNetConfig::read(&path)?)?;
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(&[1, 32, 32, unet.channels()]));
    let timesteps = graph.input(TensorType::f32(&[1]));
    let inputs = ModelInputs { x, timesteps, condition: Condition::default() };
    let most = target.max_binding;
    let model = FrozenModel::stored(&mut graph, &unet, &inputs, most, types)?;
    graph.outputs.push(model.prediction);
    let plan = passes::compile(&graph, target)?;
    assert_eq!(plan.arithmetic(), target.arithmetic);
    let bytes = plan.peak_bytes();
    let mut executor = Executor::new(gpu, plan)?;
    executor.poison()?;
    let weights = Weights::initial(&unet.parameters()?, 0);
    for (value, contents) in model.contents(&weights)? {
        executor.write(value, &contents)?;
    }
    let noise = Input::normal(graph.type_of(x)).tensor(1);
    executor.write(x, &noise.data.iter().map(|&x| x as f32).collect::<Vec<_>>())?;
    executor.write(timesteps, &[500.0])?;
    executor.run(1)?;
    Ok((executor.read(model.prediction)?, bytes))
}

/// Some 140 roundings lie one after the other between noise and prediction: two or three in each residual block, attention
/// and projection. They add like a random walk, to sqrt(140) = 12 of half the spacing of numbers; the largest of 3,072
/// elements is four deviations off. With products in f16 sixteen roundings more lie in each sum of some 70 convolutions and
/// projections: sqrt(140 + 16 * 70) = 36. Kernels that compute so are those of GPUs.
#[test]
fn a_network_of_halves_predicts_what_one_of_f32_does() {
    let Some(gpu) = support::gpu() else { return };
    let (exact, whole) =
        predict(&gpu, gpu.target(), ElementTypes::default()).expect("a run of the device");
    let scale = (exact.iter().map(|y| f64::from(*y).powi(2)).sum::<f64>() / 3072.0).sqrt();
    let (f32, f16, bf16) = (ElementType::F32, ElementType::F16, ElementType::Bf16);
    let known = targets(&gpu);
    let (own, packed) = (&known[0], &known[known.len() - 1]);
    let (arithmetic, profile) = (Arithmetic::Mixed, DeviceProfile::default());
    let mixed = Target { arithmetic, profile, subgroup: None, ..own.clone() };
    let mut runs = vec![(own, f16, f16), (packed, f16, f16), (own, bf16, bf16), (own, bf16, f32)];
    runs.extend(own.f16.then_some((&mixed, f16, f16)));
    for (target, weights, activations) in runs {
        let (found, bytes) = predict(&gpu, target, ElementTypes { weights, activations })
            .expect("a run of the device");
        let off = exact.iter().zip(&found).map(|(a, b)| f64::from((a - b).abs()));
        let worst = off.fold(0.0, f64::max) / scale;
        let (packed, arithmetic) = (!target.f16, target.arithmetic);
        println!(
            "{weights} weights, {activations} activations, f16 packed {packed}, {arithmetic} arithmetic: off by \
             {worst:.1e} of the deviation; {bytes} of {whole} bytes"
        );
        let rounding = 2_f64.powi(if weights == f16 { -12 } else { -9 });
        let roundings = if arithmetic == Arithmetic::Mixed { 36.0 } else { 12.0 };
        let bound = 4.0 * roundings * rounding;
        assert!(worst <= bound, "{worst:e} > {bound:e}");
    }
}

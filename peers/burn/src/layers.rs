//! burn's modules with the parameters that all engines have.
use burn::{
    module::Param,
    nn::{GroupNorm, Linear, PaddingConfig2d, conv::Conv2d},
    tensor::{Device, TensorData},
};
use peer_common::parameter;

fn param<const D: usize>(
    numbers: Vec<f32>,
    shape: [usize; D],
    device: &Device,
) -> Param<burn::tensor::Tensor<D>> {
    Param::from_data(TensorData::new(numbers, shape), device)
}

fn named<const D: usize>(
    name: String,
    shape: [usize; D],
    device: &Device,
) -> Param<burn::tensor::Tensor<D>> {
    param(parameter(&name, &shape), shape, device)
}

/// Padding is top, left, bottom, right.
pub fn conv(
    name: &str,
    [inputs, outputs, size, stride]: [usize; 4],
    [top, left, bottom, right]: [usize; 4],
    device: &Device,
) -> Conv2d {
    Conv2d {
        weight: named(format!("{name}.weight"), [outputs, inputs, size, size], device),
        bias: Some(named(format!("{name}.bias"), [outputs], device)),
        stride: [stride; 2],
        kernel_size: [size; 2],
        dilation: [1; 2],
        groups: 1,
        padding: PaddingConfig2d::Explicit(top, left, bottom, right),
    }
}

pub fn linear(name: &str, inputs: usize, outputs: usize, device: &Device) -> Linear {
    let weight = parameter(&format!("{name}.weight"), &[outputs, inputs]);
    // burn stores `[inputs, outputs]`.
    let turned = (0..inputs).flat_map(|i| (0..outputs).map(move |o| (o, i)));
    let weight = turned.map(|(o, i)| weight[o * inputs + i]).collect();
    Linear {
        weight: param(weight, [inputs, outputs], device),
        bias: Some(named(format!("{name}.bias"), [outputs], device)),
    }
}

pub fn norm(
    name: &str,
    channels: usize,
    groups: usize,
    epsilon: f64,
    device: &Device,
) -> GroupNorm {
    GroupNorm {
        gamma: Some(named(format!("{name}.weight"), [channels], device)),
        beta: Some(named(format!("{name}.bias"), [channels], device)),
        num_groups: groups,
        num_channels: channels,
        epsilon,
        affine: true,
    }
}

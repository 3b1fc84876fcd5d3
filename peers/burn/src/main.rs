//! burn's wgpu backend, with its default features: autotune and fusion are on.
mod kernels;
mod layers;
mod models;
mod training;

use burn::tensor::{Device, Tensor, TensorData};
use peer_common::{Result, numbers, serve};

/// A tensor of these numbers, in this shape.
fn tensor<const D: usize>(numbers: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(numbers, shape), device)
}

/// The numbers of a tensor.
fn contents<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    Ok(tensor.try_into_data()?.try_to_vec()?)
}

fn main() {
    serve(|kind, rest| {
        let device = Device::wgpu(Default::default());
        let name = device.identity().map_or("unnamed".to_owned(), |identity| identity.name);
        let work = match kind {
            "conv" => kernels::convolution(device, numbers(rest)?),
            "conv_input_gradient" => kernels::input_gradient(device, numbers(rest)?),
            "conv_weight_gradient" => kernels::weight_gradient(device, numbers(rest)?),
            "product" => kernels::product(device, numbers(rest)?),
            "norm" => kernels::norm(device, numbers(rest)?),
            "attention" => kernels::attention(device, numbers(rest)?),
            "unet" => models::forward(device, numbers(rest)?),
            "unet_training" => training::unet(device, numbers(rest)?),
            "blocks_training" => training::blocks(device, numbers(rest)?),
            _ => return Ok(None),
        };
        Ok(Some((name, work)))
    });
}

//! A forward pass on file, for `scripts/check-diffusers` to repeat.
use crate::{failure::Failure, latents::channels_first};
use ddim::{
    data::Dataset,
    gpu::{Executor, Gpu},
    graph::Graph,
    nn::{Condition, FrozenModel, Model, ModelInputs},
    passes,
    pipeline::Pipeline,
    sampling::class_labels,
    value::TensorType,
    weights::{Precision, write_tensors},
};
use std::path::Path;

/// Where on the schedule the two images are said to be.
const TIMESTEPS: [f32; 2] = [10.0, 500.0];

/// Computes the model's output for the first two images and writes `x`, `t`, `y` and perhaps
/// `class_labels` to `folder/check.safetensors`, in PyTorch's order of axes.
pub fn write(gpu: &Gpu, model: &Pipeline, data: &Dataset, folder: &Path) -> Result<(), Failure> {
    let batch = TIMESTEPS.len();
    let (height, width, channels) = (data.height(), data.width(), data.channels());
    let shape = [batch, height, width, channels];
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(&shape));
    let timesteps = graph.input(TensorType::f32(&[batch]));
    let labels = model.unet.label_type(batch).map(|of| graph.input(of));
    let condition = Condition { labels, ..Condition::default() };
    let inputs = ModelInputs { x, timesteps, condition };
    let network = FrozenModel::new(&mut graph, &model.unet, &inputs, gpu.target().max_binding)?;
    let y = network.prediction;
    graph.outputs.push(y);
    let of_y = graph.type_of(y).shape;
    let mut executor = Executor::new(gpu, passes::compile(&graph, gpu.target())?)?;
    for (arena, pieces) in network.pieces(&*model.weights)? {
        executor.write_pieces(arena, pieces)?;
    }
    let images: Vec<f32> = (0..batch).flat_map(|index| data.image(index % data.len())).collect();
    executor.write(x, &images)?;
    executor.write(timesteps, &TIMESTEPS)?;
    let classes = class_labels(model, 0, batch, None, None)?;
    if let (Some(value), Some(classes)) = (labels, &classes) {
        executor.write_u32(value, classes)?;
    }
    executor.run(1)?;
    let output = executor.read(y)?;

    let planes = |of: [usize; 4]| vec![of[0], of[3], of[1], of[2]];
    let output_shape = [of_y[0], of_y[1], of_y[2], of_y[3]];
    let mut tensors = vec![
        ("x", planes(shape), channels_first(&images, shape)),
        ("t", vec![batch], TIMESTEPS.to_vec()),
        ("y", planes(output_shape), channels_first(&output, output_shape)),
    ];
    if let Some(classes) = classes {
        let numbers = classes.iter().map(|&class| class as f32).collect();
        tensors.push(("class_labels", vec![batch], numbers));
    }
    let tensors = tensors.iter().map(|(name, shape, data)| (*name, &shape[..], &data[..]));
    Ok(write_tensors(&folder.join("check.safetensors"), Precision::F32, tensors)?)
}

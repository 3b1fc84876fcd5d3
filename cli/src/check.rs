//! A forward pass on file, for `scripts/check-diffusers` to repeat.
use crate::{failure::Failure, latents::channels_first};
use ddim::{
    data::Images,
    gpu::{Executor, Gpu},
    graph::Graph,
    nn::{Condition, FrozenModel, Model, ModelInputs, ParameterSource},
    passes,
    pipeline::Pipeline,
    sampling::class_labels,
    value::TensorType,
    weights::{Precision, write_tensors},
};
use std::path::Path;

/// Where on the schedule the two images are said to be.
const TIMESTEPS: [f32; 2] = [10.0, 500.0];

/// What the network sees beside the timesteps: two images, and what it is told of each.
pub struct Seen {
    /// Height, width, channels.
    pub shape: [usize; 3],
    pub images: Vec<f32>,
    pub labels: Option<Vec<u32>>,
    pub context: Option<Vec<f32>>,
}

/// Computes the model's output for the first two images and writes `x`, `t`, `y` and perhaps
/// `class_labels` to `folder/check.safetensors`, in PyTorch's order of axes.
pub fn write(gpu: &Gpu, model: &Pipeline, data: &Images, folder: &Path) -> Result<(), Failure> {
    let batch = TIMESTEPS.len();
    let images = (0..batch).map(|index| data.image(index % data.len()));
    let images = images.collect::<Result<Vec<_>, _>>()?.concat();
    let shape = data.shape();
    let labels = class_labels(model, 0, batch, None, None)?;
    let seen = Seen { shape, images, labels, context: None };
    write_seen(gpu, &model.unet, &*model.weights, &seen, folder)
}

/// As [`write()`], of any model; its context is `encoder_hidden_states`.
pub fn write_seen(
    gpu: &Gpu,
    model: &dyn Model,
    weights: &dyn ParameterSource,
    seen: &Seen,
    folder: &Path,
) -> Result<(), Failure> {
    let batch = TIMESTEPS.len();
    let [height, width, channels] = seen.shape;
    let shape = [batch, height, width, channels];
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(&shape));
    let timesteps = graph.input(TensorType::f32(&[batch]));
    let condition = Condition::inputs(&mut graph, model, batch);
    let inputs = ModelInputs { x, timesteps, condition };
    let network = FrozenModel::new(&mut graph, model, &inputs, gpu.target().max_binding)?;
    let y = network.prediction;
    graph.outputs.push(y);
    let of_y = graph.type_of(y).shape;
    let mut executor = Executor::new(gpu, passes::compile(&graph, gpu.target())?)?;
    for (arena, pieces) in network.pieces(weights)? {
        executor.write_pieces(arena, pieces)?;
    }
    executor.write(x, &seen.images)?;
    executor.write(timesteps, &TIMESTEPS)?;
    if let (Some(value), Some(classes)) = (condition.labels, &seen.labels) {
        executor.write_u32(value, classes)?;
    }
    if let (Some(value), Some(context)) = (condition.context, &seen.context) {
        executor.write(value, context)?;
    }
    executor.run(1)?;
    let output = executor.read(y)?;

    let planes = |of: [usize; 4]| vec![of[0], of[3], of[1], of[2]];
    let output_shape = [of_y[0], of_y[1], of_y[2], of_y[3]];
    let mut tensors = vec![
        ("x", planes(shape), channels_first(&seen.images, shape)),
        ("t", vec![batch], TIMESTEPS.to_vec()),
        ("y", planes(output_shape), channels_first(&output, output_shape)),
    ];
    if let Some(classes) = &seen.labels {
        let numbers = classes.iter().map(|&class| class as f32).collect();
        tensors.push(("class_labels", vec![batch], numbers));
    }
    if let (Some(of), Some(context)) = (model.context_type(batch), &seen.context) {
        tensors.push(("encoder_hidden_states", of.shape.to_vec(), context.clone()));
    }
    let tensors = tensors.iter().map(|(name, shape, data)| (*name, &shape[..], &data[..]));
    Ok(write_tensors(&folder.join("check.safetensors"), Precision::F32, tensors)?)
}

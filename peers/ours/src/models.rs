//! Whole models: forward.
use crate::{Planned, layout};
use ddim::{
    gpu::{Executor, Gpu},
    graph::Graph,
    models::unet2d::{UNet, UNetConfig},
    nn::{Condition, FrozenModel, ModelInputs, ParameterSpec, Weights},
    passes,
    value::TensorType,
};
use peer_common::{Result, uniform};
use std::path::Path;

/// The CIFAR-10 DDPM U-Net.
pub fn cifar10() -> Result<UNet> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benches/models/cifar10.json");
    Ok(UNet::new(UNetConfig::read(&file)?)?)
}

/// The contents of a parameter, by its name.
fn contents(name: &str, shape: &[usize]) -> Vec<f32> {
    layout::parameter(&peer_common::parameter(name, &layout::torch_shape(shape)), shape)
}

/// The weights of a model.
pub fn weights(parameters: &[ParameterSpec]) -> Weights {
    let mut weights = Weights::default();
    for ParameterSpec { name, of, .. } in parameters {
        weights.insert(name, of.shape, contents(name, &of.shape));
    }
    weights
}

/// One forward pass at timestep 500.
pub fn forward(gpu: &Gpu, [batch]: [usize; 1]) -> Result<Planned> {
    let (side, channels) = (32, 3);
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(&[batch, side, side, channels]));
    let timesteps = graph.input(TensorType::f32(&[batch]));
    let inputs = ModelInputs { x, timesteps, condition: Condition::default() };
    let model = FrozenModel::new(&mut graph, &cifar10()?, &inputs, gpu.target().max_binding)?;
    let y = model.prediction;
    graph.outputs = vec![y];
    let plan = passes::compile(&graph, gpu.target())?;
    let notes = vec![format!("{:.2} GFLOP", plan.cost().flops as f64 / 1e9)];
    let mut executor = Executor::new(gpu, plan)?;
    // One by one, as burn makes its own: the host never holds them all.
    for ParameterSpec { name, of, .. } in &model.parameters.arenas.specs {
        let view = model.views.get(name).ok_or_else(|| format!("no view of {name}"))?;
        executor.write(view, &contents(name, &of.shape))?;
    }
    let pixels = side * side;
    let image = uniform(1, batch * channels * pixels, 1.7);
    executor.write(x, &layout::swap(&image, channels, pixels))?;
    executor.write(timesteps, &vec![500.0; batch])?;
    let result =
        move |executor: &mut Executor| Ok(layout::swap(&executor.read(y)?, pixels, channels));
    Ok(Planned { executor, result: Box::new(result), notes })
}

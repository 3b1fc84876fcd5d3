//! The networks of a latent pipeline, its folder named by `PEERS_PIPELINE`, at what a guided picture of `side` needs: weights
//! are stored as `ddim generate` stores them with `--precision f16`.
use crate::{Planned, layout};
use ddim::{
    gpu::{Executor, Gpu},
    graph::Graph,
    models::clip_text::{ClipText, TextInputs},
    nn::{Condition, ElementTypes, FrozenModel, Model, ModelInputs, ParameterSource},
    passes,
    pipeline::{LatentPipeline, Opening, TextEncoders},
    value::{ElementType, TensorType, Value},
};
use peer_common::{Result, uniform};
use std::{env, path::PathBuf};

/// The prompt and the negative one.
const TEXTS: usize = 2;

fn folder() -> Result<PathBuf> {
    Ok(env::var_os("PEERS_PIPELINE").ok_or("PEERS_PIPELINE names no folder")?.into())
}

/// The same ids as in Python, far from an end of text.
pub fn ids(count: usize) -> Vec<u32> {
    (0..count as u32).map(|place| place * 7919 % 1000).collect()
}

/// The graph on the device with its weights, and how to read its result `[.., pixels, channels]` in PyTorch's order.
fn planned(
    gpu: &Gpu,
    graph: &mut Graph,
    model: &FrozenModel,
    weights: &dyn ParameterSource,
) -> Result<Planned> {
    let y = model.prediction;
    graph.outputs = vec![y];
    let plan = passes::compile(graph, gpu.target())?;
    let (work, peak) = (plan.cost().flops as f64 / 1e9, plan.peak_bytes() >> 20);
    let notes =
        vec![format!("{work:.0} GFLOP, {} launches, {peak} MiB", plan.dispatches().count())];
    let mut executor = Executor::new(gpu, plan)?;
    for (value, pieces) in model.pieces(weights)? {
        executor.write_pieces(value, pieces)?;
    }
    let shape = graph.type_of(y).shape;
    let result = move |executor: &mut Executor| {
        let dense = executor.read(y)?;
        Ok(match shape[..] {
            [_, height, width, channels] => layout::swap(&dense, height * width, channels),
            _ => dense,
        })
    };
    Ok(Planned { executor, result: Box::new(result), notes })
}

/// An image `[batch, side, side, channels]` of PyTorch's numbers.
fn image(seed: u64, [batch, side, channels]: [usize; 3]) -> Vec<f32> {
    let pixels = side * side;
    layout::swap(&uniform(seed, batch * pixels * channels, 1.7), channels, pixels)
}

fn image_input(graph: &mut Graph, [batch, side, channels]: [usize; 3]) -> Value {
    graph.input(TensorType::f32(&[batch, side, side, channels]))
}

/// Both prompts encoded.
pub fn text(gpu: &Gpu, [_]: [usize; 1]) -> Result<Planned> {
    let encoders = TextEncoders::read(&folder()?, gpu.target().max_binding)?.encoders;
    let encoder = encoders.first().ok_or("the pipeline has no text encoder")?;
    let (network, mut graph) = (&encoder.network, Graph::new());
    let tokens = network.config().max_position_embeddings;
    let inputs = TextInputs::inputs(&mut graph, TEXTS, tokens);
    let limit = gpu.target().max_binding;
    let model = FrozenModel::of(&mut graph, network.parameters()?, limit, |layers| {
        Ok(network.build(layers, &inputs)?.last_hidden_state)
    })?;
    let mut work = planned(gpu, &mut graph, &model, &*encoder.weights)?;
    work.executor.write_u32(inputs.positions, &ClipText::positions(TEXTS, tokens))?;
    work.executor.write_u32(inputs.ids, &ids(TEXTS * tokens))?;
    Ok(work)
}

/// One step of the U-Net for both prompts. Keys and values of the text are computed in the first.
pub fn unet(gpu: &Gpu, [side]: [usize; 1]) -> Result<Planned> {
    let pipeline = LatentPipeline::open(&folder()?, &Opening::default())?;
    let (network, mut graph) = (&pipeline.unet, Graph::new());
    let size = [TEXTS, side / pipeline.vae.config().factor(), network.config().in_channels];
    let x = image_input(&mut graph, size);
    let timesteps = graph.input(TensorType::f32(&[TEXTS]));
    let condition = Condition::constants(&mut graph, network as &dyn Model, TEXTS);
    let inputs = ModelInputs { x, timesteps, condition };
    let types = ElementTypes { weights: ElementType::F16, activations: ElementType::F32 };
    let limit = gpu.target().max_binding;
    let model = FrozenModel::stored(&mut graph, network, &inputs, limit, types)?;
    let mut work = planned(gpu, &mut graph, &model, &*pipeline.unet_weights)?;
    work.executor.write(x, &image(1, size))?;
    work.executor.write(timesteps, &[500.0; TEXTS])?;
    let context = condition.context.ok_or("the U-Net reads no text")?;
    let count = graph.type_of(context).shape.elements();
    work.executor.write(context, &uniform(2, count, 1.7))?;
    Ok(work)
}

/// One picture decoded.
pub fn decoder(gpu: &Gpu, [side]: [usize; 1]) -> Result<Planned> {
    let pipeline = LatentPipeline::open(&folder()?, &Opening::default())?;
    let (network, mut graph) = (&pipeline.vae, Graph::new());
    let size = [1, side / network.config().factor(), network.config().latent_channels];
    let latents = image_input(&mut graph, size);
    let (parameters, limit) = (network.decoder_parameters()?, gpu.target().max_binding);
    let model =
        FrozenModel::of(&mut graph, parameters, limit, |layers| network.decode(layers, latents))?;
    let mut work = planned(gpu, &mut graph, &model, &*pipeline.vae_weights)?;
    work.executor.write(latents, &image(3, size))?;
    Ok(work)
}

//! Cases of whole networks: their outputs, and the gradients of inputs and parameters.
use super::{
    case_files::{Case, Results},
    case_graph::{Axes, CaseGraph},
};
use crate::{
    error::Error,
    gpu::Gpu,
    models::{
        unet2d::{UNet, UNetConfig},
        unet2d_condition::{TextUNet, TextUNetConfig},
    },
    nn::{
        Arenas, Condition, Layers, Model, ModelInputs, ParameterSource, ParameterSpec, Views,
        Weights,
    },
    ops::{Constant, MeanSquaredError, Reduction},
    passes,
    value::{ElementType, TensorType, Value},
    weights::{self, Layout},
};
use std::path::Path;

/// The weights in a model's own folder, f16 widened.
pub(super) fn read_weights(folder: &Path, expected: &[ParameterSpec]) -> Result<Weights, Error> {
    let file = folder.join("diffusion_pytorch_model.safetensors");
    Ok(weights::read(&file, expected)?)
}

/// The case's model and its weights.
pub(super) fn model(case: &Case) -> Result<(UNet, Weights), Error> {
    let folder = case.model()?;
    let unet = UNet::new(UNetConfig::read(&folder.join("config.json"))?)?;
    let weights = read_weights(&folder, &unet.parameters()?)?;
    Ok((unet, weights))
}

/// The case's model of a text and its weights; `context` is the tensor of its texts, whose last axes are tokens and
/// channels.
pub(super) fn text_model(case: &Case, context: &str) -> Result<(TextUNet, Weights), Error> {
    let folder = case.model()?;
    let unet = TextUNet::new(TextUNetConfig::read(&folder.join("config.json"))?)?;
    let weights = read_weights(&folder, &unet.parameters()?)?;
    let &[.., tokens, _] = &case.tensor(context)?.shape[..] else {
        return Err(case.refuse(format!("{context} must have tokens and channels")));
    };
    Ok((unet.with_tokens(tokens), weights))
}

/// Kind `unet`.
pub(super) fn unet(gpu: &Gpu, case: &Case) -> Result<Results, Error> {
    let (unet, weights) = model(case)?;
    loss(gpu, case, &unet, &weights, None)
}

/// Kind `unet_condition`.
pub(super) fn unet_condition(gpu: &Gpu, case: &Case) -> Result<Results, Error> {
    let (unet, weights) = text_model(case, "encoder_hidden_states")?;
    loss(gpu, case, &unet, &weights, vectors(case, &unet)?)
}

/// SDXL's vectors of a case, one image's after another, if the model takes any.
pub(super) fn vectors(case: &Case, unet: &TextUNet) -> Result<Option<Vec<f32>>, Error> {
    let batch = case.tensor("x")?.shape[0];
    let Some(of) = unet.vector_type(batch) else { return Ok(None) };
    let [pooled, sizes] = ["text_embeds", "time_ids"].map(|name| case.dense(name, Axes::Same));
    let ((pooled_shape, pooled), (sizes_shape, sizes)) = (pooled?, sizes?);
    let images = pooled.chunks(pooled_shape.last()).zip(sizes.chunks(sizes_shape.last()));
    let vectors: Vec<f32> =
        images.flat_map(|(pooled, sizes)| unet.config().vector(pooled, sizes)).collect();
    match vectors.len() == of.shape.elements() {
        true => Ok(Some(vectors)),
        false => Err(case.refuse(format!("text_embeds and time_ids are no {of}"))),
    }
}

/// The inputs of a case for a model, and the vectors of its images.
pub(super) fn inputs(
    case: &Case,
    case_graph: &mut CaseGraph,
    model: &dyn Model,
    vectors: Option<Vec<f32>>,
) -> Result<ModelInputs, Error> {
    let x = case_graph.input("x", Axes::Image)?;
    let timesteps = case_graph.input("t", Axes::Same)?;
    let batch = case_graph.graph.type_of(x).shape[0];
    let labels = model.label_type(batch).map(|of| {
        if of.element == ElementType::U32 {
            case.indices("class_labels", model.classes().unwrap_or(usize::MAX))?;
        }
        case_graph.input_as("class_labels", Axes::Same, of.element)
    });
    let labels = labels.transpose()?;
    let context =
        model.context_type(batch).map(|_| case_graph.input("encoder_hidden_states", Axes::Same));
    let context = context.transpose()?;
    let vector = model.vector_type(batch).zip(vectors);
    let vector = vector.map(|(of, vectors)| case_graph.given(of, vectors));
    Ok(ModelInputs { x, timesteps, condition: Condition { labels, context, vector } })
}

/// `y`, the mean squared `loss` against `target`, and its gradients: `gx`, `gcontext`, those of the
/// parameters and their digests.
fn loss(
    gpu: &Gpu,
    case: &Case,
    model: &dyn Model,
    weights: &Weights,
    vectors: Option<Vec<f32>>,
) -> Result<Results, Error> {
    let mut case_graph = CaseGraph::new(case);
    let inputs = inputs(case, &mut case_graph, model, vectors)?;
    let target = case_graph.input("target", Axes::Image)?;
    let shape = case_graph.graph.type_of(inputs.x).shape;
    let specs = crate::nn::parameters(model, [shape[0], shape[1], shape[2]])?;
    let parameters = Parameters::new(gpu, &mut case_graph, specs, weights)?;
    let layers = &mut Layers::new(&mut case_graph.graph, &parameters.views, None);
    let y = model.build(layers, &inputs)?;
    let error = MeanSquaredError { reduction: Reduction::Mean };
    let loss = case_graph.graph.push(error, &[y, target])?;
    let one = Constant { of: case_graph.graph.type_of(loss), number: 1.0.into() };
    let seed = case_graph.graph.push(one, &[])?;
    case_graph.output("y", y, Axes::Image);
    case_graph.output("loss", loss, Axes::Same);
    let context = inputs.condition.context.map(|of| (of, "gcontext", Axes::Same));
    let wrt: Vec<_> = [(inputs.x, "gx", Axes::Image)].into_iter().chain(context).collect();
    parameters.gradients(&mut case_graph, [loss, seed], &wrt)?;
    parameters.results(case_graph.run(gpu)?)
}

/// The parameters of a network in a case's graph.
pub(super) struct Parameters {
    layout: Arenas,
    /// Their values.
    pub views: Views,
}

impl Parameters {
    pub fn new(
        gpu: &Gpu,
        case_graph: &mut CaseGraph,
        specs: Vec<ParameterSpec>,
        weights: &dyn ParameterSource,
    ) -> Result<Self, Error> {
        let layout = Arenas::new(specs, gpu.target().max_binding);
        let arenas = layout.contents(weights)?;
        let arenas: Vec<Value> = arenas
            .into_iter()
            .map(|contents| case_graph.given(TensorType::f32(&[contents.len()]), contents))
            .collect();
        let views = layout.views(&mut case_graph.graph, &arenas)?;
        Ok(Self { layout, views })
    }

    /// Adds the gradients of `y`, given the one that arrives, to the graph: those of some values by their
    /// names, and those of all parameters.
    pub fn gradients(
        &self,
        case_graph: &mut CaseGraph,
        [y, dy]: [Value; 2],
        wrt: &[(Value, &str, Axes)],
    ) -> Result<(), Error> {
        let parameters = self.layout.specs.iter().filter_map(|spec| self.views.get(&spec.name));
        let all: Vec<Value> = wrt.iter().map(|(value, ..)| *value).chain(parameters).collect();
        let gradients = passes::gradient(&mut case_graph.graph, y, dy, &all)?;
        let (own, parameters) = gradients.split_at(wrt.len());
        for (gradient, &(value, name, axes)) in own.iter().zip(wrt) {
            let zero = Constant { of: case_graph.graph.type_of(value), number: 0.0.into() };
            let gradient = gradient.map_or_else(|| case_graph.graph.push(zero, &[]), Ok)?;
            case_graph.output(name, gradient, axes);
        }
        let packed = self.layout.pack(&mut case_graph.graph, parameters)?;
        for (number, &arena) in packed.iter().enumerate() {
            case_graph.output(&format!("arena {number}"), arena, Axes::Same);
        }
        Ok(())
    }

    /// The results of a run, each parameter's gradient and its digest by its name.
    pub fn results(&self, mut results: Results) -> Result<Results, Error> {
        let packed = (0..self.layout.arenas.len()).map(|number| {
            let arena = results.remove(&format!("arena {number}")).unwrap_or_default();
            Ok::<_, Error>(arena.into_iter().map(|x| x as f32).collect())
        });
        let gradients = self.layout.weights(packed)?;
        add_weights("grad", &gradients, &mut results);
        Ok(results)
    }
}

/// Parameters as files hold them.
pub(super) fn stored_order(weights: &Weights) -> impl Iterator<Item = (&str, Vec<f64>)> {
    weights.iter().map(|(name, parameter)| {
        let layout = Layout::of(name, &parameter.shape);
        let data = layout.write(&parameter.shape, &parameter.data);
        (name, data.into_iter().map(f64::from).collect())
    })
}

/// Digest of a large tensor: its norm, and its product with `sin(0.1 (i + 1))`.
fn digest(tensor: &[f64]) -> Vec<f64> {
    let product = |(i, x): (usize, &f64)| x * (0.1 * (i as f64 + 1.0)).sin();
    vec![norm(tensor.iter().copied()), tensor.iter().enumerate().map(product).sum()]
}

pub(super) fn norm(elements: impl Iterator<Item = f64>) -> f64 {
    elements.map(|x| x * x).sum::<f64>().sqrt()
}

/// Adds weights and their digests to the results.
pub(super) fn add_weights(prefix: &str, weights: &Weights, results: &mut Results) {
    for (name, data) in stored_order(weights) {
        results.insert(format!("{prefix}_digest.{name}"), digest(&data));
        results.insert(format!("{prefix}.{name}"), data);
    }
}

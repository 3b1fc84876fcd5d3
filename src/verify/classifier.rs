//! Cases of a noisy classifier, and of sampling that it guides.
use super::{
    case_files::{Case, Results},
    case_graph::{Axes, CaseGraph},
};
use crate::{
    error::Error,
    gpu::Gpu,
    models::classifier_unet::{ClassifierConfig, ClassifierUNet},
    nn::{Condition, FrozenModel, ModelInputs},
    ops::{Constant, SoftmaxCrossEntropy},
    pipeline::read_classifier,
    value::{ElementType, TensorType},
    weights::FileWeights,
};
use std::path::Path;

/// The classifier of these flags with the weights of a file.
pub(super) fn read(
    flags: &serde_json::Value,
    path: &Path,
) -> Result<(ClassifierUNet, FileWeights), Error> {
    let network = ClassifierUNet::new(ClassifierConfig::parse(&flags.to_string())?)?;
    let weights = read_classifier(&network, path)?;
    Ok((network, weights))
}

/// Kind `classifier`: logits, the logarithm of a class's probability, and its gradient.
pub(super) fn run(gpu: &Gpu, case: &Case) -> Result<Results, Error> {
    let (network, weights) = read(&case.settings()["flags"], &case.model()?)?;
    let labels = case.indices("class_labels", network.config().num_classes)?;
    let mut case_graph = CaseGraph::new(case);
    let x = case_graph.input("x", Axes::Image)?;
    let timesteps = case_graph.input("t", Axes::Same)?;
    let classes = case_graph.input_as("class_labels", Axes::Same, ElementType::U32)?;
    let inputs = ModelInputs { x, timesteps, condition: Condition::default() };
    let limit = gpu.target().max_binding;
    let model = FrozenModel::new(&mut case_graph.graph, &network, &inputs, limit)?;
    for (arena, contents) in model.contents(&weights)? {
        case_graph.contents(arena, contents);
    }
    let (graph, logits) = (&mut case_graph.graph, model.prediction);
    let loss = graph.push(SoftmaxCrossEntropy, &[logits, classes])?;
    // The loss is the mean of -log p over the batch.
    let number = -(labels.len() as f64);
    let seed = graph.push(Constant { of: TensorType::f32(&[1]), number: number.into() }, &[])?;
    case_graph.output("logits", logits, Axes::Same);
    case_graph.gradients(loss, seed, &[(x, "gx".to_owned(), Axes::Image)])?;
    let mut results = case_graph.run(gpu)?;
    let rows = results["logits"].chunks(network.config().num_classes);
    let log_probabilities = rows.zip(&labels).map(|(row, &label)| {
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        row[label] - largest - row.iter().map(|logit| (logit - largest).exp()).sum::<f64>().ln()
    });
    let log_probabilities = log_probabilities.collect();
    results.insert("log_prob".to_owned(), log_probabilities);
    Ok(results)
}

//! Parameters of networks in the graphs of cases, and their gradients.
use super::{
    case_files::Results,
    case_graph::{Axes, CaseGraph},
};
use crate::{
    error::Error,
    gpu::Gpu,
    nn::{Arenas, ParameterSource, ParameterSpec, Views, Weights},
    ops::Constant,
    passes,
    value::{TensorType, Value},
    weights::Layout,
};

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

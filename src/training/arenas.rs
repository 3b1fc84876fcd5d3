//! Weights by name, and as the arenas that a model computes with.
use crate::{
    error::Error,
    unet::ArenaLayout,
    weights::{Parameter, Parameters},
};
use std::borrow::Cow;

/// Weights as arenas.
///
/// # Errors
/// If one is missing or has another shape.
pub fn arenas_of(layout: &ArenaLayout, weights: &Parameters) -> Result<Vec<Vec<f32>>, Error> {
    for spec in &layout.specs {
        let fits = |p: &&Parameter| p.shape == spec.of.shape;
        if weights.get(&spec.name).filter(fits).is_none() {
            return Err(Error::MissingParameter { name: format!("{}: {}", spec.name, spec.of) });
        }
    }
    Ok(layout.fill(|spec| {
        let parameter = weights.get(&spec.name).expect("every name was looked up above");
        Cow::Borrowed(parameter.data.as_slice())
    }))
}

/// Arenas as weights.
pub fn parameters_of(layout: &ArenaLayout, arenas: &[Vec<f32>]) -> Parameters {
    let mut parameters = Parameters::default();
    for (spec, data) in layout.extract(arenas) {
        parameters.insert(&spec.name, spec.of.shape, data);
    }
    parameters
}

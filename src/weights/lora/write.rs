//! Files of adapters that diffusers' `load_lora_weights` opens.
use super::keys::{Adapted, Metadata};
use crate::{
    error::WeightsError,
    nn::{LORA_DOWN, Weights},
    weights::{Precision, stored, tensor_bytes_with},
};
use serde_json::{Map, Value as Json};
use std::path::Path;

/// The bytes of a file with the adapters of a network, by peft's names and of one rank; errors name it by `path`. The
/// header holds the rank and alpha, the scale times it.
pub(crate) fn adapter_bytes(
    path: &Path,
    of: Adapted,
    adapters: &Weights,
    scale: f64,
) -> Result<Vec<u8>, WeightsError> {
    let (prefix, _) = of.prefixes();
    let (mut layers, mut rank) = (Vec::new(), 0);
    for (name, parameter) in adapters.iter() {
        if let Some(layer) = name.strip_suffix(LORA_DOWN) {
            layers.push(Json::from(layer.trim_end_matches('.')));
            rank = parameter.shape.last();
        }
    }
    let header: Map<String, Json> = [
        ("r", Json::from(rank)),
        ("lora_alpha", Json::from(scale * rank as f64)),
        ("target_modules", Json::Array(layers)),
    ]
    .into_iter()
    .map(|(key, value)| (format!("{prefix}{key}"), value))
    .collect();
    let text = Json::Object(header).to_string();
    let tensors: Vec<_> = adapters.iter().map(|(name, of)| stored(prefix, name, of)).collect();
    let tensors = tensors.iter().map(|(name, shape, data)| (&name[..], &shape[..], &data[..]));
    tensor_bytes_with(path, Precision::F32, (Metadata::KEY, &text), tensors)
}

//! Files of adapters that are applied together, each with a strength.
use super::{Adapted, Lora, LowRank};
use crate::{
    error::{Unexpected, WeightsError},
    nn::{Adapters, Initial, LORA_DOWN, LORA_UP, Parameter, ParameterSpec, Weights},
    value::TensorType,
};
use std::{collections::BTreeMap, path::PathBuf, str::FromStr};

/// A file of adapters and how strong they are, in words `FILE` or `FILE:STRENGTH`; 0 takes them off.
///
/// Example: [`Loras`].
#[derive(Clone, Debug, PartialEq)]
pub struct LoraFile {
    /// The file.
    pub path: PathBuf,
    /// Multiplies what they add; 1 unless it is said.
    pub strength: f64,
}

impl FromStr for LoraFile {
    type Err = Unexpected;

    fn from_str(text: &str) -> Result<Self, Unexpected> {
        let said = text.rsplit_once(':').and_then(|(path, of)| Some((path, of.parse().ok()?)));
        let (path, strength) = said.unwrap_or((text, 1.0));
        let fits = !path.is_empty() && f64::is_finite(strength);
        Unexpected::check(fits, "LoRA", "FILE or FILE:STRENGTH", format!("{text:?}"))?;
        Ok(Self { path: path.into(), strength })
    }
}

/// Adapters of several files with a strength each.
///
/// ```no_run
/// use ddim::{pipeline::{LatentPipeline, Opening}, weights::{LoraFile, Loras}};
///
/// let model = LatentPipeline::open("model".as_ref(), &Opening::default())?;
/// let file: LoraFile = "style.safetensors:0.8".parse()?;
/// assert_eq!(file.strength, 0.8);
/// let loras: Loras = model.read_loras(None, &[file])?;
/// let model = model.with_loras(&loras);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loras {
    /// The files' contents and strengths.
    pub files: Vec<(Lora, f64)>,
}

impl Loras {
    /// Reads files for networks with these parameters.
    ///
    /// # Errors
    /// As [`Lora::read`].
    pub fn read(
        files: &[LoraFile],
        networks: &[(Adapted, &[ParameterSpec])],
    ) -> Result<Self, WeightsError> {
        let read = |file: &LoraFile| Ok((Lora::read(&file.path, networks)?, file.strength));
        Ok(Self { files: files.iter().map(read).collect::<Result<_, WeightsError>>()? })
    }

    /// The changes of each layer of a network with their strengths.
    fn layers(&self, of: Adapted) -> BTreeMap<&str, Vec<(&LowRank, f64)>> {
        let mut layers: BTreeMap<&str, Vec<(&LowRank, f64)>> = BTreeMap::new();
        for (lora, strength) in &self.files {
            for (layer, low_rank) in lora.layers(of) {
                layers.entry(layer).or_default().push((low_rank, *strength));
            }
        }
        layers
    }

    /// The adapters of a network: those of one layer are one, as wide as the files' ranks together. They do not depend
    /// on the strengths.
    pub fn adapters(&self, of: Adapted) -> Adapters {
        let specs = self
            .weights(of)
            .iter()
            .map(|(name, parameter)| ParameterSpec {
                name: name.to_owned(),
                of: TensorType::f32(&parameter.shape),
                initial: Initial::Constant(0.0),
            })
            .collect();
        Adapters { specs, scale: 1.0 }
    }

    /// Their matrices: the first ones side by side, the second ones below each other, each times its file's strength
    /// and its own `alpha / rank`.
    pub fn weights(&self, of: Adapted) -> Weights {
        let mut weights = Weights::default();
        for (layer, parts) in self.layers(of) {
            for (name, Parameter { shape, data }) in
                [(LORA_DOWN, beside(&parts)), (LORA_UP, below(&parts))]
            {
                weights.insert(&format!("{layer}.{name}"), shape, data);
            }
        }
        weights
    }
}

/// The first matrices, column by column.
fn beside(parts: &[(&LowRank, f64)]) -> Parameter {
    let shape = parts[0].0.down.shape;
    let rank = parts.iter().map(|(part, _)| part.rank()).sum();
    let row = |row: usize| {
        let of = move |part: &LowRank| part.down.data[row * part.rank()..][..part.rank()].to_vec();
        parts.iter().flat_map(move |(part, _)| of(part))
    };
    let data = (0..shape.rows()).flat_map(row).collect();
    Parameter { shape: TensorType::f32(&shape).with_last(rank).shape, data }
}

/// The second matrices, row by row, each times its scale.
fn below(parts: &[(&LowRank, f64)]) -> Parameter {
    let shape = parts[0].0.up.shape;
    let rank = parts.iter().map(|(part, _)| part.rank()).sum();
    let scaled = |(part, strength): &(&LowRank, f64)| {
        let scale = strength * part.alpha / part.rank() as f64;
        let numbers = part.up.data.iter();
        numbers.map(|number| (f64::from(*number) * scale) as f32).collect::<Vec<_>>()
    };
    let axis = shape.len() - 2;
    let shape = TensorType::f32(&shape).with_extent(axis, rank).shape;
    Parameter { shape, data: parts.iter().flat_map(scaled).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strength_follows_the_last_colon() {
        for (text, path, strength) in [
            ("style.safetensors", "style.safetensors", 1.0),
            ("style.safetensors:0.8", "style.safetensors", 0.8),
            ("a:b:-1", "a:b", -1.0),
            (r"C:\style.safetensors", r"C:\style.safetensors", 1.0),
            ("a:b", "a:b", 1.0),
        ] {
            let expected = LoraFile { path: path.into(), strength };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in ["", ":1", "style:inf", "style:NaN"] {
            let error = text.parse::<LoraFile>().expect_err(text).to_string();
            assert!(error.contains("FILE:STRENGTH"), "{error}");
        }
    }
}

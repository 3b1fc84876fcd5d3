//! Names of adapters' tensors: what follows a layer's name says which of its tensors it is, and the
//! layer's name is found among those that the networks have.
use crate::{
    error::WeightsError,
    nn::ParameterSpec,
    value::Shape,
    weights::{Adm, Layout, Names, TensorFile, dialects::Origin},
};
use serde_json::{Map, Value as Json};
use std::{collections::HashMap, path::Path};

/// The networks of a pipeline that have adapters.
///
/// Example: [`crate::weights::Lora`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Adapted {
    /// The U-Net.
    Unet,
    /// The text encoder.
    TextEncoder,
    /// SDXL's second one.
    TextEncoder2,
}

/// Which tensor of a layer.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Down,
    Up,
    Alpha,
}

/// What names end with: of kohya's scripts, of peft, of diffusers of 2023.
const ENDINGS: [(&str, Kind); 11] = [
    (".lora_down.weight", Kind::Down),
    (".lora_up.weight", Kind::Up),
    (".alpha", Kind::Alpha),
    (".lora_A.weight", Kind::Down),
    (".lora_B.weight", Kind::Up),
    (".lora.down.weight", Kind::Down),
    (".lora.up.weight", Kind::Up),
    (".lora_linear_layer.down.weight", Kind::Down),
    (".lora_linear_layer.up.weight", Kind::Up),
    // After the layers' names of early 2023, which end with `_lora`.
    ("_lora.down.weight", Kind::Down),
    ("_lora.up.weight", Kind::Up),
];

/// The ends of attention layers' names, and what stood there in early 2023.
const OF_2023: [(&str, &str); 8] = [
    (".to_q", ".processor.to_q"),
    (".to_k", ".processor.to_k"),
    (".to_v", ".processor.to_v"),
    (".to_out.0", ".processor.to_out"),
    (".self_attn.q_proj", ".self_attn.to_q"),
    (".self_attn.k_proj", ".self_attn.to_k"),
    (".self_attn.v_proj", ".self_attn.to_v"),
    (".self_attn.out_proj", ".self_attn.to_out"),
];

/// The layers of networks by all names that files have for them.
pub(super) struct Keys<'a>(HashMap<String, (Adapted, &'a str, Shape)>);

impl Adapted {
    /// What stands before a layer's name: with dots, and where dots are underscores.
    pub(super) fn prefixes(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Unet => ("unet.", &["lora_unet_"]),
            Self::TextEncoder => ("text_encoder.", &["lora_te_", "lora_te1_"]),
            Self::TextEncoder2 => ("text_encoder_2.", &["lora_te2_"]),
        }
    }
}

impl<'a> Keys<'a> {
    /// The layers of these networks: what has a matrix or a filter that is no table.
    pub fn of(networks: &[(Adapted, &'a [ParameterSpec])]) -> Self {
        let mut keys = HashMap::new();
        for (of, specs) in networks {
            let (dotted, flat) = of.prefixes();
            let released = (*of == Adapted::Unet).then(|| released_names(specs));
            for ParameterSpec { name, of: weight, .. } in *specs {
                let Some(layer) = name.strip_suffix(".weight") else { continue };
                if Layout::of(name, &weight.shape) == Layout::Same {
                    continue;
                }
                let found = (*of, layer, weight.shape);
                if let Some(names) = &released {
                    let Origin { tensor, .. } = names.origin(name, weight.shape.last());
                    let layer = tensor.trim_end_matches(".weight").replace('.', "_");
                    keys.extend(flat.iter().map(|prefix| (format!("{prefix}{layer}"), found)));
                }
                // transformers 5 leaves the first word out.
                let without = layer.strip_prefix("text_model.").filter(|_| dotted != "unet.");
                for layer in [Some(layer), without].into_iter().flatten() {
                    keys.insert(format!("{dotted}{layer}"), found);
                    for prefix in flat {
                        keys.insert(format!("{prefix}{}", layer.replace('.', "_")), found);
                    }
                    let of_2023 = OF_2023.iter().find_map(|(end, old)| {
                        Some(format!("{dotted}{}{old}_lora", layer.strip_suffix(end)?))
                    });
                    keys.extend(of_2023.map(|old| (old, found)));
                }
            }
        }
        Self(keys)
    }

    /// What a tensor is: which of the tensors of which layer, and the shape of the layer's weight.
    pub fn find(&self, tensor: &str) -> Option<(Kind, Adapted, &'a str, Shape)> {
        ENDINGS.iter().find_map(|(ending, kind)| {
            let layer = tensor.strip_suffix(ending)?;
            let found = match ending.strip_prefix("_lora") {
                Some(_) => self.0.get(&format!("{layer}_lora"))?,
                None => self.0.get(layer).filter(|_| !layer.ends_with("_lora"))?,
            };
            Some((*kind, found.0, found.1, found.2))
        })
    }
}

/// The names of a U-Net's layers in Stable Diffusion's own files: kohya's scripts use them for SDXL.
fn released_names(specs: &[ParameterSpec]) -> Names {
    let number = |name: &str, before: &str| -> Option<usize> {
        name.strip_prefix(before)?.split('.').next()?.parse().ok()
    };
    let count = |before: &str| {
        let numbers = specs.iter().filter_map(|spec| number(&spec.name, before));
        numbers.max().map_or(0, |last| last + 1)
    };
    let attends = |level: usize| {
        let before = format!("up_blocks.{level}.attentions.");
        specs.iter().any(|spec| spec.name.starts_with(&before))
    };
    let attention = (0..count("up_blocks.")).map(attends).collect();
    Names::LatentUnet(Adm { layers: count("down_blocks.0.resnets."), attention, interleaved: None })
}

/// What peft's header says of alpha.
pub(super) struct Metadata(Map<String, Json>);

impl Metadata {
    /// The entry of the header.
    pub const KEY: &str = "lora_adapter_metadata";

    /// Reads the header's text.
    ///
    /// # Errors
    /// If it is no object, or asks for another scale than alpha / rank.
    pub fn of(path: &Path, file: &dyn TensorFile) -> Result<Self, WeightsError> {
        let refuse = |message: String| WeightsError::Format {
            path: path.into(),
            format: "LoRA",
            source: message.into(),
        };
        let Some(text) = file.metadata(Self::KEY) else { return Ok(Self(Map::new())) };
        let known: Map<String, Json> = crate::files::parse_object(&text)
            .map_err(|error| refuse(format!("{}: {error}", Self::KEY)))?;
        for key in ["use_rslora", "use_dora"] {
            let asked = known.iter().find(|(name, value)| {
                name.split('.').next_back() == Some(key) && **value == Json::Bool(true)
            });
            if let Some((name, _)) = asked {
                return Err(refuse(format!("{name}: expected false, found true")));
            }
        }
        Ok(Self(known))
    }

    /// Alpha of a layer, if the header says it: the pattern that the layer's name ends with, or else the
    /// network's.
    pub fn alpha(&self, of: Adapted, layer: &str) -> Option<f64> {
        let (prefix, _) = of.prefixes();
        let own = |pattern: &str| {
            layer.strip_suffix(pattern).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let patterns = self.0.get(&format!("{prefix}alpha_pattern")).and_then(Json::as_object);
        let pattern = patterns.into_iter().flatten().find(|(pattern, _)| own(pattern));
        let all = || self.0.get(&format!("{prefix}lora_alpha"));
        pattern.map(|(_, alpha)| alpha).or_else(all).and_then(Json::as_f64)
    }
}

//! Changes of files of adapters with which they must not load.
use super::refusal::Refusal;
use crate::{
    error::{Error, WeightsError},
    nn::ParameterSpec,
    weights::{self, Adapted, Lora, Numbers, TensorFile},
};
use std::{ops::Range, path::Path};

/// The networks that have adapters, with their parameters.
pub(super) type Networks<'a> = [(Adapted, &'a [ParameterSpec])];

/// A file in which one tensor has another name or shape.
struct Changed<'a> {
    file: &'a dyn TensorFile,
    tensor: &'a str,
    name: String,
    shape: Vec<usize>,
}

impl TensorFile for Changed<'_> {
    fn format(&self) -> String {
        self.file.format()
    }

    fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let change = |(name, shape): (String, _)| match name == self.tensor {
            true => (self.name.clone(), self.shape.clone()),
            false => (name, shape),
        };
        self.file.tensors().into_iter().map(change).collect()
    }

    fn metadata(&self, key: &str) -> Option<String> {
        self.file.metadata(key)
    }

    fn read_rows(&self, name: &str, rows: Option<Range<usize>>) -> Result<Numbers, WeightsError> {
        self.file.read_rows(if name == self.name { self.tensor } else { name }, rows)
    }
}

/// What is wrong with the answers to a change of a file: each has to name the tensor.
pub(super) fn refused(
    path: &Path,
    networks: &Networks,
    refusal: &Refusal,
) -> Result<Option<String>, Error> {
    let file = weights::open(path)?;
    let is_down =
        |name: &str| ["lora_down.", "lora_A.", "lora.down."].iter().any(|part| name.contains(part));
    let downs: Vec<_> = file.tensors().into_iter().filter(|(name, _)| is_down(name)).collect();
    let mut changes = Vec::new();
    for (tensor, shape) in &downs {
        match refusal.change.as_str() {
            Some(change) if change.starts_with("one lora_down") => {
                let mut turned = shape.clone();
                turned.swap(0, 1);
                changes.extend((turned != *shape).then(|| (tensor, tensor.clone(), turned)));
                for axis in 0..2 {
                    let mut cut = shape.clone();
                    cut[axis] -= 1;
                    changes.push((tensor, tensor.clone(), cut));
                }
            }
            Some("a module name that the model does not have") => {
                let at = tensor.find(['.', '_']).unwrap_or(0);
                let name = format!("{}_nowhere{}", &tensor[..at], &tensor[at..]);
                changes.push((tensor, name, shape.clone()));
                let name = tensor.replacen("block", "nowhere", 1);
                changes.extend((name != *tensor).then(|| (tensor, name, shape.clone())));
            }
            _ => return Ok(Some(format!("unknown change {}", refusal.change))),
        }
    }
    let wrong = changes.into_iter().find_map(|(tensor, name, shape)| {
        let changed = Changed { file: &*file, tensor, name, shape };
        let (name, shape) = (&changed.name, &changed.shape);
        match Lora::of_file(path, &changed, networks) {
            Ok(_) => Some(format!("with {name} as {shape:?} it loads")),
            Err(error) if error.to_string().contains(&name[..]) => None,
            Err(error) => Some(format!("with {name} as {shape:?}: {:?}", error.to_string())),
        }
    });
    Ok(wrong)
}

//! Reads the reference cases below `tests/cases` (its README has the format).
#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use ddim::weights::read_tensors;
use serde_json::Value;

/// One case: its manifest and its tensors.
pub struct Case {
    manifest: Value,
    tensors: HashMap<String, Vec<f64>>,
}

impl Case {
    /// The folder of the cases.
    pub fn folder() -> PathBuf {
        [env!("CARGO_MANIFEST_DIR"), "tests", "cases"].iter().collect()
    }

    /// The case of this group and name.
    pub fn read(group: &str, name: &str) -> Self {
        Self::read_below(&Self::folder(), group, name)
    }

    fn read_below(cases: &Path, group: &str, name: &str) -> Self {
        let folder = cases.join(group);
        let text =
            std::fs::read_to_string(folder.join(format!("{name}.json"))).expect("a manifest");
        let manifest: Value = serde_json::from_str(&text).expect("a manifest is JSON");
        let file = manifest["file"].as_str().expect("a manifest names its file");
        let tensors = read_tensors(&folder.join(file)).expect("the tensors of a case");
        let tensors = tensors.into_iter().map(|t| (t.name, t.numbers.to_f64())).collect();
        Self { manifest, tensors }
    }

    /// Every case of a group.
    pub fn group(group: &str) -> impl Iterator<Item = Self> {
        Self::group_below(Self::folder(), group)
    }

    /// Every case of a group below another folder of cases.
    pub fn group_below(cases: PathBuf, group: &str) -> impl Iterator<Item = Self> {
        let text = std::fs::read_to_string(cases.join("index.json")).expect("an index");
        let index: Value = serde_json::from_str(&text).expect("the index is JSON");
        let entries = index["cases"].as_array().expect("a list of cases").clone();
        let word = |case: &Value, key: &str| case[key].as_str().expect("a word").to_string();
        entries
            .into_iter()
            .filter(move |case| case["group"] == group)
            .map(move |case| Self::read_below(&cases, &word(&case, "group"), &word(&case, "name")))
    }

    pub fn name(&self) -> &str {
        self.manifest["name"].as_str().expect("a case has a name")
    }

    pub fn kind(&self) -> &str {
        self.manifest["kind"].as_str().expect("a case has a kind")
    }

    pub fn config(&self) -> &Value {
        &self.manifest["config"]
    }

    /// The folder of the case's model, relative to that of the cases.
    pub fn model(&self) -> &str {
        self.manifest["model"].as_str().expect("a model")
    }

    pub fn shape(&self, input: &str) -> Vec<usize> {
        let shape = self.manifest["inputs"][input]["shape"].as_array().expect("a shape");
        shape.iter().map(|extent| extent.as_u64().expect("an extent") as usize).collect()
    }

    pub fn outputs(&self) -> impl Iterator<Item = &str> {
        self.manifest["outputs"].as_object().expect("outputs").keys().map(String::as_str)
    }

    pub fn input(&self, name: &str) -> Vec<f64> {
        self.optional_input(name).unwrap_or_else(|| panic!("{}: no input {name}", self.name()))
    }

    pub fn optional_input(&self, name: &str) -> Option<Vec<f64>> {
        self.manifest["inputs"].get(name).map(|_| self.tensors[name].clone())
    }

    pub fn has_output(&self, name: &str) -> bool {
        self.manifest["outputs"].get(name).is_some()
    }

    /// Holds a result against the expected output, within the case's own tolerance.
    pub fn compare(&self, output: &str, got: &[f64]) -> Result<(), String> {
        let manifest = &self.manifest["outputs"][output];
        let expected = &self.tensors[output];
        let name = self.name();
        if got.len() != expected.len() {
            return Err(format!(
                "{name}: {output} has {} elements, not {}",
                expected.len(),
                got.len()
            ));
        }
        let tolerance = |key: &str| manifest[key].as_f64().unwrap_or(0.0);
        for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
            let allowed = tolerance("atol") + tolerance("rtol") * expected.abs();
            // False for a NaN, which must fail.
            let close = (got - expected).abs() <= allowed;
            if !close {
                return Err(format!("{name}: {output}[{index}] is {got}, expected {expected}"));
            }
        }
        Ok(())
    }
}

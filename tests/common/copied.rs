//! Copies of reference cases, for tests to damage.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use ddim::weights::{Numbers, Precision, Stored, read_tensors, write_tensors};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A case by its group and name.
pub type Named<'a> = (&'a str, &'a str);

/// A folder of cases of this repository, whichever package's tests ask.
pub fn folder(name: &str) -> PathBuf {
    let mut packages = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    packages
        .find_map(|at| Some(at.join("tests").join(name)).filter(|at| at.is_dir()))
        .expect("cases")
}

/// A folder with copies of these cases.
pub fn copies(cases: &[Named]) -> TempDir {
    let copy = tempfile::tempdir().expect("a folder for the test");
    for (group, name) in cases {
        fs::create_dir_all(copy.path().join(group)).expect("room");
        for extension in ["json", "safetensors"] {
            let file = Path::new(group).join(format!("{name}.{extension}"));
            fs::copy(folder("cases").join(&file), copy.path().join(&file)).expect("room");
        }
    }
    list(copy.path(), cases);
    copy
}

/// Writes the list of cases.
pub fn list(folder: &Path, cases: &[Named]) {
    let entry = |(group, name): &Named| json!({ "group": group, "name": name });
    let index = json!({ "cases": cases.iter().map(entry).collect::<Vec<_>>() });
    fs::write(folder.join("index.json"), index.to_string()).expect("room");
}

fn manifest(folder: &Path, (group, name): Named) -> (PathBuf, Value) {
    let path = folder.join(group).join(format!("{name}.json"));
    let text = fs::read_to_string(&path).expect("a manifest");
    (path, serde_json::from_str(&text).expect("the manifest is JSON"))
}

pub fn change_manifest(folder: &Path, case: Named, change: impl FnOnce(&mut Value)) {
    let (path, mut value) = manifest(folder, case);
    change(&mut value);
    fs::write(path, value.to_string()).expect("room");
}

/// Changes a case's tensors, all of f32.
pub fn change_tensors(folder: &Path, case: Named, change: impl FnOnce(&mut Vec<Stored>)) {
    let path = folder.join(case.0).join(format!("{}.safetensors", case.1));
    let mut tensors = read_tensors(&path).expect("the tensors of the case");
    change(&mut tensors);
    let dense = |of: Stored| (of.name, of.shape, of.numbers.into_f32());
    let tensors: Vec<_> = tensors.into_iter().map(dense).collect();
    let views = tensors.iter().map(|(name, shape, data)| (&name[..], &shape[..], &data[..]));
    write_tensors(&path, Precision::F32, views).expect("room");
}

/// Replaces the last element of a tensor.
pub fn change_last(folder: &Path, case: Named, tensor: &str, change: impl FnOnce(f32) -> f32) {
    change_tensors(folder, case, |tensors| {
        let stored = tensors.iter_mut().find(|of| of.name == tensor).expect("a tensor of the case");
        let mut numbers = stored.numbers.clone().into_f32();
        let last = numbers.last_mut().expect("no tensor is empty");
        *last = change(*last);
        stored.numbers = Numbers::F32(numbers);
    });
}

/// The tolerance of an output.
pub fn tolerance(folder: &Path, case: Named, output: &str) -> f32 {
    let (_, value) = manifest(folder, case);
    value["outputs"][output]["atol"].as_f64().expect("a tolerance") as f32
}

//! Weights in several files, and the index that says which tensor is in which.
use super::tensor::{Numbers, TensorFile};
use crate::{
    error::{FileError, WeightsError},
    files,
};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Component, Path, PathBuf},
};

/// `*.index.json`, as diffusers writes it.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The tensors of all files, each of which is read when it is asked for.
pub(super) struct Shards {
    path: PathBuf,
    files: Vec<Box<dyn TensorFile>>,
    /// The file and the extents of each tensor.
    tensors: BTreeMap<String, (usize, Vec<usize>)>,
}

impl Shards {
    /// Opens the files of an index by `open`.
    pub fn open(
        path: &Path,
        open: impl Fn(&Path) -> Result<Box<dyn TensorFile>, WeightsError>,
    ) -> Result<Self, WeightsError> {
        let refuse = |text: String| WeightsError::Format {
            path: path.into(),
            format: "index of shards",
            source: text.into(),
        };
        let text = files::read_json(path).map_err(FileError::at(path))?;
        let index: Index = files::parse_object(&text).map_err(|error| refuse(error.to_string()))?;
        let mut by_file: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (tensor, file) in &index.weight_map {
            by_file.entry(file).or_default().push(tensor);
        }
        let (mut files, mut tensors) = (Vec::new(), BTreeMap::new());
        for (number, (name, wanted)) in by_file.into_iter().enumerate() {
            let inside = matches!(
                Path::new(name).components().collect::<Vec<_>>()[..],
                [Component::Normal(_)]
            );
            if !inside {
                return Err(refuse(format!("weight_map: {name} leaves the folder")));
            }
            let shard = path.with_file_name(name);
            if !shard.exists() {
                return Err(refuse(format!("weight_map: {name}: no such file")));
            }
            let file = open(&shard)?;
            let mut found: BTreeMap<String, Vec<usize>> = file.tensors().into_iter().collect();
            for tensor in wanted {
                let shape = found.remove(tensor).ok_or_else(|| {
                    refuse(format!("weight_map: {tensor}: {name} holds no such tensor"))
                })?;
                tensors.insert(tensor.to_owned(), (number, shape));
            }
            files.push(file);
        }
        Ok(Self { path: path.into(), files, tensors })
    }
}

impl TensorFile for Shards {
    fn format(&self) -> String {
        let format = self.files.first().map_or_else(String::new, |file| file.format());
        format!("{format}, {} files", self.files.len())
    }

    fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        self.tensors.iter().map(|(name, (_, shape))| (name.clone(), shape.clone())).collect()
    }

    fn read_rows(&self, name: &str, rows: Option<Range<usize>>) -> Result<Numbers, WeightsError> {
        let Some((number, _)) = self.tensors.get(name) else {
            let (path, tensor) = (self.path.clone(), name.into());
            return Err(WeightsError::Missing { path, tensor, expected: Vec::new() });
        };
        self.files[*number].read_rows(name, rows)
    }
}

//! A part of a file: the tensors whose names begin alike.
use super::tensor::{Numbers, TensorFile};
use crate::error::WeightsError;
use std::ops::Range;

/// The tensors whose names begin with a prefix, by what follows it.
pub(crate) struct Below<'a> {
    pub file: &'a dyn TensorFile,
    pub prefix: &'a str,
}

impl TensorFile for Below<'_> {
    fn format(&self) -> String {
        self.file.format()
    }

    fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let tensors = self.file.tensors().into_iter();
        let below = |(name, shape): (String, _)| {
            name.strip_prefix(self.prefix).map(|name| (name.to_owned(), shape))
        };
        tensors.filter_map(below).collect()
    }

    fn read_rows(&self, name: &str, rows: Option<Range<usize>>) -> Result<Numbers, WeightsError> {
        self.file.read_rows(&format!("{}{name}", self.prefix), rows)
    }
}

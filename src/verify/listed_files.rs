//! Files of which a list says whether they open.
use super::{Outcome, refusal::load};
use serde::Deserialize;
use std::path::Path;

/// A list of files to open: `hostile/index.json`.
#[derive(Deserialize)]
pub(super) struct Files {
    pub files: Vec<Listed>,
}

/// A file to open, and what must come of it.
#[derive(Deserialize)]
pub(super) struct Listed {
    pub name: String,
    folder: String,
    answer: String,
    #[serde(default)]
    names: Vec<String>,
}

impl Listed {
    /// Opens the file: it loads, or the error contains the words of its list.
    pub fn run(&self, cases: &Path) -> Outcome {
        let loaded = load(&cases.join(&self.folder), None, None);
        match loaded {
            Ok(()) if self.answer == "loads" => Outcome::Passed,
            Ok(()) => Outcome::Failed(format!("loads, expected {}", self.answer)),
            Err(error) if self.answer == "loads" => Outcome::Failed(error.to_string()),
            Err(error) => {
                let text = error.to_string();
                let lacks = self.names.iter().find(|word| !text.contains(&word[..]));
                Outcome::of([lacks.map(|word| format!("{text:?} lacks {word:?}"))])
            }
        }
    }
}

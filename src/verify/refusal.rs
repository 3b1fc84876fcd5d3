//! What a case of a checkpoint says: settings, and changes with which the file must not load.
use crate::{error::Error, pipeline::Network, weights::NonFinite};
use serde::Deserialize;
use serde_json::{Map, Value as Json};
use std::path::Path;

/// The family whose files are no U-Net of images.
pub(super) const STABLE_DIFFUSION: &str = "stable-diffusion";

/// What a case says of its file.
#[derive(Deserialize)]
pub(super) struct Checkpoint {
    pub family: String,
    /// The command line of improved-diffusion and guided-diffusion.
    pub flags: Option<Json>,
    /// The yml of the DDIM release.
    pub config: Option<Json>,
    /// The yml of Stable Diffusion, and the same in diffusers' words.
    pub ldm: Option<Json>,
    pub unet: Option<Map<String, Json>>,
    pub vae: Option<Map<String, Json>>,
    #[serde(default)]
    pub must_refuse: Vec<Refusal>,
}

/// A change with which the file must not load.
#[derive(Deserialize)]
pub(super) struct Refusal {
    pub change: Json,
    pub because: String,
}

impl Refusal {
    /// What is wrong with the answer to a change: the error has to contain the identifiers of the reason.
    pub fn difference(&self, loaded: Result<(), Error>) -> Option<String> {
        let Self { change, because } = self;
        let Err(error) = loaded else { return Some(format!("with {change} it loads: {because}")) };
        let text = error.to_string();
        let mut words = because.split_whitespace().map(|word| word.trim_end_matches(','));
        let lacks = words.find(|word| word.contains(['.', '_']) && !text.contains(word))?;
        Some(format!("with {change}: {text:?} lacks {lacks}"))
    }
}

/// Loads the weights of a U-Net.
pub(super) fn load(
    path: &Path,
    settings: Option<&Json>,
    variant: Option<&str>,
) -> Result<(), Error> {
    Network::open(path, settings, variant)?.weights(NonFinite::Refuse).map(drop)
}

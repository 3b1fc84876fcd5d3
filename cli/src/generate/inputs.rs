//! What a run is given: texts, a picture to start from, its mask.
use crate::{cli, failure::Failure, progress::Progress};
use ddim::{
    Error,
    error::ConfigError,
    gpu::Gpu,
    latent::{PromptEmbeddings, read_mask, read_start},
    models::clip_text::ClipText,
    pipeline::{LatentPipeline, TextEncoders},
    weights::LoraFile,
};

/// A picture to start from.
pub struct Start {
    /// `[height, width, channels]`, -1 to 1.
    pub picture: Vec<f32>,
    /// Height and width.
    pub size: [usize; 2],
    /// What of it is painted anew.
    pub mask: Option<Vec<f32>>,
}

impl Start {
    /// Reads the pictures that the arguments name.
    pub fn read(
        arguments: &cli::Generate,
        pipeline: &LatentPipeline,
    ) -> Result<Option<Self>, Failure> {
        let Some(path) = &arguments.init else { return Ok(None) };
        let (channels, most) = (pipeline.vae.config().in_channels, arguments.picture.max_pixels);
        let (picture, size) = read_start(path, channels, most)?;
        let read = |path| read_mask(path, size, most);
        let mask = arguments.mask.as_deref().map(read).transpose()?;
        Ok(Some(Self { picture, size, mask }))
    }
}

/// The texts of a run: still to be encoded, or encoded elsewhere.
pub enum Text {
    /// The text encoders, and the tokens for each.
    Tokens(TextEncoders, Vec<Vec<u32>>),
    /// What a file holds.
    Encoded(PromptEmbeddings),
}

impl Text {
    /// Reads the file of embeddings, or opens the text encoders and takes the prompts apart.
    pub fn read(
        arguments: &cli::Generate,
        pipeline: &LatentPipeline,
        gpu: &Gpu,
        guided: bool,
    ) -> Result<Self, Failure> {
        let Some(prompt) = &arguments.prompt else {
            let path = arguments.embeddings.as_deref().unwrap_or(&arguments.model);
            return Ok(Self::Encoded(PromptEmbeddings::read(path, &pipeline.unet)?));
        };
        let elsewhere = |error: Error| match error {
            Error::Training(_) | Error::Config(ConfigError::NotRun { .. }) => {
                let help = "--embeddings takes texts that were encoded elsewhere";
                Failure::Usage(format!("{error}: {help}"))
            }
            error => error.into(),
        };
        let max_binding = gpu.target().max_binding;
        let encoders = TextEncoders::read(&arguments.model, max_binding).map_err(elsewhere)?;
        let negative = match (&arguments.negative, encoders.zeros_without_negative) {
            _ if !guided => None,
            (Some(negative), _) => Some(&negative[..]),
            (None, true) => None,
            (None, false) => Some(""),
        };
        let texts: Vec<&str> = negative.into_iter().chain([&prompt[..]]).collect();
        let unknown = |error: Error| match (&arguments.tokenizer, arguments.model.is_dir()) {
            (None, false) => Failure::Usage(format!("{error}: name one by --tokenizer DIR")),
            _ => error.into(),
        };
        let tokens = encoders.tokens(arguments.tokenizer.as_deref(), &texts).map_err(unknown)?;
        Ok(Self::Tokens(encoders, tokens))
    }

    /// Puts adapters beside the layers of the networks.
    pub fn adapt(
        self,
        pipeline: LatentPipeline,
        files: &[LoraFile],
    ) -> Result<(LatentPipeline, Self), Failure> {
        if files.is_empty() {
            return Ok((pipeline, self));
        }
        let encoders = match &self {
            Self::Tokens(text, _) => Some(text),
            Self::Encoded(_) => None,
        };
        let loras = pipeline.read_loras(encoders, files)?;
        let text = match self {
            Self::Tokens(text, tokens) => Self::Tokens(text.with_loras(&loras), tokens),
            encoded => encoded,
        };
        Ok((pipeline.with_loras(&loras), text))
    }

    /// Tokens of a text.
    pub fn tokens(&self) -> usize {
        match self {
            Self::Tokens(text, _) => {
                let first = text.encoders.first();
                first.map_or(0, |of| of.network.config().max_position_embeddings)
            }
            Self::Encoded(embeddings) => embeddings.count,
        }
    }

    /// The networks that encode it.
    pub fn networks(&self) -> Vec<ClipText> {
        match self {
            Self::Tokens(text, _) => text.encoders.iter().map(|of| of.network.clone()).collect(),
            Self::Encoded(_) => Vec::new(),
        }
    }

    /// The embeddings.
    pub fn embeddings(self, gpu: &Gpu) -> Result<PromptEmbeddings, Failure> {
        match self {
            Self::Tokens(text, tokens) => {
                let _progress = Progress::new("text encoder", 0, 1, "prompts");
                Ok(PromptEmbeddings::encode(gpu, &text, &tokens)?)
            }
            Self::Encoded(embeddings) => Ok(embeddings),
        }
    }
}

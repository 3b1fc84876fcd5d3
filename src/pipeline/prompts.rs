//! The text encoders of a latent pipeline, in its folder or its single file.
use super::{
    latent_model::class,
    text_encoder::{TextPlace, read_text_encoder},
};
use crate::{
    error::{ConfigError, Error, TrainingError},
    files::MODEL_INDEX,
    models::clip_text::{ClipText, ClipTextConfig},
    nn::ParameterSource,
    weights::{self, TensorFile},
};
use serde_json::{Value as Json, json};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// A text encoder of a pipeline.
///
/// Example: [`TextEncoders`].
#[derive(Clone, Debug)]
pub struct TextEncoder {
    /// The network.
    pub network: ClipText,
    /// Its weights.
    pub weights: Arc<dyn ParameterSource>,
    /// The folder of its vocabulary, where the pipeline has one.
    pub tokenizer: Option<PathBuf>,
    /// What it pads texts with, where its vocabulary does not say: OpenCLIP pads with 0.
    pub pad: Option<u32>,
}

/// The text encoders of a pipeline.
///
/// ```no_run
/// use ddim::{gpu::{Gpu, GpuOptions}, pipeline::TextEncoders};
///
/// let gpu = Gpu::new(&GpuOptions::default())?;
/// let text = TextEncoders::read("model".as_ref(), gpu.target().max_binding)?;
/// for encoder in &text.encoders {
///     println!("{} channels", encoder.network.config().hidden_size);
/// }
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TextEncoders {
    /// One, or the two of SDXL.
    pub encoders: Vec<TextEncoder>,
    /// Whether the embeddings are zeros where no negative prompt is given: SDXL.
    pub zeros_without_negative: bool,
}

/// A text encoder's folder and that of its vocabulary.
type Part = (&'static str, &'static str);

/// The parts of a folder that are text encoders, their classes and vocabularies.
const PARTS: [(&str, &str, &str); 2] = [
    ("text_encoder", "CLIPTextModel", "tokenizer"),
    ("text_encoder_2", "CLIPTextModelWithProjection", "tokenizer_2"),
];

impl TextEncoders {
    /// Opens those of a folder of diffusers or of a single file of Stable Diffusion. A table of tokens of more than
    /// `max_bytes` is cut.
    ///
    /// # Errors
    /// If there are none, one is of a class that is not run, or a file is missing or damaged; the error names it.
    pub fn read(path: &Path, max_bytes: u64) -> Result<Self, Error> {
        if !path.is_dir() {
            return Self::of_file(path, max_bytes);
        }
        let (parts, zeros_without_negative) = parts(path)?;
        let read = |(part, tokenizer): Part| -> Result<TextEncoder, Error> {
            let (network, weights) = read_text_encoder(&path.join(part), max_bytes)?;
            let tokenizer = Some(path.join(tokenizer));
            Ok(TextEncoder { network, weights: Arc::new(weights), tokenizer, pad: None })
        };
        let encoders = parts.into_iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self { encoders, zeros_without_negative })
    }

    fn of_file(path: &Path, max_bytes: u64) -> Result<Self, Error> {
        let file: Arc<dyn TensorFile> = weights::open(path)?.into();
        let read = |place: TextPlace| -> Result<TextEncoder, Error> {
            let network = ClipText::new(place.config(&*file))?.within(max_bytes);
            let weights = Arc::new(place.weights(path, Arc::clone(&file), &network)?);
            let pad = matches!(place, TextPlace::Sd2 | TextPlace::Sdxl2).then_some(0);
            Ok(TextEncoder { network, weights, tokenizer: None, pad })
        };
        let places = TextPlace::of(&*file);
        if places.is_empty() {
            let what = "a file without a text encoder".into();
            return Err(ConfigError::NotRun { path: path.into(), what }.into());
        }
        let zeros_without_negative = places.len() > 1;
        let encoders = places.into_iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self { encoders, zeros_without_negative })
    }

    /// The networks alone: of a folder no weights are read.
    ///
    /// # Errors
    /// As [`TextEncoders::read`].
    pub fn networks(path: &Path, max_bytes: u64) -> Result<Vec<ClipText>, Error> {
        let configs = match path.is_dir() {
            true => {
                let read =
                    |(part, _): Part| ClipTextConfig::read(&path.join(part).join("config.json"));
                parts(path)?.0.into_iter().map(read).collect::<Result<Vec<_>, _>>()?
            }
            false => {
                let file = weights::open(path)?;
                TextPlace::of(&*file).into_iter().map(|place| place.config(&*file)).collect()
            }
        };
        let network = |config| Ok(ClipText::new(config)?.within(max_bytes));
        configs.into_iter().map(network).collect()
    }
}

/// The text encoders that a folder's index names, each with its vocabulary, and whether no negative prompt means
/// zeros.
fn parts(path: &Path) -> Result<(Vec<Part>, bool), Error> {
    let index = path.join(MODEL_INDEX);
    let (class, named) = class(&index)?;
    let is_xl = class.starts_with("StableDiffusionXL");
    let mut parts = Vec::new();
    for (part, class, tokenizer) in PARTS.into_iter().take(if is_xl { 2 } else { 1 }) {
        let expected = json!(["transformers", class]);
        let found = named.get(part).unwrap_or(&Json::Null);
        if *found != expected {
            return Err(TrainingError::pipeline(&index, part, expected, found).into());
        }
        parts.push((part, tokenizer));
    }
    let zeros = named.get("force_zeros_for_empty_prompt").and_then(Json::as_bool);
    Ok((parts, is_xl && zeros.unwrap_or(true)))
}

#[cfg(feature = "tokenizer")]
mod tokens {
    use super::{TextEncoder, TextEncoders};
    use crate::{
        error::{ConfigError, Error, Unexpected},
        models::clip_text::Tokenizer,
    };
    use std::path::Path;

    impl TextEncoder {
        /// The vocabulary: `given`, or else the pipeline's own.
        ///
        /// # Errors
        /// If there is neither, or a file of it is missing or damaged.
        pub fn read_tokenizer(&self, given: Option<&Path>) -> Result<Tokenizer, Error> {
            let none = || {
                let found = "a single file, which holds none";
                ConfigError::Tokenizer(Unexpected::new("folder", "that of a vocabulary", found))
            };
            let folder = given.or(self.tokenizer.as_deref()).ok_or_else(none)?;
            let tokenizer = Tokenizer::read(folder)?;
            Ok(match self.pad {
                Some(pad) => tokenizer.padded_with(pad),
                None => tokenizer,
            })
        }
    }

    impl TextEncoders {
        /// The tokens of texts, for each encoder one text's after another. What does not fit is cut off with a
        /// warning.
        ///
        /// # Errors
        /// As [`TextEncoder::read_tokenizer`].
        pub fn tokens(&self, given: Option<&Path>, texts: &[&str]) -> Result<Vec<Vec<u32>>, Error> {
            let mut all = Vec::new();
            for (number, encoder) in self.encoders.iter().enumerate() {
                let tokenizer = encoder.read_tokenizer(given)?;
                let most = tokenizer.length() - 2;
                for text in texts.iter().filter(|_| number == 0) {
                    let found = tokenizer.tokens(text, MOST).len();
                    if found > most {
                        log::warn!(
                            "prompt of {found} tokens: the first {most} count, the others are cut off"
                        );
                    }
                }
                all.push(texts.iter().flat_map(|text| tokenizer.encode(text)).collect());
            }
            Ok(all)
        }
    }

    /// More tokens than are counted.
    const MOST: usize = 1 << 20;
}

//! What a U-Net reads of a prompt: the embeddings of its tokens.
use crate::{
    error::{DataError, Error, Unexpected, WeightsError},
    models::unet2d_condition::TextUNet,
    nn::Model,
    value::TensorType,
    weights::{self, Stored},
};
use std::path::Path;

/// Numbers that SDXL is told beside a text: height and width of the original picture, top and left of the part,
/// height and width wanted.
const SIZES: usize = 6;

/// Tensors of a file of embeddings, as diffusers calls its arguments.
const TOKENS: [&str; 2] = ["prompt_embeds", "negative_prompt_embeds"];
const POOLED: [&str; 2] = ["pooled_prompt_embeds", "negative_pooled_prompt_embeds"];

/// A text as a U-Net reads it.
///
/// Example: [`PromptEmbeddings`].
#[derive(Clone, Debug, PartialEq)]
pub struct TextEmbedding {
    /// `[tokens, channels]`.
    pub tokens: Vec<f32>,
    /// The text as a whole, of SDXL.
    pub pooled: Option<Vec<f32>>,
}

/// A prompt and what the picture shall not show.
///
/// ```no_run
/// use ddim::latent::{PromptEmbeddings, TextEmbedding};
/// # use ddim::pipeline::{LatentPipeline, Opening};
/// # let model = LatentPipeline::open("model".as_ref(), &Opening::default())?;
///
/// let mut embeddings = PromptEmbeddings::read("prompt.safetensors".as_ref(), &model.unet)?;
/// // Without a negative prompt, guidance leads away from zeros.
/// let zeros = |of: &Vec<f32>| vec![0.0; of.len()];
/// let TextEmbedding { tokens, pooled } = &embeddings.prompt;
/// let nothing = TextEmbedding { tokens: zeros(tokens), pooled: pooled.as_ref().map(zeros) };
/// embeddings.negative.get_or_insert(nothing);
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct PromptEmbeddings {
    /// The prompt.
    pub prompt: TextEmbedding,
    /// What guidance leads away from; without guidance it is not read.
    pub negative: Option<TextEmbedding>,
    /// Number of tokens.
    pub count: usize,
}

impl PromptEmbeddings {
    /// Reads a safetensors file of `prompt_embeds [1, tokens, channels]`, and if it has them
    /// `negative_prompt_embeds`, and for SDXL `pooled_prompt_embeds [1, channels]` and
    /// `negative_pooled_prompt_embeds`.
    ///
    /// # Errors
    /// If the file cannot be read, a tensor that the U-Net needs is missing, has another shape, or is unknown.
    pub fn read(path: &Path, unet: &TextUNet) -> Result<Self, Error> {
        let mut found = weights::read_tensors(path)?;
        let mut take = |name: &str| {
            let at = found.iter().position(|of| of.name == name);
            at.map(|at| found.swap_remove(at))
        };
        let [prompt, negative] = TOKENS.map(&mut take);
        let [pooled, negative_pooled] = POOLED.map(&mut take);
        if let Some(Stored { name, shape, .. }) = found.into_iter().next() {
            let (path, tensor) = (path.into(), name);
            return Err(WeightsError::Unknown { path, tensor, found: shape }.into());
        }
        let width = unet.config().context_width();
        let count = prompt.as_ref().and_then(|of| of.shape.iter().rev().nth(1)).copied();
        let count = count.filter(|count| *count > 0);
        let count = count.unwrap_or(unet.context_type(1).map_or(0, |of| of.shape[1]));
        let tokens = |of, name| elements(path, name, of, &[1, count, width]);
        let pool = |of: Option<Stored>, name| {
            let Some(width) = pooled_width(unet) else { return Ok(None) };
            elements(path, name, of, &[1, width]).map(Some)
        };
        let prompt =
            TextEmbedding { tokens: tokens(prompt, TOKENS[0])?, pooled: pool(pooled, POOLED[0])? };
        let negative = match negative {
            None => None,
            negative => Some(TextEmbedding {
                tokens: tokens(negative, TOKENS[1])?,
                pooled: pool(negative_pooled, POOLED[1])?,
            }),
        };
        Ok(Self { prompt, negative, count })
    }

    /// What a sampler is told: the tokens, with guidance those of the negative prompt first, and SDXL's vectors for
    /// pictures of `[height, width]`, if the U-Net takes any.
    pub(crate) fn conditions(
        &self,
        unet: &TextUNet,
        guided: bool,
        size: [usize; 2],
    ) -> Result<(Vec<f32>, Option<Vec<f32>>), Error> {
        let none = || {
            let expected = "the embeddings of a negative prompt, for guidance leads away from it";
            DataError::from(Unexpected::new(TOKENS[1], expected, "none"))
        };
        let negative = match guided {
            true => Some(self.negative.as_ref().ok_or_else(none)?),
            false => None,
        };
        let texts: Vec<&TextEmbedding> = negative.into_iter().chain([&self.prompt]).collect();
        let context: Vec<f32> = texts.iter().flat_map(|text| text.tokens.clone()).collect();
        let expected = unet.context_type(texts.len());
        let width = context.len() / (texts.len() * self.count).max(1);
        let found = Some(TensorType::f32(&[texts.len(), self.count.max(1), width.max(1)]));
        if expected != found {
            return Err(Error::Context { expected, found });
        }
        let told = texts.into_iter().map(|text| vector(unet, text, size));
        let told = told.collect::<Result<Option<Vec<_>>, Error>>()?;
        Ok((context, told.map(|vectors| vectors.concat())))
    }
}

/// What SDXL's U-Net is told beside the tokens of a text, of a whole picture of `[height, width]`; none of another U-Net.
pub(super) fn vector(
    unet: &TextUNet,
    text: &TextEmbedding,
    size: [usize; 2],
) -> Result<Option<Vec<f32>>, Error> {
    let Some(expected) = unet.vector_type(1) else { return Ok(None) };
    let [height, width] = size.map(|side| side as f32);
    let sizes: [f32; SIZES] = [height, width, 0.0, 0.0, height, width];
    let none = || Error::Vector { expected: Some(expected), found: None };
    let pooled = text.pooled.as_ref().ok_or_else(none)?;
    let vector = unet.config().vector(pooled, &sizes);
    if vector.len() != expected.shape.elements() {
        let found = Some(TensorType::f32(&[1, vector.len().max(1)]));
        return Err(Error::Vector { expected: Some(expected), found });
    }
    Ok(Some(vector))
}

/// Channels of a pooled text, if the U-Net reads one.
fn pooled_width(unet: &TextUNet) -> Option<usize> {
    let all = unet.vector_type(1)?.shape.last();
    let sizes = SIZES * unet.config().addition_time_embed_dim.unwrap_or(0);
    Some(all.saturating_sub(sizes))
}

/// The elements of a tensor of this shape.
fn elements(
    path: &Path,
    name: &str,
    stored: Option<Stored>,
    expected: &[usize],
) -> Result<Vec<f32>, WeightsError> {
    let (path, tensor, expected) = (path.into(), name.into(), expected.to_vec());
    match stored {
        None => Err(WeightsError::Missing { path, tensor, expected }),
        Some(Stored { shape: found, .. }) if found != expected => {
            Err(WeightsError::Shape { path, tensor, expected, found })
        }
        Some(stored) => Ok(stored.numbers.into_f32()),
    }
}

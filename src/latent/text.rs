//! From the tokens of a prompt to what a U-Net reads: the text encoders on a device.
use super::prompt::{PromptEmbeddings, TextEmbedding};
use crate::{
    error::{ConfigError, Error, Unexpected},
    gpu::{Executor, Gpu},
    graph::Graph,
    models::clip_text::{ClipText, TextInputs},
    nn::{Arenas, FrozenModel, ParameterSource},
    passes,
    pipeline::TextEncoders,
    plan::{Plan, Target},
    value::Value,
};

/// Texts in a text encoder, for a U-Net to read.
struct TextGraph {
    graph: Graph,
    inputs: TextInputs,
    model: FrozenModel,
    pooled: Option<Value>,
}

impl TextGraph {
    /// Of SDXL, whose U-Net reads two encoders, the last layer but one counts, not normed.
    fn new(target: &Target, network: &ClipText, texts: usize, two: bool) -> Result<Self, Error> {
        let (mut graph, tokens) = (Graph::new(), network.config().max_position_embeddings);
        let inputs = TextInputs::inputs(&mut graph, texts, tokens);
        let (limit, mut pooled) = (target.max_binding, None);
        let arenas = Arenas::new(network.parameters()?, limit);
        let model =
            FrozenModel::adapted(&mut graph, arenas, network.adapters(), limit, |layers| {
                let outputs = network.build(layers, &inputs)?;
                pooled = outputs.text_embeds.filter(|_| two);
                let states = &outputs.hidden_states;
                Ok(if two { states[states.len() - 2] } else { outputs.last_hidden_state })
            })?;
        graph.outputs.push(model.prediction);
        graph.outputs.extend(pooled);
        Ok(Self { graph, inputs, model, pooled })
    }
}

/// The plan of a text encoder for so many texts; `two` if it is one of SDXL's.
///
/// # Errors
/// If the target cannot run it.
///
/// ```
/// use ddim::{latent::text_plan, models::clip_text::{ClipText, ClipTextConfig}, plan::Target};
///
/// let config = ClipTextConfig { num_hidden_layers: 2, ..ClipTextConfig::default() };
/// let encoder = ClipText::new(config)?;
/// // A prompt and what guidance leads away from.
/// let plan = text_plan(&Target::default(), &encoder, 2, false)?;
/// assert!(plan.dispatches().count() > 0);
/// # Ok::<(), ddim::Error>(())
/// ```
pub fn text_plan(
    target: &Target,
    network: &ClipText,
    texts: usize,
    two: bool,
) -> Result<Plan, Error> {
    passes::compile(&TextGraph::new(target, network, texts, two)?.graph, target)
}

/// A text encoder on the device, for so many texts at a time.
pub(super) struct TextExecutor {
    executor: Executor,
    inputs: TextInputs,
    states: Value,
    pooled: Option<Value>,
    texts: usize,
}

impl TextExecutor {
    /// Puts the weights on the device; `two` if the encoder is one of SDXL's.
    pub(super) fn new(
        gpu: &Gpu,
        network: &ClipText,
        weights: &dyn ParameterSource,
        texts: usize,
        two: bool,
    ) -> Result<Self, Error> {
        let TextGraph { graph, inputs, model, pooled } =
            TextGraph::new(gpu.target(), network, texts, two)?;
        let mut executor = Executor::new(gpu, passes::compile(&graph, gpu.target())?)?;
        for (value, pieces) in model.pieces(weights)? {
            executor.write_pieces(value, pieces)?;
        }
        let tokens = network.config().max_position_embeddings;
        executor.write_u32(inputs.positions, &ClipText::positions(texts, tokens))?;
        Ok(Self { executor, inputs, states: model.prediction, pooled, texts })
    }

    /// What the encoder makes of the tokens of the texts, one text's after another.
    pub(super) fn encode(
        &mut self,
        network: &ClipText,
        ids: &[u32],
    ) -> Result<Vec<TextEmbedding>, Error> {
        self.executor.write_u32(self.inputs.ids, ids)?;
        if self.pooled.is_some() {
            let rows = network.pooled_rows(ids, ids.len() / self.texts);
            self.executor.write_u32(self.inputs.pooled_rows, &rows)?;
        }
        self.executor.run(1)?;
        let states = self.executor.read(self.states)?;
        let pooled = self.pooled.map(|value| self.executor.read(value)).transpose()?;
        let part = |all: &[f32], text: usize| {
            let elements = all.len() / self.texts;
            all[text * elements..][..elements].to_vec()
        };
        let embedding = |text| TextEmbedding {
            tokens: part(&states, text),
            pooled: pooled.as_deref().map(|all| part(all, text)),
        };
        Ok((0..self.texts).map(embedding).collect())
    }
}

/// Tokens of a text, and how many texts there are: `ids` has those of all texts for each encoder.
///
/// # Errors
/// If the tokens do not fit an encoder, or the encoders not each other.
pub(super) fn check_tokens(encoders: &TextEncoders, ids: &[Vec<u32>]) -> Result<[usize; 2], Error> {
    let mut found: Option<[usize; 2]> = None;
    for (encoder, ids) in encoders.encoders.iter().zip(ids) {
        let config = encoder.network.config();
        let tokens = config.max_position_embeddings;
        let fits = !ids.is_empty() && ids.len().is_multiple_of(tokens);
        let expected = format!("texts of {tokens} tokens (max_position_embeddings)");
        let wrong = |of| Error::from(ConfigError::Tokenizer(of));
        Unexpected::check(fits, "tokens", expected, ids.len()).map_err(wrong)?;
        if let Some(id) = ids.iter().find(|id| **id as usize >= config.vocab_size) {
            let expected = format!("below {}, the text encoder's vocab_size", config.vocab_size);
            return Err(wrong(Unexpected::new("token", expected, id)));
        }
        let [count, texts] = *found.get_or_insert([tokens, ids.len() / tokens]);
        let wrong = |of| Error::from(ConfigError::Text(of));
        let expected = format!("{count}, as in the first text encoder");
        Unexpected::check(tokens == count, "max_position_embeddings", expected, tokens)
            .map_err(wrong)?;
        let (expected, number) = (format!("{texts}, as of the first"), ids.len() / tokens);
        Unexpected::check(number == texts, "texts", expected, number).map_err(wrong)?;
    }
    let none = || ConfigError::Tokenizer(Unexpected::new("texts", "a prompt", "none"));
    Ok(found.ok_or_else(none)?)
}

impl PromptEmbeddings {
    /// Encodes a prompt from its tokens, for each encoder those of `[negative, prompt]` or of the prompt alone: see
    /// `TextEncoders::tokens`. One encoder is on the device at a time.
    ///
    /// # Errors
    /// If the tokens do not fit an encoder, the encoders not each other, or one not the device.
    pub fn encode(gpu: &Gpu, text: &TextEncoders, ids: &[Vec<u32>]) -> Result<Self, Error> {
        let [count, texts] = check_tokens(text, ids)?;
        let (two, mut all) = (text.encoders.len() > 1, Vec::<TextEmbedding>::new());
        for (number, (encoder, ids)) in text.encoders.iter().zip(ids).enumerate() {
            let (network, weights) = (&encoder.network, &*encoder.weights);
            let found =
                TextExecutor::new(gpu, network, weights, texts, two)?.encode(network, ids)?;
            all = if number == 0 { found } else { join(all, found, count) };
        }
        let none = || ConfigError::Tokenizer(Unexpected::new("texts", "a prompt", "none"));
        let prompt = all.pop().ok_or_else(none)?;
        let zeros = |of: &Vec<f32>| vec![0.0; of.len()];
        let nothing = || TextEmbedding {
            tokens: zeros(&prompt.tokens),
            pooled: prompt.pooled.as_ref().map(zeros),
        };
        let negative = all.pop().or_else(|| text.zeros_without_negative.then(nothing));
        Ok(Self { prompt, negative, count })
    }
}

/// Texts of so many tokens as SDXL's U-Net reads them: the channels of both encoders, and of the second the whole text.
pub(super) fn join(
    first: Vec<TextEmbedding>,
    second: Vec<TextEmbedding>,
    count: usize,
) -> Vec<TextEmbedding> {
    let join = |(one, other): (TextEmbedding, TextEmbedding)| TextEmbedding {
        tokens: side_by_side(&one.tokens, &other.tokens, count),
        pooled: other.pooled,
    };
    first.into_iter().zip(second).map(join).collect()
}

/// Channels of two texts of so many tokens one after another.
fn side_by_side(one: &[f32], other: &[f32], tokens: usize) -> Vec<f32> {
    let width = |of: &[f32]| (of.len() / tokens).max(1);
    let rows = one.chunks(width(one)).zip(other.chunks(width(other)));
    rows.flat_map(|(one, other)| [one, other].concat()).collect()
}

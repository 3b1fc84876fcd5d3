//! CLIP's text encoder: Radford et al. 2021, section 2.4. A transformer whose tokens see those before them.
//!
//! ```
//! use ddim::models::clip_text::{ClipText, ClipTextConfig, TextInputs};
//! # use ddim::{graph::Graph, nn::trace, value::TensorType};
//!
//! let encoder = ClipText::new(ClipTextConfig::default())?;
//! let (parameters, read) = trace(Graph::new(), |layers| {
//!     let inputs = TextInputs::inputs(layers.graph, 2, 77);
//!     let outputs = encoder.build(layers, &inputs)?;
//!     Ok(layers.graph.type_of(outputs.last_hidden_state))
//! })?;
//! assert_eq!(read, TensorType::f32(&[2, 77, 512]));
//! let elements: usize = parameters.iter().map(|of| of.of.shape.elements()).sum();
//! assert_eq!(elements, 63_165_952);
//! # Ok::<(), ddim::Error>(())
//! ```
//!
//! With the feature `tokenizer` a prompt becomes tokens. A whole program: `examples/tokens.rs`.
#[cfg(feature = "tokenizer")]
mod byte_pairs;
mod config;
#[cfg(feature = "tokenizer")]
mod tokenizer;

pub use config::{ClipTextConfig, TextActivation};
#[cfg(feature = "tokenizer")]
pub use tokenizer::Tokenizer;

use crate::{
    error::{ConfigError, Error},
    graph::Graph,
    nn::{Adapters, Layers, ParameterSpec, trace},
    ops::{Add, Attention, GatherRows, Gelu, QuickGelu},
    value::{ElementType, TensorType, Value},
};

/// A text encoder.
///
/// Example: [`crate::models::clip_text`].
#[derive(Clone, Debug, PartialEq)]
pub struct ClipText {
    config: ClipTextConfig,
    /// Most rows of the table of tokens that one parameter holds.
    rows: usize,
    adapters: Option<Adapters>,
}

/// Inputs of a text encoder.
///
/// Example: [`crate::models::clip_text`].
#[derive(Clone, Copy, Debug)]
pub struct TextInputs {
    /// Tokens `u32[batch, tokens]`.
    pub ids: Value,
    /// Their places, `u32[batch, tokens]`: [`ClipText::positions`].
    pub positions: Value,
    /// Rows of `last_hidden_state` that stand for a text, `u32[batch]`: [`ClipText::pooled_rows`].
    pub pooled_rows: Value,
}

/// Values of a text encoder; whoever reads none of one computes none.
///
/// Example: [`crate::models::clip_text`].
#[derive(Clone, Debug)]
pub struct TextOutputs {
    /// What the table has for the tokens, `[batch, tokens, channels]`.
    pub token_embeddings: Value,
    /// The embeddings and then each layer's output, of the same shape, none through the final norm.
    pub hidden_states: Vec<Value>,
    /// The last of them through the final norm.
    pub last_hidden_state: Value,
    /// The last but one through the final norm: what Stable Diffusion 2 attends to.
    pub penultimate_norm: Value,
    /// The row of `last_hidden_state` at each text's end, `[batch, channels]`.
    pub pooled: Value,
    /// Its projection `[batch, projection_dim]`, if the model has one.
    pub text_embeds: Option<Value>,
}

impl TextInputs {
    /// Adds inputs for so many texts of so many tokens.
    pub fn inputs(graph: &mut Graph, batch: usize, tokens: usize) -> Self {
        let [ids, positions] = [(); 2].map(|()| graph.input(TensorType::u32(&[batch, tokens])));
        Self { ids, positions, pooled_rows: graph.input(TensorType::u32(&[batch])) }
    }
}

impl ClipText {
    /// The encoder with these settings.
    ///
    /// # Errors
    /// As [`ClipTextConfig::check`].
    pub fn new(config: ClipTextConfig) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self { config, rows: usize::MAX, adapters: None })
    }

    /// The same with a table of tokens that is cut by rows into parts of at most `max_bytes`.
    pub fn within(self, max_bytes: u64) -> Self {
        let row = TensorType::f32(&[1, self.config.hidden_size]).bytes();
        Self { rows: usize::try_from(max_bytes / row).unwrap_or(usize::MAX).max(1), ..self }
    }

    /// The same with adapters of its layers.
    #[must_use]
    pub fn with_adapters(self, adapters: Adapters) -> Self {
        Self { adapters: Some(adapters), ..self }
    }

    /// The adapters of its layers.
    pub fn adapters(&self) -> Option<&Adapters> {
        self.adapters.as_ref()
    }

    /// The settings.
    pub fn config(&self) -> &ClipTextConfig {
        &self.config
    }

    /// The parameters, in the order in which the layers ask for them.
    ///
    /// # Errors
    /// None, for the settings were checked.
    pub fn parameters(&self) -> Result<Vec<ParameterSpec>, Error> {
        let (parameters, _) = trace(Graph::new(), |layers| {
            let inputs = TextInputs::inputs(layers.graph, 1, 1);
            self.build(layers, &inputs)
        })?;
        Ok(parameters)
    }

    /// Places of the tokens of so many texts, row-major.
    pub fn positions(batch: usize, tokens: usize) -> Vec<u32> {
        (0..batch).flat_map(|_| 0..tokens as u32).collect()
    }

    /// The row that stands for each text among the rows of all: where its end is, which is the first
    /// token that ends it, or in files of before 2023, `eos_token_id` 2, the first of the largest number.
    /// Without an end it is the text's first row, as in transformers.
    pub fn pooled_rows(&self, ids: &[u32], tokens: usize) -> Vec<u32> {
        let end = |text: &[u32]| {
            let end = match self.config.eos_token_id {
                2 => text.iter().max().copied(),
                eos => Some(eos),
            };
            text.iter().position(|id| Some(*id) == end).unwrap_or(0)
        };
        let rows = ids.chunks(tokens).enumerate();
        rows.map(|(number, text)| (number * tokens + end(text)) as u32).collect()
    }

    /// Appends the encoder.
    ///
    /// # Errors
    /// If the inputs do not fit it, or a parameter is missing.
    pub fn build(&self, layers: &mut Layers, inputs: &TextInputs) -> Result<TextOutputs, Error> {
        let eps = self.config.layer_norm_eps;
        let mut outputs = layers.scope("text_model", |layers| {
            let (token_embeddings, mut h) = self.embeddings(layers, inputs)?;
            let mut hidden_states = vec![h];
            for layer in 0..self.config.num_hidden_layers {
                let scope = format!("encoder.layers.{layer}");
                h = layers.scope(&scope, |layers| self.layer(layers, h))?;
                hidden_states.push(h);
            }
            let penultimate = hidden_states[hidden_states.len() - 2];
            let last_hidden_state = layers.layer_norm("final_layer_norm", h, eps)?;
            let penultimate_norm = layers.layer_norm("final_layer_norm", penultimate, eps)?;
            let rows = GatherRows::of(ElementType::F32);
            let pooled = layers.push(rows, &[inputs.pooled_rows, last_hidden_state])?;
            Ok::<_, Error>(TextOutputs {
                token_embeddings,
                hidden_states,
                last_hidden_state,
                penultimate_norm,
                pooled,
                text_embeds: None,
            })
        })?;
        if self.config.projects() {
            let width = self.config.projection_dim;
            let embeds = layers.projection("text_projection", outputs.pooled, width)?;
            outputs.text_embeds = Some(embeds);
        }
        Ok(outputs)
    }

    /// The tokens' rows of the table, and these with their places'.
    fn embeddings(
        &self,
        layers: &mut Layers,
        inputs: &TextInputs,
    ) -> Result<(Value, Value), Error> {
        let ClipTextConfig { vocab_size, hidden_size, max_position_embeddings, .. } = self.config;
        layers.scope("embeddings", |layers| {
            let (name, ids) = ("token_embedding", inputs.ids);
            let tokens = layers.cut_embedding(name, ids, [vocab_size, hidden_size], self.rows)?;
            let name = "position_embedding";
            let positions = inputs.positions;
            let places = layers.embedding(name, positions, max_position_embeddings, hidden_size)?;
            Ok((tokens, layers.push(Add, &[tokens, places])?))
        })
    }

    /// A layer: attention, then a perceptron, each after a norm and beside its operand.
    fn layer(&self, layers: &mut Layers, x: Value) -> Result<Value, Error> {
        let ClipTextConfig { hidden_size: width, layer_norm_eps: eps, .. } = self.config;
        let h = layers.layer_norm("layer_norm1", x, eps)?;
        let h = layers.scope("self_attn", |layers| {
            let q = layers.linear("q_proj", h, width)?;
            let k = layers.linear("k_proj", h, width)?;
            let v = layers.linear("v_proj", h, width)?;
            let attention = Attention { heads: self.config.num_attention_heads, causal: true };
            let h = layers.push(attention, &[q, k, v])?;
            layers.linear("out_proj", h, width)
        })?;
        let x = layers.push(Add, &[x, h])?;
        let h = layers.layer_norm("layer_norm2", x, eps)?;
        let h = layers.scope("mlp", |layers| {
            let h = layers.linear("fc1", h, self.config.intermediate_size)?;
            let h = match self.config.hidden_act {
                TextActivation::QuickGelu => layers.push(QuickGelu, &[h])?,
                TextActivation::Gelu => layers.push(Gelu, &[h])?,
            };
            layers.linear("fc2", h, width)
        })?;
        layers.push(Add, &[x, h])
    }
}

//! diffusers' `UNet2DConditionModel` of Stable Diffusion 1.x, 2.x and XL: a U-Net whose levels have transformers, which
//! attend to the tokens of a text. Rombach et al. 2022, section 3.3; Podell et al. 2023, section 2.
//!
//! ```
//! use ddim::{models::{PerLevel, unet2d_condition::{TextUNet, TextUNetConfig}}, nn::Model};
//! # use ddim::value::TensorType;
//!
//! // Stable Diffusion 1.x.
//! let cross_attention_dim = PerLevel::All(768);
//! let unet = TextUNet::new(TextUNetConfig { cross_attention_dim, ..TextUNetConfig::default() })?;
//! assert_eq!(unet.context_type(1), Some(TensorType::f32(&[1, 77, 768])));
//! let elements: usize = unet.parameters()?.iter().map(|of| of.of.shape.elements()).sum();
//! assert_eq!(elements, 859_520_964);
//! # Ok::<(), ddim::Error>(())
//! ```
//!
//! A whole program: `examples/latent_speed.rs`.
mod config;
mod transformer;

pub use config::{
    AddedEmbedding, LabelEmbedding, TextDownBlock, TextMidBlock, TextUNetConfig, TextUpBlock,
};

use super::{
    blocks::{Attend, Blocks, Level, SAME, two_layers},
    per_level::PerLevel,
    unet2d::TimeScaleShift,
};
use crate::{
    error::Error,
    nn::{self, Adapters, Layers, Model, ModelInputs, ParameterSpec},
    ops::{Add, Scale, TimestepEmbedding},
    value::{TensorType, Value},
};
use transformer::Transformer;

/// Tokens of a text, unless a model is told otherwise: what CLIP reads.
const TOKENS: usize = 77;

/// A U-Net that reads a text.
///
/// ```
/// use ddim::{models::unet2d_condition::*, nn::Model, value::TensorType};
///
/// let unet = TextUNet::new(TextUNetConfig {
///     block_out_channels: vec![64, 128],
///     down_block_types: vec![TextDownBlock::Transformer, TextDownBlock::Plain],
///     mid_block_type: Some(TextMidBlock::UNetMidBlock2DCrossAttn),
///     up_block_types: vec![TextUpBlock::Plain, TextUpBlock::Transformer],
///     class_embed_type: Some(LabelEmbedding::Timestep),
///     ..TextUNetConfig::default()
/// })?;
/// assert_eq!(unet.label_type(2), Some(TensorType::f32(&[2])));
/// let longer = unet.with_tokens(154).context_type(2);
/// assert_eq!(longer, Some(TensorType::f32(&[2, 154, 1280])));
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TextUNet {
    config: TextUNetConfig,
    tokens: usize,
    adapters: Option<Adapters>,
}

impl TextUNet {
    /// The U-Net of this configuration, for texts of 77 tokens.
    ///
    /// # Errors
    /// If the configuration is inconsistent.
    pub fn new(config: TextUNetConfig) -> Result<Self, Error> {
        config.check()?;
        Ok(Self { config, tokens: TOKENS, adapters: None })
    }

    /// The same for texts of so many tokens.
    #[must_use]
    pub fn with_tokens(self, tokens: usize) -> Self {
        Self { tokens, ..self }
    }

    /// The same with adapters of its layers.
    #[must_use]
    pub fn with_adapters(self, adapters: Adapters) -> Self {
        Self { adapters: Some(adapters), ..self }
    }

    /// Its configuration.
    pub fn config(&self) -> &TextUNetConfig {
        &self.config
    }

    /// The parameters, in the order in which the model asks for them.
    ///
    /// # Errors
    /// If the configuration is inconsistent.
    pub fn parameters(&self) -> Result<Vec<ParameterSpec>, Error> {
        let side = 1 << (self.config.levels() - 1);
        nn::parameters(self, [1, side, side])
    }

    /// The transformers of a level, of so many blocks by the number of the residual block before.
    fn transformers<'a>(
        &self,
        context: Value,
        level: usize,
        only_text: bool,
        depths: &'a PerLevel<usize>,
    ) -> Attend<'a> {
        let config = &self.config;
        let of_level = Transformer {
            groups: config.norm_num_groups,
            heads: *config.attention_head_dim.at(level),
            blocks: 0,
            linear: config.use_linear_projection,
            only_text,
            context,
        };
        Box::new(move |layers, number, h| {
            Transformer { blocks: *depths.at(number), ..of_level }.build(layers, h)
        })
    }

    fn down_levels(&self, context: Value) -> Vec<Level<'_>> {
        let config = &self.config;
        let level = |(level, &block): (usize, &TextDownBlock)| {
            let depths = config.transformer_layers_per_block.at(level);
            let only_text = *config.only_cross_attention.at(level);
            let attends = block == TextDownBlock::Transformer;
            Level {
                width: config.block_out_channels[level],
                layers: *config.layers_per_block.at(level),
                attend: attends.then(|| self.transformers(context, level, only_text, depths)),
                whole_block: false,
            }
        };
        config.down_block_types.iter().enumerate().map(level).collect()
    }

    fn up_levels(&self, context: Value) -> Vec<Level<'_>> {
        let config = &self.config;
        let level = |(index, &block): (usize, &TextUpBlock)| {
            let level = config.levels() - 1 - index;
            let own = config.reverse_transformer_layers_per_block.as_ref().map(|of| &of[index]);
            let depths = own.unwrap_or(config.transformer_layers_per_block.at(level));
            let only_text = *config.only_cross_attention.at(level);
            let attends = block == TextUpBlock::Transformer;
            Level {
                width: config.block_out_channels[level],
                layers: config.layers_per_block.at(level) + 1,
                attend: attends.then(|| self.transformers(context, level, only_text, depths)),
                whole_block: false,
            }
        };
        config.up_block_types.iter().enumerate().map(level).collect()
    }

    /// The embedding of timestep, class and vector, before the SiLU.
    fn embedding(&self, layers: &mut Layers, inputs: &ModelInputs) -> Result<Value, Error> {
        let (config, width) = (&self.config, self.config.time_width());
        let sinusoid = TimestepEmbedding {
            width: config.block_out_channels[0],
            flip_sin_to_cos: config.flip_sin_to_cos,
            freq_shift: (config.freq_shift as f64).into(),
            max_period: 10_000.0.into(),
            element: layers.graph.type_of(inputs.x).element,
        };
        let element = sinusoid.element;
        let time = layers.push(sinusoid, &[inputs.timesteps])?;
        let mut embedding = two_layers(layers, "time_embedding", time, width)?;
        if let Some(labels) = inputs.condition.labels {
            const NAME: &str = "class_embedding";
            let class = match config.class_embed_type {
                Some(LabelEmbedding::Timestep) => {
                    let time = layers.push(sinusoid, &[labels])?;
                    two_layers(layers, NAME, time, width)?
                }
                Some(LabelEmbedding::Identity) => labels,
                Some(LabelEmbedding::Projection) => two_layers(layers, NAME, labels, width)?,
                None => {
                    let classes = config.num_class_embeds.unwrap_or(0);
                    layers.embedding(NAME, labels, classes, width)?
                }
            };
            let class = layers.cast(class, element)?;
            embedding = layers.push(Add, &[embedding, class])?;
        }
        if let Some(vector) = inputs.condition.vector {
            let added = two_layers(layers, "add_embedding", vector, width)?;
            let added = layers.cast(added, element)?;
            embedding = layers.push(Add, &[embedding, added])?;
        }
        Ok(embedding)
    }
}

impl Model for TextUNet {
    fn channels(&self) -> usize {
        self.config.in_channels
    }

    fn out_channels(&self) -> usize {
        self.config.out_channels
    }

    /// `u32[batch]` for a table of classes, `f32[batch]` for `timestep`, `f32[batch, width]` for
    /// `identity` and `projection`.
    fn label_type(&self, batch: usize) -> Option<TensorType> {
        let config = &self.config;
        let width = match (config.class_embed_type, config.num_class_embeds) {
            (Some(LabelEmbedding::Timestep), _) => return Some(TensorType::f32(&[batch])),
            (Some(LabelEmbedding::Identity), _) => config.time_width(),
            (Some(LabelEmbedding::Projection), _) => {
                config.projection_class_embeddings_input_dim.unwrap_or(0)
            }
            (None, classes) => return classes.map(|_| TensorType::u32(&[batch])),
        };
        Some(TensorType::f32(&[batch, width]))
    }

    fn context_type(&self, batch: usize) -> Option<TensorType> {
        Some(TensorType::f32(&[batch, self.tokens, self.config.context_width()]))
    }

    fn vector_type(&self, batch: usize) -> Option<TensorType> {
        self.config.addition_embed_type?;
        let width = self.config.projection_class_embeddings_input_dim?;
        Some(TensorType::f32(&[batch, width]))
    }

    fn classes(&self) -> Option<usize> {
        self.config.num_class_embeds.filter(|_| self.config.class_embed_type.is_none())
    }

    fn adapters(&self) -> Option<&Adapters> {
        self.adapters.as_ref()
    }

    fn build(&self, layers: &mut Layers, inputs: &ModelInputs) -> Result<Value, Error> {
        let (config, mut x) = (&self.config, inputs.x);
        let TensorType { shape, element } = layers.graph.type_of(x);
        if let [_, height, width, _] = shape[..] {
            config.check_image(height, width)?;
        }
        inputs.condition.check(layers.graph, self, shape[0])?;
        let context = inputs.condition.context.expect("checked above: the model takes one");
        let context = layers.cast(context, element)?;
        if config.center_input_sample {
            x = layers.push(Scale { scale: 2.0.into(), shift: (-1.0).into() }, &[x])?;
        }
        let embedding = self.embedding(layers, inputs)?;
        let blocks = Blocks {
            groups: config.norm_num_groups,
            eps: config.norm_eps,
            dropout: config.dropout,
            scale_shift: config.resnet_time_scale_shift == TimeScaleShift::ScaleShift,
            embedding: Some(layers.silu(embedding)?),
        };
        let h = layers.conv2d("conv_in", x, config.block_out_channels[0], 3, SAME)?;
        let down = self.down_levels(context);
        let skips = blocks.encoder(layers, h, &down, config.downsample_padding)?;
        let mut h = *skips.last().expect("the first convolution is one of them");
        if config.mid_block_type.is_some() {
            let last = config.levels() - 1;
            // Its transformer attends to the pixels too, whatever those of the levels do.
            let depths = config.transformer_layers_per_block.at(last);
            let attend = self.transformers(context, last, false, depths);
            h = blocks.middle(layers, h, config.mid_block_scale_factor, Some(attend))?;
        }
        let h = blocks.decoder(layers, h, skips, &self.up_levels(context))?;
        blocks.output(layers, h, config.out_channels)
    }
}

//! diffusers' `UNet2DModel` of the DDPM family as graphs: Ho et al. 2020, appendix B; Dhariwal
//! and Nichol 2021 for the scale-and-shift variants.
//!
//! ```
//! use ddim::{models::unet2d::{UNet, UNetConfig}, nn::Weights};
//!
//! let config = UNetConfig::parse(r#"{
//!     "in_channels": 1, "out_channels": 1, "block_out_channels": [32, 64],
//!     "layers_per_block": 1, "norm_num_groups": 8, "attention_head_dim": null,
//!     "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
//!     "up_block_types": ["AttnUpBlock2D", "UpBlock2D"]
//! }"#)?;
//! let unet = UNet::new(config)?;
//! assert_eq!(Weights::initial(&unet.parameters()?, 0).elements(), 701_345);
//! # Ok::<(), ddim::Error>(())
//! ```
//!
//! A whole program: `examples/digits.rs`.
mod config;

pub use config::{
    Activation, ClassEmbedding, DownBlock, MidBlock, Resampling, SampleSize, TimeEmbedding,
    TimeScaleShift, UNetConfig, UpBlock,
};

use super::blocks::{Attend, Blocks, Level, SAME, two_layers};
use crate::{
    data::AUGMENT_LABELS,
    error::Error,
    nn::{self, Layers, Model, ModelInputs, ParameterSpec},
    ops::{Add, Constant, Scale, TimestepEmbedding},
    value::{TensorType, Value},
};

/// The layer of what was done to images, which is in training alone.
pub(crate) const AUGMENT_EMBEDDING: &str = "augment_embedding";

/// A U-Net of a given architecture.
///
/// ```
/// use ddim::models::unet2d::{DownBlock, MidBlock, UNet, UNetConfig, UpBlock};
///
/// let unet = UNet::new(UNetConfig {
///     block_out_channels: vec![32, 64],
///     down_block_types: vec![DownBlock::Plain, DownBlock::Attention],
///     mid_block_type: Some(MidBlock::UNetMidBlock2D),
///     up_block_types: vec![UpBlock::Attention, UpBlock::Plain],
///     num_class_embeds: Some(11),
///     ..UNetConfig::default()
/// })?;
/// // The last row of the classes may stand for none.
/// assert_eq!(unet.null_label(), Some(10));
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct UNet {
    config: UNetConfig,
    /// Is it told what was done to its images?
    augmented: bool,
}

/// What the first half of a U-Net computes.
pub(super) struct Encoded {
    /// Its blocks.
    pub blocks: Blocks,
    /// What each block of the encoder leaves: the skip connections.
    pub skips: Vec<Value>,
    /// What the middle leaves.
    pub h: Value,
}

impl UNet {
    /// The U-Net of this configuration.
    ///
    /// # Errors
    /// If the configuration is inconsistent.
    pub fn new(config: UNetConfig) -> Result<Self, Error> {
        config.check()?;
        Ok(Self { config, augmented: false })
    }

    /// The same, told what was done to each image: the numbers of [`data::Loader::told`](crate::data::Loader::told), by a
    /// linear layer without a bias, are added to the embedding (Karras et al. 2022, appendix F.2). Of zeros nothing is
    /// added, so that the model that samples has no such layer.
    pub fn augmented(self, augmented: bool) -> Self {
        Self { augmented, ..self }
    }

    /// Its configuration.
    pub fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// The label that stands for none in a model trained with dropped labels: the last row of its
    /// table of classes, if it has one.
    pub fn null_label(&self) -> Option<u32> {
        self.classes().filter(|classes| *classes > 1).map(|classes| classes as u32 - 1)
    }

    /// The parameters, in the order in which the model asks for them.
    ///
    /// # Errors
    /// If the configuration is inconsistent.
    pub fn parameters(&self) -> Result<Vec<ParameterSpec>, Error> {
        let side = 1 << (self.config.levels() - 1);
        nn::parameters(self, [1, side, side])
    }

    /// The first half: embedding, encoder and middle.
    pub(super) fn encode(
        &self,
        layers: &mut Layers,
        inputs: &ModelInputs,
    ) -> Result<Encoded, Error> {
        let config = &self.config;
        let mut x = inputs.x;
        if let [_, height, width, _] = layers.graph.type_of(x).shape[..] {
            config.check_image(height, width)?;
        }
        if config.center_input_sample {
            x = layers.push(Scale { scale: 2.0.into(), shift: (-1.0).into() }, &[x])?;
        }
        let embedding = self.embedding(layers, inputs)?;
        let blocks = Blocks {
            groups: config.norm_num_groups,
            eps: config.norm_eps,
            dropout: config.dropout,
            scale_shift: config.resnet_time_scale_shift == TimeScaleShift::ScaleShift,
            // Each residual block takes silu(embedding): computed once.
            embedding: Some(layers.silu(embedding)?),
        };
        let first = config.conv_in_channels.unwrap_or(config.block_out_channels[0]);
        let h = layers.conv2d("conv_in", x, first, 3, SAME)?;
        let levels = config.down_block_types.iter().zip(&config.block_out_channels);
        let levels = levels.map(|(&block, &width)| {
            let attention = block == DownBlock::Attention;
            let resnet = attention && config.downsample_type == Resampling::Resnet;
            let whole_block = block == DownBlock::Resnet || resnet;
            self.level(blocks, width, config.layers_per_block, attention, whole_block)
        });
        let levels: Vec<_> = levels.collect();
        let skips = blocks.encoder(layers, h, &levels, config.downsample_padding)?;
        let mut h = *skips.last().expect("the first convolution is one of them");
        if config.mid_block_type.is_some() {
            let factor = config.mid_block_scale_factor;
            let groups = config.middle_norm_groups();
            let attend = self.attend(blocks, config.deepest_channels(), groups, factor);
            let attend = config.has_middle_attention().then_some(attend);
            h = blocks.middle(layers, h, factor, attend)?;
        }
        Ok(Encoded { blocks, skips, h })
    }

    /// The attention after a residual block.
    fn attend(
        &self,
        blocks: Blocks,
        width: usize,
        groups: Option<usize>,
        factor: f64,
    ) -> Attend<'static> {
        let heads = self.config.heads(width);
        Box::new(move |layers, _, h| blocks.attention(layers, h, heads, groups, factor))
    }

    fn level(
        &self,
        blocks: Blocks,
        width: usize,
        layers: usize,
        attention: bool,
        whole_block: bool,
    ) -> Level<'static> {
        let attend = attention.then(|| self.attend(blocks, width, Some(blocks.groups), 1.0));
        Level { width, layers, attend, whole_block }
    }

    fn decode(&self, layers: &mut Layers, encoded: Encoded) -> Result<Value, Error> {
        let (Encoded { blocks, skips, h }, config) = (encoded, &self.config);
        let levels = config.up_block_types.iter().zip(config.block_out_channels.iter().rev());
        let levels = levels.map(|(&block, &width)| {
            let attention = block == UpBlock::Attention;
            let resnet = attention && config.upsample_type == Resampling::Resnet;
            let whole_block = block == UpBlock::Resnet || resnet;
            self.level(blocks, width, config.layers_per_block + 1, attention, whole_block)
        });
        let levels: Vec<_> = levels.collect();
        let h = blocks.decoder(layers, h, skips, &levels)?;
        blocks.output(layers, h, config.out_channels)
    }

    /// The embedding of timestep and class, before the SiLU.
    fn embedding(&self, layers: &mut Layers, inputs: &ModelInputs) -> Result<Value, Error> {
        let config = &self.config;
        let of_x = layers.graph.type_of(inputs.x);
        let width = config.time_width();
        let sinusoid = TimestepEmbedding {
            width: config.time_proj(),
            flip_sin_to_cos: config.flip_sin_to_cos,
            freq_shift: (config.freq_shift as f64).into(),
            max_period: 10_000.0.into(),
            element: of_x.element,
        };
        let mlp = |layers: &mut Layers, scope: &str, t: Value| {
            let h = layers.push(sinusoid, &[t])?;
            two_layers(layers, scope, h, width)
        };
        let told = match config.time_embedding_type {
            TimeEmbedding::Positional => inputs.timesteps,
            TimeEmbedding::None => {
                let of = layers.graph.type_of(inputs.timesteps);
                layers.push(Constant { of, number: 0.0.into() }, &[])?
            }
        };
        let time = mlp(layers, "time_embedding", told)?;
        inputs.condition.check(layers.graph, self, of_x.shape[0])?;
        let time = match inputs.condition.vector {
            Some(told) => {
                let told = layers.cast(told, of_x.element)?;
                let told = layers.projection(AUGMENT_EMBEDDING, told, width)?;
                layers.push(Add, &[time, told])?
            }
            None => time,
        };
        let Some(labels) = inputs.condition.labels else { return Ok(time) };
        let class = match (config.class_embed_type, config.num_class_embeds) {
            (Some(ClassEmbedding::Timestep), _) => mlp(layers, "class_embedding", labels)?,
            (Some(ClassEmbedding::Identity), _) => layers.cast(labels, of_x.element)?,
            (None, classes) => {
                let class =
                    layers.embedding("class_embedding", labels, classes.unwrap_or(0), width)?;
                layers.cast(class, of_x.element)?
            }
        };
        layers.push(Add, &[time, class])
    }
}

impl Model for UNet {
    fn channels(&self) -> usize {
        self.config.in_channels
    }

    fn out_channels(&self) -> usize {
        self.config.out_channels
    }

    /// `u32[batch]` for a table of classes, `f32[batch]` for `timestep`, `f32[batch, width]` for
    /// `identity`.
    fn label_type(&self, batch: usize) -> Option<TensorType> {
        match (self.config.class_embed_type, self.config.num_class_embeds) {
            (Some(ClassEmbedding::Timestep), _) => Some(TensorType::f32(&[batch])),
            (Some(ClassEmbedding::Identity), _) => {
                Some(TensorType::f32(&[batch, self.config.time_width()]))
            }
            (None, Some(_)) => Some(TensorType::u32(&[batch])),
            (None, None) => None,
        }
    }

    fn vector_type(&self, batch: usize) -> Option<TensorType> {
        self.augmented.then(|| TensorType::f32(&[batch, AUGMENT_LABELS]))
    }

    fn classes(&self) -> Option<usize> {
        self.config.num_class_embeds.filter(|_| self.config.class_embed_type.is_none())
    }

    fn build(&self, layers: &mut Layers, inputs: &ModelInputs) -> Result<Value, Error> {
        let encoded = self.encode(layers, inputs)?;
        self.decode(layers, encoded)
    }
}

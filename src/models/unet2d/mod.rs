//! diffusers' `UNet2DModel` of the DDPM family as graphs: Ho et al. 2020, appendix B; Dhariwal
//! and Nichol 2021 for the scale-and-shift variants.
pub(crate) mod blocks;
mod config;

pub use config::{
    Activation, ClassEmbedding, DownBlock, MidBlock, Resampling, SampleSize, TimeEmbedding,
    TimeScaleShift, UNetConfig, UpBlock,
};

use crate::{
    error::Error,
    nn::{self, Layers, Model, ModelInputs, ParameterSpec},
    ops::{Add, Concat, Constant, Conv2d, Scale, TimestepEmbedding},
    value::{TensorType, Value},
};
use blocks::{Blocks, Resample, SAME, resample};

/// A U-Net of a given architecture.
#[derive(Clone, Debug)]
pub struct UNet {
    config: UNetConfig,
}

/// What the first half of a U-Net computes.
pub(super) struct Encoded<'a> {
    /// Its blocks.
    pub blocks: Blocks<'a>,
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
        Ok(Self { config })
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
    ) -> Result<Encoded<'_>, Error> {
        let config = &self.config;
        let mut x = inputs.x;
        if let [_, height, width, _] = layers.graph.type_of(x).shape[..] {
            config.check_image(height, width)?;
        }
        if config.center_input_sample {
            x = layers.push(Scale { scale: 2.0.into(), shift: (-1.0).into() }, &[x])?;
        }
        let embedding = self.embedding(layers, inputs)?;
        // Each residual block takes silu(embedding): computed once.
        let blocks = Blocks { config, embedding: layers.silu(embedding)? };
        let first = config.conv_in_channels.unwrap_or(config.block_out_channels[0]);
        let h = layers.conv2d("conv_in", x, first, 3, SAME)?;
        let skips = self.encoder(layers, blocks, h)?;
        let h = *skips.last().expect("the first convolution is one of them");
        let h = self.middle(layers, blocks, h)?;
        Ok(Encoded { blocks, skips, h })
    }

    /// The skip connections of the encoder, the last of them its result.
    fn encoder(
        &self,
        layers: &mut Layers,
        blocks: Blocks,
        mut h: Value,
    ) -> Result<Vec<Value>, Error> {
        let config = &self.config;
        let channels = &config.block_out_channels;
        let mut skips = vec![h];
        for (level, (&block, &width)) in config.down_block_types.iter().zip(channels).enumerate() {
            let attention = block == DownBlock::Attention;
            let whole_block = block == DownBlock::Resnet
                || attention && config.downsample_type == Resampling::Resnet;
            let last = level + 1 == channels.len();
            layers.scope(&format!("down_blocks.{level}"), |layers| {
                for layer in 0..config.layers_per_block {
                    h = self.layer(layers, blocks, layer, h, width, attention)?;
                    skips.push(h);
                }
                if last {
                    return Ok::<_, Error>(());
                }
                h = layers.scope("downsamplers.0", |layers| {
                    if whole_block {
                        return blocks.resnet(layers, h, width, 1.0, Resample::Down);
                    }
                    // Zero on the right and at the bottom, or on all four sides.
                    let first = config.downsample_padding;
                    let halving = Conv2d { stride: 2, padding: [first, 1, first, 1] };
                    layers.conv2d("conv", h, width, 3, halving)
                })?;
                skips.push(h);
                Ok(())
            })?;
        }
        Ok(skips)
    }

    /// A residual block, and an attention if the level has any.
    fn layer(
        &self,
        layers: &mut Layers,
        blocks: Blocks,
        layer: usize,
        x: Value,
        width: usize,
        attention: bool,
    ) -> Result<Value, Error> {
        let h = layers.scope(&format!("resnets.{layer}"), |layers| {
            blocks.resnet(layers, x, width, 1.0, Resample::None)
        })?;
        if !attention {
            return Ok(h);
        }
        layers.scope(&format!("attentions.{layer}"), |layers| {
            blocks.attention(layers, h, Some(self.config.norm_num_groups), 1.0)
        })
    }

    fn middle(&self, layers: &mut Layers, blocks: Blocks, h: Value) -> Result<Value, Error> {
        let config = &self.config;
        if config.mid_block_type.is_none() {
            return Ok(h);
        }
        let (width, factor) = (config.deepest_channels(), config.mid_block_scale_factor);
        let resnet = |layers: &mut Layers, name, x| {
            layers.scope(name, |layers| blocks.resnet(layers, x, width, factor, Resample::None))
        };
        layers.scope("mid_block", |layers| {
            let mut h = resnet(layers, "resnets.0", h)?;
            if config.has_middle_attention() {
                h = layers.scope("attentions.0", |layers| {
                    blocks.attention(layers, h, config.middle_norm_groups(), factor)
                })?;
            }
            resnet(layers, "resnets.1", h)
        })
    }

    fn decoder(
        &self,
        layers: &mut Layers,
        blocks: Blocks,
        mut h: Value,
        mut skips: Vec<Value>,
    ) -> Result<Value, Error> {
        let config = &self.config;
        let channels = &config.block_out_channels;
        let reversed = channels.iter().rev();
        for (level, (&block, &width)) in config.up_block_types.iter().zip(reversed).enumerate() {
            let attention = block == UpBlock::Attention;
            let whole_block =
                block == UpBlock::Resnet || attention && config.upsample_type == Resampling::Resnet;
            let last = level + 1 == channels.len();
            h = layers.scope(&format!("up_blocks.{level}"), |layers| {
                for layer in 0..=config.layers_per_block {
                    let skip = skips.pop().expect("each decoder layer has its encoder's output");
                    h = layers.push(Concat, &[h, skip])?;
                    h = self.layer(layers, blocks, layer, h, width, attention)?;
                }
                if last {
                    return Ok(h);
                }
                layers.scope("upsamplers.0", |layers| {
                    if whole_block {
                        return blocks.resnet(layers, h, width, 1.0, Resample::Up);
                    }
                    let h = resample(layers, h, Resample::Up)?;
                    layers.conv2d("conv", h, width, 3, SAME)
                })
            })?;
        }
        Ok(h)
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
        let mlp = |layers: &mut Layers, scope: &str, t: Value| -> Result<Value, Error> {
            layers.scope(scope, |layers| {
                let h = layers.push(sinusoid, &[t])?;
                let h = layers.linear("linear_1", h, width)?;
                let h = layers.silu(h)?;
                layers.linear("linear_2", h, width)
            })
        };
        let told = match config.time_embedding_type {
            TimeEmbedding::Positional => inputs.timesteps,
            TimeEmbedding::None => {
                let of = layers.graph.type_of(inputs.timesteps);
                layers.push(Constant { of, number: 0.0.into() }, &[])?
            }
        };
        let time = mlp(layers, "time_embedding", told)?;
        let labels = match (inputs.condition.labels, self.label_type(of_x.shape[0])) {
            (None, None) => return Ok(time),
            (Some(labels), Some(of)) if layers.graph.type_of(labels) == of => labels,
            (found, expected) => {
                let found = found.map(|labels| layers.graph.type_of(labels));
                return Err(Error::Labels { expected, found });
            }
        };
        let class = match (config.class_embed_type, config.num_class_embeds) {
            (Some(ClassEmbedding::Timestep), _) => mlp(layers, "class_embedding", labels)?,
            (Some(ClassEmbedding::Identity), _) => labels,
            (None, classes) => {
                layers.embedding("class_embedding", labels, classes.unwrap_or(0), width)?
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

    fn classes(&self) -> Option<usize> {
        self.config.num_class_embeds.filter(|_| self.config.class_embed_type.is_none())
    }

    fn build(&self, layers: &mut Layers, inputs: &ModelInputs) -> Result<Value, Error> {
        let config = &self.config;
        let Encoded { blocks, skips, h } = self.encode(layers, inputs)?;
        let h = self.decoder(layers, blocks, h, skips)?;
        let h = layers.group_norm("conv_norm_out", h, config.norm_num_groups, config.norm_eps)?;
        let h = layers.silu(h)?;
        layers.conv2d("conv_out", h, config.out_channels, 3, SAME)
    }
}

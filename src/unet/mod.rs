//! diffusers' `UNet2DModel` of the DDPM family as graphs: Ho et al. 2020, appendix B; Dhariwal
//! and Nichol 2021 for the scale-and-shift variants.
pub(crate) mod blocks;
pub mod config;
mod parameters;

pub use config::UNetConfig;
pub use parameters::{ArenaLayout, Initial, ParameterSpec, Place, Views};

use crate::{
    error::Error,
    graph::Graph,
    ops::{Add, Concat, GatherRows, Scale, Silu, TimestepEmbedding},
    value::{ElementType, TensorType, Value},
};
use blocks::{Builder, Resample};
use config::{ClassEmbedding, DownBlock, Resampling, UpBlock};

/// What a U-Net computes from.
#[derive(Clone, Copy, Debug)]
pub struct UNetInputs {
    /// Noisy images `[batch, height, width, in_channels]`.
    pub x: Value,
    /// `f32[batch]`.
    pub timesteps: Value,
    /// Class labels: `u32[batch]` for a table, `f32[batch]` for `timestep`, `f32[batch, width]`
    /// for `identity`. Needed if and only if the model is class-conditional.
    pub labels: Option<Value>,
    /// The step's `key u32[8]`: given in training, where dropout draws from it.
    pub key: Option<Value>,
}

/// A U-Net with its weights.
#[derive(Clone, Copy, Debug)]
pub struct TrainedUNet<'a> {
    /// The architecture.
    pub unet: &'a UNet,
    /// Where the parameters lie in the arenas.
    pub layout: &'a ArenaLayout,
    /// The arenas' contents; none, if only the plan is wanted.
    pub arenas: &'a [Vec<f32>],
}

/// A U-Net of a given architecture.
#[derive(Clone, Debug)]
pub struct UNet {
    config: UNetConfig,
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

    /// Type of the labels for `batch` images, if the model takes any.
    pub fn label_type(&self, batch: usize) -> Option<TensorType> {
        match (self.config.class_embed_type, self.config.num_class_embeds) {
            (Some(ClassEmbedding::Timestep), _) => Some(TensorType::f32(&[batch])),
            (Some(ClassEmbedding::Identity), _) => {
                Some(TensorType::f32(&[batch, self.config.time_width()]))
            }
            (None, Some(_)) => Some(TensorType::u32(&[batch])),
            (None, None) => None,
        }
    }

    /// The label that stands for none in a model trained with dropped labels: the last row of its
    /// table of classes, if it has one.
    pub fn null_label(&self) -> Option<u32> {
        let classes = self.config.num_class_embeds.filter(|&classes| classes > 1)?;
        self.config.class_embed_type.is_none().then_some(classes as u32 - 1)
    }

    /// The parameters, in the order in which the model uses them.
    ///
    /// # Errors
    /// If the configuration is inconsistent.
    pub fn parameters(&self) -> Result<Vec<ParameterSpec>, Error> {
        let side = 1 << (self.config.levels() - 1);
        let mut graph = Graph::new();
        let inputs = UNetInputs {
            x: graph.input(TensorType::f32(&[1, side, side, self.config.in_channels])),
            timesteps: graph.input(TensorType::f32(&[1])),
            labels: self.label_type(1).map(|of| graph.input(of)),
            key: None,
        };
        let mut specs = Vec::new();
        let mut source = |graph: &mut Graph, spec: ParameterSpec| {
            let value = graph.input(spec.of);
            specs.push(spec);
            Ok(value)
        };
        self.trace(&mut graph, inputs, &mut source)?;
        Ok(specs)
    }

    /// Appends the model to `graph` and returns its output, `[batch, height, width,
    /// out_channels]`: the predicted noise.
    ///
    /// # Errors
    /// If the levels do not divide the image, or an input has the wrong type.
    pub fn build(
        &self,
        graph: &mut Graph,
        inputs: UNetInputs,
        parameters: &Views,
    ) -> Result<Value, Error> {
        let shape = graph.type_of(inputs.x).shape;
        if let [_, height, width, _] = shape[..] {
            self.config.check_image(height, width)?;
        }
        self.trace(graph, inputs, &mut |_, spec| {
            parameters.get(&spec.name).ok_or(Error::MissingParameter { name: spec.name })
        })
    }

    fn trace(
        &self,
        graph: &mut Graph,
        inputs: UNetInputs,
        source: blocks::Source,
    ) -> Result<Value, Error> {
        let config = &self.config;
        let mut b =
            Builder { graph, source, config, key: inputs.key, stream: 0, embedding: inputs.x };
        let mut x = inputs.x;
        if config.center_input_sample {
            x = b.graph.push(Scale { scale: 2.0.into(), shift: (-1.0).into() }, &[x])?;
        }
        let embedding = self.embedding(&mut b, &inputs)?;
        // Each residual block takes silu(embedding): computed once.
        b.embedding = b.graph.push(Silu, &[embedding])?;

        let channels = &config.block_out_channels;
        let mut h = b.conv("conv_in", x, channels[0], 3, 1, [1; 4])?;
        let mut skips = vec![h];
        for (level, (&block, &width)) in config.down_block_types.iter().zip(channels).enumerate() {
            let attention = block == DownBlock::Attention;
            let last = level + 1 == channels.len();
            (h, skips) = b.scope(&format!("down_blocks.{level}"), |b| {
                let mut skips = std::mem::take(&mut skips);
                for layer in 0..config.layers_per_block {
                    h = b.resnet(&format!("resnets.{layer}"), h, width, 1.0, Resample::None)?;
                    if attention {
                        let groups = Some(config.norm_num_groups);
                        h = b.attention(&format!("attentions.{layer}"), h, groups, 1.0)?;
                    }
                    skips.push(h);
                }
                if !last {
                    let by_resnet = attention && config.downsample_type == Resampling::Resnet;
                    h = b.scope("downsamplers.0", |b| {
                        if by_resnet {
                            return b.resnet("", h, width, 1.0, Resample::Down);
                        }
                        // Zero on the right and at the bottom, or on all four sides.
                        let first = config.downsample_padding;
                        b.conv("conv", h, width, 3, 2, [first, 1, first, 1])
                    })?;
                    skips.push(h);
                }
                Ok::<_, Error>((h, skips))
            })?;
        }

        if config.mid_block_type.is_some() {
            let (width, factor) = (config.deepest_channels(), config.mid_block_scale_factor);
            h = b.scope("mid_block", |b| {
                let mut h = b.resnet("resnets.0", h, width, factor, Resample::None)?;
                if config.has_middle_attention() {
                    h = b.attention("attentions.0", h, config.middle_norm_groups(), factor)?;
                }
                b.resnet("resnets.1", h, width, factor, Resample::None)
            })?;
        }

        let reversed = channels.iter().rev();
        for (level, (&block, &width)) in config.up_block_types.iter().zip(reversed).enumerate() {
            let attention = block == UpBlock::Attention;
            let last = level + 1 == channels.len();
            h = b.scope(&format!("up_blocks.{level}"), |b| {
                for layer in 0..=config.layers_per_block {
                    let skip = skips.pop().expect("each decoder layer has its encoder's output");
                    h = b.graph.push(Concat, &[h, skip])?;
                    h = b.resnet(&format!("resnets.{layer}"), h, width, 1.0, Resample::None)?;
                    if attention {
                        let groups = Some(config.norm_num_groups);
                        h = b.attention(&format!("attentions.{layer}"), h, groups, 1.0)?;
                    }
                }
                if last {
                    return Ok(h);
                }
                b.scope("upsamplers.0", |b| {
                    if attention && config.upsample_type == Resampling::Resnet {
                        return b.resnet("", h, width, 1.0, Resample::Up);
                    }
                    let h = b.resample(h, Resample::Up)?;
                    b.conv("conv", h, width, 3, 1, [1; 4])
                })
            })?;
        }
        h = b.group_norm("conv_norm_out", h, config.norm_num_groups)?;
        h = b.graph.push(Silu, &[h])?;
        b.conv("conv_out", h, config.out_channels, 3, 1, [1; 4])
    }

    /// The embedding of timestep and class, before the SiLU.
    fn embedding(&self, b: &mut Builder, inputs: &UNetInputs) -> Result<Value, Error> {
        let config = &self.config;
        let element = b.graph.type_of(inputs.x).element;
        let width = config.time_width();
        let sinusoid = TimestepEmbedding {
            width: config.block_out_channels[0],
            flip_sin_to_cos: config.flip_sin_to_cos,
            freq_shift: (config.freq_shift as f64).into(),
            max_period: 10_000.0.into(),
            element,
        };
        let mlp = |b: &mut Builder, scope: &str, t: Value| -> Result<Value, Error> {
            b.scope(scope, |b| {
                let h = b.graph.push(sinusoid, &[t])?;
                let h = b.linear("linear_1", h, width)?;
                let h = b.graph.push(Silu, &[h])?;
                b.linear("linear_2", h, width)
            })
        };
        let time = mlp(b, "time_embedding", inputs.timesteps)?;
        let batch = b.graph.type_of(inputs.x).shape[0];
        let labels = match (inputs.labels, self.label_type(batch)) {
            (None, None) => return Ok(time),
            (Some(labels), Some(of)) if b.graph.type_of(labels) == of => labels,
            (found, expected) => {
                let found = found.map(|labels| b.graph.type_of(labels));
                return Err(Error::Labels { expected, found });
            }
        };
        let class = match (config.class_embed_type, config.num_class_embeds) {
            (Some(ClassEmbedding::Timestep), _) => mlp(b, "class_embedding", labels)?,
            (Some(ClassEmbedding::Identity), _) => labels,
            (None, classes) => {
                let of = TensorType::f32(&[classes.unwrap_or(0), width]);
                let table = b.parameter("class_embedding.weight", of, Initial::Normal)?;
                let gather = GatherRows { element: ElementType::F32 };
                b.graph.push(gather, &[labels, table])?
            }
        };
        b.graph.push(Add, &[time, class])
    }
}

//! Stable Diffusion 1.x, 2.x and XL: what one file tells of its configuration, with or without its yml. Above 300 lines, for the
//! words of the yml and those of diffusers stand together.
use super::{
    latent::{LatentUnet, LatentVae},
    settings,
    shapes::{Shapes, Told},
};
use crate::{
    diffusion::schedule::{BetaSchedule, PredictionType, SchedulerConfig},
    error::{ConfigError, WeightsError},
    models::PerLevel,
    weights::{Below, TensorFile},
};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use std::path::Path;

/// Where the parts lie.
pub(super) const UNET: &str = "model.diffusion_model.";
pub(super) const VAE: &str = "first_stage_model.";

/// Sines and cosines of each of the six sizes that SDXL is told.
const SIZE_CHANNELS: usize = 256;

/// The training's losses, which some files keep beside the autoencoder.
const LOSS: &str = "loss.";

/// What the yml says that no shape tells, and what the shapes tell where it says otherwise.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Params {
    scale_factor: Option<f64>,
    linear_start: Option<f64>,
    linear_end: Option<f64>,
    timesteps: Option<usize>,
    parameterization: Parameterization,
    unet_config: Part<UnetParams>,
    first_stage_config: Part<VaeParams>,
}

/// What the U-Net predicts.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Parameterization {
    #[default]
    Eps,
    X0,
    V,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Part<T> {
    params: T,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct UnetParams {
    image_size: Option<usize>,
    in_channels: Option<usize>,
    out_channels: Option<usize>,
    model_channels: Option<usize>,
    attention_resolutions: Option<Vec<usize>>,
    num_res_blocks: Option<usize>,
    channel_mult: Option<Vec<usize>>,
    num_heads: Option<i64>,
    num_head_channels: Option<i64>,
    transformer_depth: Option<PerLevel<usize>>,
    adm_in_channels: Option<usize>,
    context_dim: Option<usize>,
    use_linear_in_transformer: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct VaeParams {
    embed_dim: Option<usize>,
    ddconfig: Autoencoder,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Autoencoder {
    z_channels: Option<usize>,
    resolution: Option<usize>,
    in_channels: Option<usize>,
    out_ch: Option<usize>,
    ch: Option<usize>,
    ch_mult: Option<Vec<usize>>,
    num_res_blocks: Option<usize>,
}

/// What a file of Stable Diffusion is.
#[derive(Clone, Debug)]
pub(crate) struct StableDiffusion {
    pub unet: LatentUnet,
    pub vae: Option<LatentVae>,
    params: Params,
}

impl StableDiffusion {
    /// What a file tells, and what its yml says otherwise; `place` is what all names begin with.
    pub fn of(
        file: &dyn TensorFile,
        place: &str,
        given: Option<&Json>,
    ) -> Result<Self, ConfigError> {
        let params: Params = match given {
            None => Params::default(),
            // As its own files have it, or the part alone.
            Some(yml) => settings::typed(yml.pointer("/model/params").unwrap_or(yml))?,
        };
        let part = |name: &str| -> Shapes {
            Below { file, prefix: &format!("{place}{name}") }.tensors().into_iter().collect()
        };
        let (unet, vae) = (part(UNET), part(VAE));
        let unet = unet_of(&unet, &params.unet_config.params);
        let vae = (!vae.is_empty()).then(|| vae_of(&vae, &params.first_stage_config.params));
        Ok(Self { unet, vae, params })
    }

    /// Holds the file's tensors against those of the configuration.
    pub fn check(
        &self,
        path: &Path,
        file: &dyn TensorFile,
        place: &str,
    ) -> Result<(), WeightsError> {
        let vae = self.vae.as_ref().map(|vae| (VAE, vae.tensors()));
        for (part, expected) in [(UNET, self.unet.tensors())].into_iter().chain(vae) {
            let mut found: Shapes =
                Below { file, prefix: &format!("{place}{part}") }.tensors().into_iter().collect();
            for (name, expected) in expected {
                let (path, tensor) = (path.into(), format!("{part}{name}"));
                match found.remove(&name) {
                    None => return Err(WeightsError::Missing { path, tensor, expected }),
                    Some(found) if found != expected => {
                        return Err(WeightsError::Shape { path, tensor, expected, found });
                    }
                    Some(_) => {}
                }
            }
            if let Some((name, found)) = found.into_iter().find(|(name, _)| !name.starts_with(LOSS))
            {
                let (path, tensor) = (path.into(), format!("{part}{name}"));
                return Err(WeightsError::Unknown { path, tensor, found });
            }
        }
        Ok(())
    }

    /// The noise schedule, in diffusers' words: DDIM's, as the original code samples, of SDXL Euler's.
    pub fn scheduler(&self) -> SchedulerConfig {
        let params = &self.params;
        let class = if self.is_xl() { "EulerDiscreteScheduler" } else { "DDIMScheduler" };
        SchedulerConfig {
            class_name: class.into(),
            num_train_timesteps: params.timesteps.unwrap_or(1000),
            beta_start: params.linear_start.unwrap_or(0.00085),
            beta_end: params.linear_end.unwrap_or(0.012),
            beta_schedule: BetaSchedule::ScaledLinear,
            prediction_type: match params.parameterization {
                Parameterization::Eps => PredictionType::Epsilon,
                Parameterization::X0 => PredictionType::Sample,
                Parameterization::V => PredictionType::VPrediction,
            },
            clip_sample: false,
            set_alpha_to_one: false,
            steps_offset: 1,
            ..SchedulerConfig::default()
        }
    }

    /// Which of the three it is.
    pub fn version(&self) -> &'static str {
        match self.unet.linear {
            _ if self.is_xl() => "Stable Diffusion XL",
            true => "Stable Diffusion 2.x",
            false => "Stable Diffusion 1.x",
        }
    }

    /// Whether a vector stands beside the tokens.
    fn is_xl(&self) -> bool {
        self.unet.vector.is_some()
    }

    /// The U-Net's configuration in diffusers' words.
    pub fn unet_json(&self) -> Json {
        let (unet, given) = (&self.unet, &self.params.unet_config.params);
        let widths = |channels: usize| {
            json!(unet.widths.iter().map(|width| width / channels.max(1)).collect::<Vec<_>>())
        };
        let heads = match (given.num_head_channels, given.num_heads) {
            (Some(channels @ 1..), _) => widths(channels as usize),
            (_, Some(heads @ 1..)) => json!(heads),
            // No shape tells: those of the released files.
            _ if unet.linear => widths(64),
            _ => json!(8),
        };
        let types = |plain: &str, cross: &str| -> Vec<String> {
            let of = |attends: &bool| if *attends { cross } else { plain }.to_owned();
            unet.attention.iter().map(of).collect()
        };
        let mut up = types("UpBlock2D", "CrossAttnUpBlock2D");
        up.reverse();
        let depths = match &unet.depths[..] {
            [first, rest @ ..] if rest.iter().all(|depth| depth == first) => json!(first),
            depths => json!(depths),
        };
        let latents = if self.is_xl() { 128 } else { 64 };
        let mut config = json!({
            "_class_name": "UNet2DConditionModel",
            "sample_size": given.image_size.unwrap_or(latents),
            "in_channels": unet.inputs,
            "out_channels": unet.outputs,
            "center_input_sample": false,
            "flip_sin_to_cos": true,
            "freq_shift": 0,
            "down_block_types": types("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": up,
            "block_out_channels": unet.widths,
            "layers_per_block": unet.layers,
            "transformer_layers_per_block": depths,
            "downsample_padding": 1,
            "mid_block_scale_factor": 1,
            "act_fn": "silu",
            "norm_num_groups": 32,
            "norm_eps": 1e-5,
            "cross_attention_dim": unet.context,
            "attention_head_dim": heads,
            "use_linear_projection": unet.linear,
        });
        if let Some(vector) = unet.vector {
            config["addition_embed_type"] = "text_time".into();
            config["addition_time_embed_dim"] = SIZE_CHANNELS.into();
            config["projection_class_embeddings_input_dim"] = vector.into();
        }
        config
    }

    /// The autoencoder's configuration in diffusers' words.
    pub fn vae_json(&self) -> Option<Json> {
        let vae = self.vae.as_ref()?;
        let levels = vae.widths.len();
        let (side, factor) = if self.is_xl() { (1024, 0.13025) } else { (512, 0.18215) };
        let resolution = self.params.first_stage_config.params.ddconfig.resolution;
        Some(json!({
            "_class_name": "AutoencoderKL",
            "in_channels": vae.inputs,
            "out_channels": vae.outputs,
            "down_block_types": vec!["DownEncoderBlock2D"; levels],
            "up_block_types": vec!["UpDecoderBlock2D"; levels],
            "block_out_channels": vae.widths,
            "layers_per_block": vae.layers,
            "act_fn": "silu",
            "latent_channels": vae.embedded,
            "norm_num_groups": 32,
            "sample_size": resolution.unwrap_or(side),
            "scaling_factor": self.params.scale_factor.unwrap_or(factor),
        }))
    }
}

/// The extent of the first tensor whose name ends so.
fn ending(shapes: &Shapes, end: &str, axis: usize) -> Option<usize> {
    shapes.iter().find(|(name, _)| name.ends_with(end)).and_then(|(_, of)| of.get(axis)).copied()
}

fn multiplied(channels: usize, factors: &[usize]) -> Vec<usize> {
    factors.iter().map(|factor| channels.saturating_mul(*factor)).collect()
}

fn unet_of(shapes: &Shapes, given: &UnetParams) -> LatentUnet {
    let told = Told::of(shapes);
    let channels = given.model_channels.unwrap_or(told.channels);
    let widths = match &given.channel_mult {
        Some(factors) => multiplied(channels, factors),
        None => told.widths,
    };
    let mut attention = match &given.attention_resolutions {
        // Factors of downsampling.
        Some(factors) => {
            (0..widths.len()).map(|level| factors.contains(&(1 << level.min(40)))).collect()
        }
        None => told.attention,
    };
    attention.resize(widths.len(), false);
    let depth = |at: &str| {
        let inside = |block: &usize| {
            let begin = format!("{at}.1.transformer_blocks.{block}.");
            shapes.range(begin.clone()..).next().is_some_and(|(name, _)| name.starts_with(&begin))
        };
        (0..).take_while(inside).count()
    };
    let (levels, layers) = (widths.len(), given.num_res_blocks.unwrap_or(told.layers));
    let depth_of = |level: usize| match attention.get(level) {
        _ if level + 1 == levels => depth("middle_block"),
        Some(true) => depth(&format!("output_blocks.{}", (levels - 1 - level) * (layers + 1))),
        _ => 1,
    };
    let linear = shapes.iter().find(|(name, _)| name.ends_with(".proj_in.weight"));
    LatentUnet {
        inputs: given.in_channels.or(told.inputs).unwrap_or(4),
        outputs: given.out_channels.or(told.outputs).unwrap_or(4),
        channels,
        depths: match &given.transformer_depth {
            Some(PerLevel::All(depth)) => vec![*depth; levels],
            Some(PerLevel::Each(depths)) if depths.len() == levels => depths.clone(),
            _ => (0..levels).map(depth_of).collect(),
        },
        vector: given.adm_in_channels.or(ending(shapes, "label_emb.0.0.weight", 1)),
        widths,
        attention,
        layers,
        context: given.context_dim.or(ending(shapes, ".attn2.to_k.weight", 1)).unwrap_or(0),
        linear: given
            .use_linear_in_transformer
            .unwrap_or_else(|| linear.is_some_and(|(_, shape)| shape.len() == 2)),
    }
}

fn vae_of(shapes: &Shapes, given: &VaeParams) -> LatentVae {
    let extent = |name: &str, axis: usize| shapes.get(name).and_then(|of| of.get(axis)).copied();
    let config = &given.ddconfig;
    let width = |level: usize| {
        ["conv1.weight", "norm2.weight", "conv2.weight"]
            .iter()
            .find_map(|part| extent(&format!("encoder.down.{level}.block.0.{part}"), 0))
    };
    let blocks = (0..).take_while(|block| {
        let inside = format!("encoder.down.0.block.{block}.");
        shapes.keys().any(|name| name.starts_with(&inside))
    });
    let latent = extent("post_quant_conv.weight", 0).or(extent("decoder.conv_in.weight", 1));
    let embedded = extent("post_quant_conv.weight", 1).or(latent);
    LatentVae {
        inputs: config.in_channels.or(extent("encoder.conv_in.weight", 1)).unwrap_or(3),
        outputs: config.out_ch.or(extent("decoder.conv_out.weight", 0)).unwrap_or(3),
        latent: config.z_channels.or(latent).unwrap_or(4),
        embedded: given.embed_dim.or(embedded).unwrap_or(4),
        widths: match (config.ch, &config.ch_mult) {
            (Some(channels), Some(factors)) => multiplied(channels, factors),
            _ => (0..).map_while(width).collect(),
        },
        layers: config.num_res_blocks.unwrap_or_else(|| blocks.count()),
    }
}

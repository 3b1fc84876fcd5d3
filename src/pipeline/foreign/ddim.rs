//! Configurations of the DDIM release: its yml.
use super::{settings, setup::Setup, shapes::Shapes};
use crate::{
    diffusion::schedule::{BetaSchedule, SchedulerConfig, Variance},
    error::{ConfigError, Unexpected},
    models::unet2d::{DownBlock, SampleSize, UNetConfig, UpBlock},
    weights::Names,
};
use serde::Deserialize;
use serde_json::{Value as Json, json};

/// What no shape tells.
pub(super) const MISSING: &str = "data.image_size, model.resamp_with_conv, diffusion.beta_schedule, beta_start, \
                                  beta_end, num_diffusion_timesteps (its yml)";

const SIDES: &str = "attn_resolutions";

#[derive(Deserialize)]
struct Yml {
    data: Data,
    model: Model,
    #[serde(default)]
    diffusion: Diffusion,
}

#[derive(Deserialize)]
struct Data {
    image_size: usize,
}

#[derive(Deserialize)]
struct Model {
    #[serde(default = "simple")]
    r#type: String,
    #[serde(default = "three")]
    in_channels: usize,
    #[serde(default = "three")]
    out_ch: usize,
    ch: usize,
    ch_mult: Vec<usize>,
    num_res_blocks: usize,
    attn_resolutions: Vec<usize>,
    #[serde(default)]
    dropout: f64,
    #[serde(default)]
    var_type: String,
    #[serde(default = "yes")]
    resamp_with_conv: bool,
}

fn simple() -> String {
    "simple".into()
}

fn three() -> usize {
    3
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(default)]
struct Diffusion {
    beta_schedule: BetaSchedule,
    beta_start: f64,
    beta_end: f64,
    num_diffusion_timesteps: usize,
}

impl Default for Diffusion {
    fn default() -> Self {
        let SchedulerConfig { beta_schedule, beta_start, beta_end, num_train_timesteps, .. } =
            SchedulerConfig::default();
        let num_diffusion_timesteps = num_train_timesteps;
        Self { beta_schedule, beta_start, beta_end, num_diffusion_timesteps }
    }
}

/// The model of a yml.
pub(super) fn setup(settings: &Json) -> Result<Setup, ConfigError> {
    let Yml { data, model, diffusion } = settings::typed(settings)?;
    Unexpected::check(model.r#type == "simple", "model.type", "simple", &model.r#type)?;
    let plain = "true: this crate resamples with convolutions";
    Unexpected::check(model.resamp_with_conv, "model.resamp_with_conv", plain, false)?;
    let levels = model.ch_mult.len();
    let attends = |level: usize| {
        model
            .attn_resolutions
            .iter()
            .any(|side| side.checked_shl(level as u32) == Some(data.image_size))
    };
    let down = |level| if attends(level) { DownBlock::Attention } else { DownBlock::Plain };
    let up = |level| if attends(level) { UpBlock::Attention } else { UpBlock::Plain };
    let unet = UNetConfig {
        sample_size: Some(SampleSize::Square(data.image_size)),
        in_channels: model.in_channels,
        out_channels: model.out_ch,
        freq_shift: 1,
        flip_sin_to_cos: false,
        down_block_types: (0..levels).map(down).collect(),
        up_block_types: (0..levels).rev().map(up).collect(),
        block_out_channels: model.ch_mult.iter().map(|of| model.ch.saturating_mul(*of)).collect(),
        conv_in_channels: Some(model.ch).filter(|ch| model.ch_mult.first() != Some(&1) && *ch > 0),
        time_proj_channels: Some(model.ch)
            .filter(|ch| model.ch_mult.first() != Some(&1) && *ch > 0),
        layers_per_block: model.num_res_blocks,
        downsample_padding: 0,
        dropout: model.dropout,
        attention_head_dim: None,
        norm_eps: 1e-6,
        ..UNetConfig::default()
    };
    let scheduler = SchedulerConfig {
        num_train_timesteps: diffusion.num_diffusion_timesteps,
        beta_start: diffusion.beta_start,
        beta_end: diffusion.beta_end,
        beta_schedule: diffusion.beta_schedule,
        variance_type: match &model.var_type[..] {
            "fixedlarge" => Variance::FixedLarge,
            _ => Variance::FixedSmall,
        },
        ..SchedulerConfig::default()
    };
    Ok(Setup { unet, scheduler, names: Names::Ddim { levels } })
}

/// The yml that the shapes tell, at the image size that the levels take at least.
pub(super) fn guess(shapes: &Shapes) -> Json {
    let extent = |name: &str, axis: usize| shapes.get(name).and_then(|of| of.get(axis)).copied();
    let ch = extent("conv_in.weight", 0).unwrap_or(0);
    let width = |level: usize| extent(&format!("down.{level}.block.0.conv1.weight"), 0);
    let widths: Vec<usize> = (0..).map_while(width).collect();
    let mult: Vec<usize> = widths.iter().map(|width| width / ch.max(1)).collect();
    let block = |block: &usize| shapes.contains_key(&format!("down.0.block.{block}.conv1.weight"));
    let attends = |level: &usize| shapes.contains_key(&format!("down.{level}.attn.0.q.weight"));
    let size = 1usize << widths.len().min(40);
    let sides: Vec<usize> = (0..widths.len()).filter(attends).map(|level| size >> level).collect();
    json!({
        "data": { "image_size": size },
        "model": {
            "in_channels": extent("conv_in.weight", 1),
            "out_ch": extent("conv_out.weight", 0),
            "ch": ch,
            "ch_mult": mult,
            "num_res_blocks": (0..).take_while(block).count(),
            "attn_resolutions": sides,
        },
    })
}

/// What the shapes tell, in the words of the yml.
pub(super) fn told(shapes: &Shapes) -> String {
    let yml = guess(shapes);
    let size = yml["data"]["image_size"].as_u64().unwrap_or(1);
    let (mut told, mut sides) = (Vec::new(), Vec::new());
    for (key, value) in yml["model"].as_object().into_iter().flatten() {
        match value.as_array().filter(|_| key == SIDES) {
            Some(list) => {
                let factors = list.iter().filter_map(|side| size.checked_div(side.as_u64()?));
                sides.extend(factors.map(|factor| format!("image_size/{factor}")));
            }
            None => told.push(format!("{key} {value}")),
        }
    }
    told.push(format!("{SIDES} [{}]", sides.join(", ")));
    told.join(", ")
}

//! Configurations of improved-diffusion and guided-diffusion: flags of their command lines (`script_util.py`).
use super::{settings, setup::Setup, shapes::Told};
use crate::{
    diffusion::schedule::{BetaSchedule, PredictionType, SchedulerConfig, Variance},
    error::{ConfigError, Unexpected},
    models::unet2d::{DownBlock, Resampling, SampleSize, TimeScaleShift, UNetConfig, UpBlock},
    weights::{Adm, Heads, Names},
};
use serde::Deserialize;
use serde_json::{Value as Json, json};

/// What no shape tells.
pub(super) const MISSING: &str = "image_size, num_heads or num_head_channels, use_new_attention_order, \
                                  diffusion_steps, noise_schedule (flags of its command line)";

const IMAGE_SIZE: &str = "image_size";
const SIDES: &str = "attention_resolutions";

/// Images are RGB.
const CHANNELS: usize = 3;

/// The flags; one that is not given has the command line's default.
#[derive(Deserialize)]
#[serde(default)]
struct Flags {
    image_size: usize,
    num_channels: usize,
    num_res_blocks: usize,
    num_heads: usize,
    num_heads_upsample: i64,
    num_head_channels: i64,
    #[serde(deserialize_with = "settings::text")]
    attention_resolutions: String,
    #[serde(deserialize_with = "settings::text")]
    channel_mult: String,
    dropout: f64,
    class_cond: bool,
    num_classes: Option<usize>,
    use_scale_shift_norm: bool,
    resblock_updown: bool,
    use_new_attention_order: bool,
    learn_sigma: bool,
    sigma_small: bool,
    diffusion_steps: usize,
    noise_schedule: BetaSchedule,
    predict_xstart: bool,
}

impl Default for Flags {
    fn default() -> Self {
        Self {
            image_size: 64,
            num_channels: 128,
            num_res_blocks: 2,
            num_heads: 4,
            num_heads_upsample: -1,
            num_head_channels: -1,
            attention_resolutions: "16,8".into(),
            channel_mult: String::new(),
            dropout: 0.0,
            class_cond: false,
            num_classes: None,
            use_scale_shift_norm: true,
            resblock_updown: false,
            use_new_attention_order: false,
            learn_sigma: false,
            sigma_small: false,
            diffusion_steps: 1000,
            noise_schedule: BetaSchedule::Linear,
            predict_xstart: false,
        }
    }
}

fn numbers(key: &str, text: &str) -> Result<Vec<f64>, ConfigError> {
    let number = |word: &str| {
        let number = word.trim().parse::<f64>().ok().filter(|of| *of > 0.0 && *of < 1e6);
        Ok(number
            .ok_or_else(|| Unexpected::new(key, "numbers above 0 with commas between", word))?)
    };
    text.split(',').filter(|word| !word.trim().is_empty()).map(number).collect()
}

impl Flags {
    /// The factors of the levels' channels.
    fn multipliers(&self) -> Result<Vec<f64>, ConfigError> {
        let text = match (&self.channel_mult[..], self.image_size) {
            ("", 512) => "0.5,1,1,2,2,4,4",
            ("", 256) => "1,1,2,2,4,4",
            ("", 128) => "1,1,2,3,4",
            ("", 64) => "1,2,3,4",
            ("", 32) => "1,2,2,2",
            ("", size) => {
                let expected = "given, unless image_size is 32, 64, 128, 256 or 512";
                return Err(
                    Unexpected::new("channel_mult", expected, format!("none, at {size}")).into()
                );
            }
            (given, _) => given,
        };
        numbers("channel_mult", text)
    }

    fn heads(&self) -> Result<Heads, ConfigError> {
        if let Ok(width @ 1..) = usize::try_from(self.num_head_channels) {
            return Ok(Heads::Channels(width));
        }
        let fits = [-1, self.num_heads as i64].contains(&self.num_heads_upsample);
        let expected = "-1 or num_heads: as many heads in the decoder as in the encoder";
        Unexpected::check(fits, "num_heads_upsample", expected, self.num_heads_upsample)?;
        Ok(Heads::Count(self.num_heads))
    }

    fn scheduler(&self) -> SchedulerConfig {
        // Theirs is stretched with the number of steps: the same betas' sum.
        let scale = 1000.0 / self.diffusion_steps.max(1) as f64;
        SchedulerConfig {
            num_train_timesteps: self.diffusion_steps,
            beta_start: scale * 1e-4,
            beta_end: scale * 0.02,
            beta_schedule: self.noise_schedule,
            variance_type: match (self.learn_sigma, self.sigma_small) {
                (true, _) => Variance::LearnedRange,
                (false, true) => Variance::FixedSmall,
                (false, false) => Variance::FixedLarge,
            },
            prediction_type: match self.predict_xstart {
                true => PredictionType::Sample,
                false => PredictionType::Epsilon,
            },
            ..SchedulerConfig::default()
        }
    }
}

/// Heads as diffusers says them, by their channels, or where it cannot by their number.
fn by_width(heads: Heads, widths: &[usize], attention: &[bool]) -> (Option<usize>, Option<usize>) {
    let deepest = widths.last().copied().unwrap_or(0);
    let mut attended = widths.iter().zip(attention).filter(|(_, attends)| **attends);
    match heads {
        Heads::Channels(width) => (Some(width), None),
        // The middle has attention too.
        Heads::Count(count @ 1..)
            if deepest.is_multiple_of(count) && attended.all(|(width, _)| *width == deepest) =>
        {
            (Some(deepest / count), None)
        }
        Heads::Count(count) => (None, Some(count)),
    }
}

/// The model of a command line; `file` tells what the two projects do differently.
pub(super) fn setup(settings: &Json, file: &Told) -> Result<Setup, ConfigError> {
    let flags: Flags = settings::typed(settings)?;
    let multipliers = flags.multipliers()?;
    let sides = numbers("attention_resolutions", &flags.attention_resolutions)?;
    let width = |factor: &f64| (flags.num_channels as f64 * factor) as usize;
    let widths: Vec<usize> = multipliers.iter().map(width).collect();
    let attends = |level: usize| {
        sides.iter().any(|&side| flags.image_size / (side as usize).max(1) == 1 << level.min(40))
    };
    let levels = widths.len();
    let attention: Vec<bool> = (0..levels).map(attends).collect();
    let heads = flags.heads()?;
    let first = widths.first().copied();
    let (head_dim, count) = by_width(heads, &widths, &attention);
    let (plain_down, plain_up, resampling) = match flags.resblock_updown {
        true => (DownBlock::Resnet, UpBlock::Resnet, Resampling::Resnet),
        false => (DownBlock::Plain, UpBlock::Plain, Resampling::Conv),
    };
    let down = |of: &bool| if *of { DownBlock::Attention } else { plain_down };
    let up = |of: &bool| if *of { UpBlock::Attention } else { plain_up };
    let classes = flags.num_classes.or(file.classes).unwrap_or(1000);
    let other = Some(flags.num_channels).filter(|channels| Some(*channels) != first);
    let unet = UNetConfig {
        sample_size: Some(SampleSize::Square(flags.image_size)),
        in_channels: CHANNELS,
        out_channels: if flags.learn_sigma { 2 * CHANNELS } else { CHANNELS },
        down_block_types: attention.iter().map(down).collect(),
        up_block_types: attention.iter().rev().map(up).collect(),
        block_out_channels: widths,
        layers_per_block: flags.num_res_blocks,
        downsample_type: resampling,
        upsample_type: resampling,
        dropout: flags.dropout,
        attention_head_dim: head_dim,
        num_attention_heads: count,
        // guided-diffusion widens the first convolution with the finest level, improved-diffusion does not.
        conv_in_channels: other.filter(|channels| file.first == Some(*channels)),
        time_proj_channels: other,
        attn_norm_num_groups: flags.use_scale_shift_norm.then_some(32),
        resnet_time_scale_shift: match flags.use_scale_shift_norm {
            true => TimeScaleShift::ScaleShift,
            false => TimeScaleShift::Default,
        },
        num_class_embeds: flags.class_cond.then_some(classes),
        ..UNetConfig::default()
    };
    let names = Names::Adm(Adm {
        layers: flags.num_res_blocks,
        attention: attention.into_iter().rev().collect(),
        interleaved: (!flags.use_new_attention_order).then_some(heads),
    });
    Ok(Setup { unet, scheduler: flags.scheduler(), names })
}

/// The flags that the shapes tell, at the image size that the levels take at least.
pub(super) fn guess(file: &Told) -> Json {
    let size = 1usize << file.widths.len().min(40);
    let mult: Vec<String> = file
        .widths
        .iter()
        .map(|width| (*width as f64 / file.channels.max(1) as f64).to_string())
        .collect();
    let attention = file.attention.iter().enumerate().filter(|(_, attends)| **attends);
    let sides: Vec<String> = attention.map(|(level, _)| (size >> level).to_string()).collect();
    json!({
        "image_size": size,
        "num_channels": file.channels,
        "channel_mult": mult.join(","),
        "num_res_blocks": file.layers,
        "attention_resolutions": sides.join(","),
        "learn_sigma": file.outputs == Some(2 * CHANNELS),
        "class_cond": file.classes.is_some(),
        "num_classes": file.classes,
        "use_scale_shift_norm": file.scale_shift,
        "resblock_updown": file.whole_blocks,
    })
}

/// What the shapes tell, in the words of the command line.
pub(super) fn told(file: &Told) -> String {
    let flags = guess(file);
    let told = flags
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, value)| !value.is_null() && ![IMAGE_SIZE, SIDES].contains(&&key[..]));
    let mut told: Vec<String> = told.map(|(key, value)| format!("{key} {value}")).collect();
    let attention = file.attention.iter().enumerate().filter(|(_, attends)| **attends);
    let sides: Vec<String> =
        attention.map(|(level, _)| format!("image_size/{}", 1usize << level.min(40))).collect();
    told.push(format!("{SIDES} \"{}\"", sides.join(",")));
    told.join(", ")
}

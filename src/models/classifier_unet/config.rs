//! The flags of guided-diffusion's classifiers (`script_util.py`, `create_classifier`), as a `config.json`.
use crate::{
    error::{ConfigError, FileError, Unexpected},
    files,
    models::unet2d::{DownBlock, Resampling, SampleSize, TimeScaleShift, UNetConfig, UpBlock},
};
use serde::{Deserialize, Serialize};
use std::path::Path;

const CLASS: &str = "EncoderUNetModel";

/// Groups of every norm.
const GROUPS: usize = 32;

/// The most classes of a classifier, and channels of an image.
const MOST: usize = 1 << 20;

/// Widths of the levels relative to the first, by the size of the image, where `channel_mult` is "".
const MULTIPLES: [(usize, &str); 4] =
    [(512, "0.5,1,1,2,2,4,4"), (256, "1,1,2,2,4,4"), (128, "1,1,2,3,4"), (64, "1,2,3,4")];

/// From the pixels of the coarsest level to the classes.
///
/// Example: [`ClassifierConfig`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// Their mean.
    Adaptive,
    /// Attention of their mean to each of them.
    #[default]
    Attention,
    /// The means of every block, and two layers.
    Spatial,
}

/// The flags of a classifier, by guided-diffusion's names. What a file leaves out is as there.
///
/// ```
/// use ddim::models::classifier_unet::{ClassifierConfig, Pool};
///
/// let config = ClassifierConfig::parse(r#"{"image_size": 128, "classifier_pool": "spatial"}"#)?;
/// assert_eq!((config.num_classes, config.classifier_pool), (1000, Pool::Spatial));
/// assert_eq!(ClassifierConfig::parse(&config.to_json())?, config);
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClassifierConfig {
    /// The class that opens the weights there.
    #[serde(rename = "_class_name")]
    pub class_name: String,
    /// Height and width of the images.
    pub image_size: usize,
    /// Channels of the images: 3 there.
    pub in_channels: usize,
    /// Number of classes: 1000 there.
    pub num_classes: usize,
    /// Channels that `channel_mult` multiplies.
    pub classifier_width: usize,
    /// Residual blocks of a level.
    pub classifier_depth: usize,
    /// Sides of the images that have attention, like `32,16,8`.
    pub classifier_attention_resolutions: String,
    /// Does the time scale and shift after the second norm of a block?
    pub classifier_use_scale_shift_norm: bool,
    /// Do residual blocks halve the images, in place of convolutions?
    pub classifier_resblock_updown: bool,
    /// From pixels to classes.
    pub classifier_pool: Pool,
    /// Widths of the levels relative to `classifier_width`, finest first; "" for those of the image's size.
    pub channel_mult: String,
    /// Channels of an attention head: 64 there.
    pub num_head_channels: usize,
}

impl Default for ClassifierConfig {
    fn default() -> Self {
        Self {
            class_name: CLASS.into(),
            image_size: 64,
            in_channels: 3,
            num_classes: 1000,
            classifier_width: 128,
            classifier_depth: 2,
            classifier_attention_resolutions: "32,16,8".into(),
            classifier_use_scale_shift_norm: true,
            classifier_resblock_updown: true,
            classifier_pool: Pool::Attention,
            channel_mult: String::new(),
            num_head_channels: 64,
        }
    }
}

/// The numbers of a list like `1,2,3`.
fn numbers(key: &str, text: &str) -> Result<Vec<f64>, Unexpected> {
    let parts = text.split(',').map(|part| part.trim().parse().ok());
    let list: Option<Vec<f64>> = parts.collect();
    let fits = |list: &Vec<f64>| list.iter().all(|number| number.is_finite() && *number > 0.0);
    list.filter(fits).ok_or_else(|| Unexpected::new(key, "numbers like 1,2,3", format!("{text:?}")))
}

impl ClassifierConfig {
    /// Reads a `config.json` of these flags; warns of keys that are not known.
    ///
    /// # Errors
    /// If the file cannot be read, or as [`ClassifierConfig::parse`]; both name the file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = files::read_json(path).map_err(FileError::at(path))?;
        let read = || {
            let (config, keys): (Self, _) =
                files::parse_config(&text, &[]).map_err(ConfigError::ClassifierJson)?;
            files::warn_of_others::<Self>(path, &keys, &[]);
            config.check()?;
            Ok(config)
        };
        read().map_err(ConfigError::at::<ConfigError>(path))
    }

    /// Reads the text of a `config.json` and checks it.
    ///
    /// # Errors
    /// If it is not JSON, a value has the wrong type, or as [`ClassifierConfig::check`].
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let (config, _): (Self, _) =
            files::parse_config(text, &[]).map_err(ConfigError::ClassifierJson)?;
        config.check()?;
        Ok(config)
    }

    /// The text of a `config.json`.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain fields with string keys are JSON") + "\n"
    }

    /// Checks the flags against their ranges and each other.
    ///
    /// # Errors
    /// If one does not fit: the error names the flag, what it may be, and what it is.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.encoder()?.check()
    }

    /// Refuses images of another height, width or number of channels.
    ///
    /// # Errors
    /// The error says which they should be.
    pub fn check_images(&self, found: &[usize]) -> Result<(), Unexpected> {
        let wanted = [self.image_size, self.image_size, self.in_channels];
        let text = |of: &[usize]| of.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
        let expected = format!("images of {}", text(&wanted));
        Unexpected::check(found == wanted, "image_size", expected, text(found))
    }

    /// The U-Net whose first half this is.
    pub(super) fn encoder(&self) -> Result<UNetConfig, ConfigError> {
        self.levels().map_err(ConfigError::Classifier)
    }

    fn levels(&self) -> Result<UNetConfig, Unexpected> {
        let (side, width) = (self.image_size, self.classifier_width);
        Unexpected::check(self.class_name == CLASS, "_class_name", CLASS, &self.class_name)?;
        for (key, found) in [
            ("image_size", side),
            ("in_channels", self.in_channels),
            ("num_classes", self.num_classes),
            ("classifier_width", width),
            ("num_head_channels", self.num_head_channels),
        ] {
            Unexpected::check((1..=MOST).contains(&found), key, format!("1 to {MOST}"), found)?;
        }
        let multiples = match &self.channel_mult[..] {
            "" => MULTIPLES.iter().find(|(size, _)| *size == side).map(|(_, text)| *text),
            text => Some(text),
        };
        let expected = format!("given, for images of {side}x{side}");
        let multiples =
            multiples.ok_or_else(|| Unexpected::new("channel_mult", expected, "\"\""))?;
        let multiples = numbers("channel_mult", multiples)?;
        let channels: Vec<usize> =
            multiples.iter().map(|multiple| (multiple * width as f64) as usize).collect();
        let fits = |channels: &usize| *channels > 0 && channels.is_multiple_of(GROUPS);
        if let Some(found) = channels.iter().find(|channels| !fits(channels)) {
            let expected = format!("multiples of {GROUPS} channels, the groups of every norm");
            return Err(Unexpected::new("classifier_width", expected, found));
        }
        let sides =
            numbers("classifier_attention_resolutions", &self.classifier_attention_resolutions)?;
        // By the factor of the level, as there: images that do not halve evenly have none.
        let attention =
            |level: usize| sides.iter().any(|of| *of >= 1.0 && side / *of as usize == 1 << level);
        let down = |level: usize| match (attention(level), self.classifier_resblock_updown) {
            (true, _) => DownBlock::Attention,
            (false, true) => DownBlock::Resnet,
            (false, false) => DownBlock::Plain,
        };
        let updown = self.classifier_resblock_updown;
        let scale_shift = self.classifier_use_scale_shift_norm;
        Ok(UNetConfig {
            sample_size: Some(SampleSize::Square(side)),
            in_channels: self.in_channels,
            time_proj_channels: Some(width),
            down_block_types: (0..channels.len()).map(down).collect(),
            up_block_types: vec![UpBlock::Plain; channels.len()],
            block_out_channels: channels,
            layers_per_block: self.classifier_depth,
            downsample_type: if updown { Resampling::Resnet } else { Resampling::Conv },
            attention_head_dim: Some(self.num_head_channels),
            norm_num_groups: GROUPS,
            attn_norm_num_groups: Some(GROUPS),
            norm_eps: 1e-5,
            resnet_time_scale_shift: match scale_shift {
                true => TimeScaleShift::ScaleShift,
                false => TimeScaleShift::Default,
            },
            ..UNetConfig::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn released_classifiers_have_their_levels() {
        for (image_size, width, widths, attention) in [
            (64, 128, vec![128, 256, 384, 512], [1, 2, 3].as_slice()),
            (128, 128, vec![128, 128, 256, 384, 512], &[2, 3, 4]),
            (512, 128, vec![64, 128, 128, 256, 256, 512, 512], &[4, 5, 6]),
        ] {
            let config =
                ClassifierConfig { image_size, classifier_width: width, ..Default::default() };
            config.check().expect("a released configuration");
            let encoder = config.encoder().expect("a released configuration");
            assert_eq!(encoder.block_out_channels, widths);
            assert_eq!(encoder.time_width(), 4 * width);
            let with = |level: &usize| encoder.down_block_types[*level] == DownBlock::Attention;
            assert_eq!((0..widths.len()).filter(with).collect::<Vec<_>>(), attention);
            assert_eq!(
                ClassifierConfig::parse(&config.to_json()).expect("what was written"),
                config
            );
        }
    }

    #[test]
    fn flags_that_do_not_fit_are_named() {
        let refused = |text: &str, words: &[&str]| {
            let error = ClassifierConfig::parse(text).expect_err(text).to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        };
        refused(r#"{"image_size": 28}"#, &["channel_mult", "28x28"]);
        refused(r#"{"channel_mult": "1,x"}"#, &["channel_mult", "\"1,x\""]);
        refused(r#"{"classifier_width": 48}"#, &["classifier_width", "48"]);
        refused(r#"{"classifier_pool": "max"}"#, &["classifier_pool", "adaptive"]);
        refused(r#"{"num_classes": 0}"#, &["num_classes", "found 0"]);
    }
}

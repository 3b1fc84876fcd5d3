//! Which settings fit together, and what follows from them.
use super::{DownBlock, MidBlock, TimeEmbedding, TimeScaleShift, UNetConfig, UpBlock};
use crate::error::{ConfigError, Unexpected};

/// Larger than any model, and small enough that no product of extents overflows.
const MAX_CHANNELS: usize = 1 << 20;

impl UNetConfig {
    /// Checks the settings against their ranges and each other.
    ///
    /// # Errors
    /// If one does not fit: the error names the key, what it may be, and what it is.
    pub fn check(&self) -> Result<(), ConfigError> {
        const CLASS: &str = "UNet2DModel";
        Unexpected::check(self.class_name == CLASS, "_class_name", CLASS, &self.class_name)?;
        let levels = self.block_out_channels.len();
        Unexpected::range("block_out_channels", levels, 1, 16, "levels")?;
        Unexpected::range(
            "down_block_types",
            self.down_block_types.len(),
            levels,
            levels,
            "levels",
        )?;
        Unexpected::range("up_block_types", self.up_block_types.len(), levels, levels, "levels")?;
        for &channels in &self.block_out_channels {
            Unexpected::range("block_out_channels", channels, 1, MAX_CHANNELS, "channels")?;
        }
        Unexpected::range("in_channels", self.in_channels, 1, MAX_CHANNELS, "channels")?;
        Unexpected::range("out_channels", self.out_channels, 1, MAX_CHANNELS, "channels")?;
        Unexpected::range("layers_per_block", self.layers_per_block, 1, 1000, "layers")?;
        Unexpected::range("downsample_padding", self.downsample_padding, 0, 1, "zeros")?;
        if let Some(channels) = self.conv_in_channels {
            Unexpected::range("conv_in_channels", channels, 1, MAX_CHANNELS, "channels")?;
        }
        Unexpected::range("time_proj_channels", self.time_proj(), 1, MAX_CHANNELS, "channels")?;
        let frequencies = self.time_proj() / 2;
        if frequencies > 0 {
            Unexpected::range("freq_shift", self.freq_shift, 0, frequencies - 1, "frequencies")?;
        }
        Unexpected::range("time_embedding_dim", self.time_width(), 1, MAX_CHANNELS, "channels")?;
        if let Some(classes) = self.num_class_embeds {
            Unexpected::range("num_class_embeds", classes, 1, MAX_CHANNELS, "classes")?;
        }
        ConfigError::check_blocks(self.mid_block_scale_factor, self.dropout, self.norm_eps)?;
        self.check_groups()?;
        self.check_heads()?;
        if let Some(size) = self.sample_size {
            let (height, width) = size.sides();
            self.check_image(height, width)?;
        }
        Ok(())
    }

    /// Every group norm has groups of the same size: also those over a level's channels and the
    /// skip's together.
    fn check_groups(&self) -> Result<(), ConfigError> {
        let divides = |key, groups: usize, channels: usize| {
            let what = format!("a divisor of {channels}, the channels of a group norm");
            Unexpected::check(groups > 0 && channels.is_multiple_of(groups), key, what, groups)
        };
        for &channels in &self.block_out_channels {
            divides("norm_num_groups", self.norm_num_groups, channels)?;
        }
        if let Some(channels) = self.conv_in_channels {
            divides("norm_num_groups", self.norm_num_groups, channels)?;
        }
        match self.attn_norm_num_groups {
            Some(groups) => Ok(divides("attn_norm_num_groups", groups, self.deepest_channels())?),
            None => Ok(()),
        }
    }

    /// Heads share the channels of every level that has attention.
    fn check_heads(&self) -> Result<(), ConfigError> {
        let (key, number) = match (self.num_attention_heads, self.attention_head_dim) {
            (Some(heads), _) => ("num_attention_heads", heads),
            (None, Some(width)) => ("attention_head_dim", width),
            (None, None) => return Ok(()),
        };
        let encoder = self.down_block_types.iter().map(|block| *block == DownBlock::Attention);
        let decoder = self.up_block_types.iter().rev().map(|block| *block == UpBlock::Attention);
        let levels = self.block_out_channels.iter().zip(encoder.zip(decoder));
        let with_attention = levels.filter(|(_, (down, up))| *down || *up);
        let middle = self.has_middle_attention().then(|| self.deepest_channels());
        for channels in with_attention.map(|(channels, _)| *channels).chain(middle) {
            let what = format!("a divisor of {channels}, the channels of an attention");
            let fits = number > 0 && channels.is_multiple_of(number);
            Unexpected::check(fits, key, what, number)?;
        }
        Ok(())
    }

    /// Checks that every level halves the image evenly.
    ///
    /// # Errors
    /// If it does not.
    pub fn check_image(&self, height: usize, width: usize) -> Result<(), ConfigError> {
        ConfigError::check_image(self.levels(), height, width)
    }

    /// Whether a setting is made that diffusers does not have.
    pub fn beyond_diffusers(&self) -> bool {
        let own = [self.num_attention_heads, self.conv_in_channels, self.time_proj_channels];
        own.iter().any(Option::is_some) || self.time_embedding_type == TimeEmbedding::None
    }

    /// Number of resolutions.
    pub fn levels(&self) -> usize {
        self.block_out_channels.len()
    }

    /// Channels of the coarsest level.
    pub fn deepest_channels(&self) -> usize {
        self.block_out_channels.last().copied().unwrap_or_default()
    }

    /// Width of the time embedding.
    pub fn time_width(&self) -> usize {
        self.time_embedding_dim.unwrap_or(4 * self.time_proj())
    }

    /// Sines and cosines of the time embedding.
    pub fn time_proj(&self) -> usize {
        let first = self.block_out_channels.first().copied().unwrap_or_default();
        self.time_proj_channels.unwrap_or(first)
    }

    /// Heads of an attention over `channels`.
    pub fn heads(&self, channels: usize) -> usize {
        let by_width = || self.attention_head_dim.map_or(1, |width| channels / width.max(1));
        self.num_attention_heads.unwrap_or_else(by_width)
    }

    /// Has the middle an attention?
    pub fn has_middle_attention(&self) -> bool {
        self.mid_block_type == Some(MidBlock::UNetMidBlock2D) && self.add_attention
    }

    /// Groups of the norm in the middle's attention. There is none, unlike everywhere else, if the
    /// time scales and shifts and `attn_norm_num_groups` is absent.
    pub fn middle_norm_groups(&self) -> Option<usize> {
        self.attn_norm_num_groups.or(match self.resnet_time_scale_shift {
            TimeScaleShift::Default => Some(self.norm_num_groups),
            TimeScaleShift::ScaleShift => None,
        })
    }
}

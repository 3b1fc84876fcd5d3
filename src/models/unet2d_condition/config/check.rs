//! Which settings fit together.
use super::{AddedEmbedding, LabelEmbedding, REFUSED, TextDownBlock, TextUNetConfig, TextUpBlock};
use crate::{
    error::{ConfigError, Unexpected},
    models::unet2d::TimeEmbedding,
};

/// Larger than any model, and small enough that no product of extents overflows.
const MAX_CHANNELS: usize = 1 << 20;

impl TextUNetConfig {
    /// Checks the settings against their ranges and each other.
    ///
    /// # Errors
    /// If one does not fit: the error names the key, what it may be, and what it is.
    pub fn check(&self) -> Result<(), ConfigError> {
        const CLASS: &str = "UNet2DConditionModel";
        Unexpected::check(self.class_name == CLASS, "_class_name", CLASS, &self.class_name)?;
        for (key, expected) in REFUSED {
            let found = self.others.get(key).map_or(expected.to_owned(), ToString::to_string);
            Unexpected::check(found == expected, key, expected, found)?;
        }
        let time = self.time_embedding_type;
        let fits = time == TimeEmbedding::Positional;
        Unexpected::check(fits, "time_embedding_type", "positional", format!("{time:?}"))?;
        let levels = self.levels();
        let channels = |key, found| Unexpected::range(key, found, 1, MAX_CHANNELS, "channels");
        Unexpected::range("block_out_channels", levels, 1, 16, "levels")?;
        let (down, up) = (self.down_block_types.len(), self.up_block_types.len());
        Unexpected::range("down_block_types", down, levels, levels, "levels")?;
        Unexpected::range("up_block_types", up, levels, levels, "levels")?;
        for &width in &self.block_out_channels {
            channels("block_out_channels", width)?;
        }
        channels("in_channels", self.in_channels)?;
        channels("out_channels", self.out_channels)?;
        channels("time_embedding_dim", self.time_width())?;
        Unexpected::range("downsample_padding", self.downsample_padding, 0, 1, "zeros")?;
        let frequencies = (self.block_out_channels[0] / 2).max(1);
        Unexpected::range("freq_shift", self.freq_shift, 0, frequencies - 1, "frequencies")?;
        if let Some(classes) = self.num_class_embeds {
            Unexpected::range("num_class_embeds", classes, 1, MAX_CHANNELS, "classes")?;
        }
        ConfigError::check_blocks(self.mid_block_scale_factor, self.dropout, self.norm_eps)?;
        self.check_levels()?;
        self.check_vectors()?;
        if let Some(size) = self.sample_size {
            let (height, width) = size.sides();
            self.check_image(height, width)?;
        }
        Ok(())
    }

    /// Lists have an entry for each level; groups and heads share its channels.
    fn check_levels(&self) -> Result<(), Unexpected> {
        let levels = self.levels();
        self.only_cross_attention.check("only_cross_attention", levels)?;
        self.layers_per_block.check("layers_per_block", levels)?;
        self.cross_attention_dim.check("cross_attention_dim", levels)?;
        self.attention_head_dim.check("attention_head_dim", levels)?;
        self.check_depths()?;
        let divides = |key, parts: usize, channels: usize| {
            let what = format!("a divisor of {channels}, the channels of a level");
            Unexpected::check(parts > 0 && channels.is_multiple_of(parts), key, what, parts)
        };
        let context = self.context_width();
        for (level, &channels) in self.block_out_channels.iter().enumerate() {
            let layers = *self.layers_per_block.at(level);
            Unexpected::range("layers_per_block", layers, 1, 1000, "layers")?;
            divides("norm_num_groups", self.norm_num_groups, channels)?;
            let own = *self.cross_attention_dim.at(level);
            Unexpected::range("cross_attention_dim", own, 1, MAX_CHANNELS, "channels")?;
            let what = format!("{context} in all levels: they read one text");
            Unexpected::check(own == context, "cross_attention_dim", what, own)?;
            let attends = self.down_block_types[level] == TextDownBlock::Transformer
                || self.up_block_types[levels - 1 - level] == TextUpBlock::Transformer
                || level + 1 == levels && self.mid_block_type.is_some();
            if attends {
                divides("attention_head_dim", *self.attention_head_dim.at(level), channels)?;
            }
        }
        Ok(())
    }

    /// Blocks of the transformers. A list within a level needs one for the decoder, which has a transformer more.
    fn check_depths(&self) -> Result<(), Unexpected> {
        const DOWN: &str = "transformer_layers_per_block";
        const UP: &str = "reverse_transformer_layers_per_block";
        let (levels, down) = (self.levels(), &self.transformer_layers_per_block);
        down.check(DOWN, levels)?;
        if let Some(up) = &self.reverse_transformer_layers_per_block {
            Unexpected::range(UP, up.len(), levels, levels, "values in its list")?;
        }
        let depth = |key, found| Unexpected::range(key, found, 0, 1000, "blocks");
        for level in 0..levels {
            let layers = *self.layers_per_block.at(level);
            down.at(level).check(DOWN, layers)?;
            for layer in 0..layers {
                depth(DOWN, *down.at(level).at(layer))?;
            }
            let up = match &self.reverse_transformer_layers_per_block {
                Some(up) => &up[levels - 1 - level],
                None => down.at(level),
            };
            up.check(UP, layers + 1)?;
            for layer in 0..=layers {
                depth(UP, *up.at(layer))?;
            }
        }
        Ok(())
    }

    /// Vectors that are projected have a width.
    fn check_vectors(&self) -> Result<(), Unexpected> {
        let adds = self.addition_embed_type == Some(AddedEmbedding::TextTime);
        if adds {
            let found = self.addition_time_embed_dim.unwrap_or(0);
            let least = 2 * (self.freq_shift + 1);
            Unexpected::range("addition_time_embed_dim", found, least, MAX_CHANNELS, "channels")?;
        }
        if adds || self.class_embed_type == Some(LabelEmbedding::Projection) {
            const KEY: &str = "projection_class_embeddings_input_dim";
            let found = self.projection_class_embeddings_input_dim.unwrap_or(0);
            Unexpected::range(KEY, found, 1, MAX_CHANNELS, "channels")?;
        }
        Ok(())
    }

    /// Checks that every level halves the latent evenly.
    ///
    /// # Errors
    /// If it does not.
    pub fn check_image(&self, height: usize, width: usize) -> Result<(), ConfigError> {
        ConfigError::check_image(self.levels(), height, width)
    }
}

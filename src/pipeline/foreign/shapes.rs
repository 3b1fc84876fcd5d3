//! What the shapes of an ADM U-Net tell of its configuration.
use std::collections::BTreeMap;

/// Names and extents of the tensors of a file.
pub(super) type Shapes = BTreeMap<String, Vec<usize>>;

/// What the shapes tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Told {
    /// Channels of the noisy image.
    pub inputs: Option<usize>,
    /// Channels of the output.
    pub outputs: Option<usize>,
    /// Outputs of the first convolution.
    pub first: Option<usize>,
    /// `num_channels`: sines and cosines of the time embedding.
    pub channels: usize,
    /// Channels of each level, finest first.
    pub widths: Vec<usize>,
    /// Which levels have attention, finest first.
    pub attention: Vec<bool>,
    /// Residual blocks of an encoder level.
    pub layers: usize,
    /// Rows of the table of classes.
    pub classes: Option<usize>,
    /// Does the time scale and shift?
    pub scale_shift: bool,
    /// Do whole residual blocks resample?
    pub whole_blocks: bool,
}

impl Told {
    pub fn of(shapes: &Shapes) -> Self {
        let extent =
            |name: &str, axis: usize| shapes.get(name).and_then(|of| of.get(axis)).copied();
        let blocks = |block: usize, place: &str| {
            let begin = format!("output_blocks.{block}.{place}");
            shapes.range(begin.clone()..).next().is_some_and(|(name, _)| name.starts_with(&begin))
        };
        let count = (0..).take_while(|&block| blocks(block, "0.")).count();
        let grows = |block: usize, inside: &str| {
            ["1.", "2."].iter().any(|place| blocks(block, &format!("{place}{inside}")))
        };
        let whole = |block: &usize| grows(*block, "in_layers.");
        let first = (0..count).find(|block| grows(*block, "conv.") || whole(block));
        let layers = first.unwrap_or(count.saturating_sub(1));
        let width = |block: usize| {
            ["out_layers.3.weight", "in_layers.2.weight", "out_layers.0.weight"]
                .iter()
                .find_map(|part| extent(&format!("output_blocks.{block}.0.{part}"), 0))
        };
        let levels = count / (layers + 1);
        let of_level = |level: usize| (levels - 1 - level) * (layers + 1);
        let attends = |level: usize| {
            ["1.norm.", "1.qkv.", "1.proj_out."].iter().any(|part| blocks(of_level(level), part))
        };
        let widths: Vec<usize> =
            (0..levels).map(|level| width(of_level(level)).unwrap_or(0)).collect();
        let embedded = extent("middle_block.0.emb_layers.1.weight", 0)
            .or_else(|| extent("middle_block.2.emb_layers.1.weight", 0));
        Self {
            inputs: extent("input_blocks.0.0.weight", 1),
            outputs: extent("out.2.weight", 0),
            first: extent("input_blocks.0.0.weight", 0),
            channels: extent("time_embed.0.weight", 1)
                .or_else(|| extent("time_embed.0.bias", 0).map(|width| width / 4))
                .unwrap_or(0),
            attention: (0..levels).map(attends).collect(),
            layers,
            classes: extent("label_emb.weight", 0),
            scale_shift: embedded.is_some() && embedded == widths.last().map(|width| 2 * width),
            whole_blocks: first.is_some_and(|block| whole(&block)),
            widths,
        }
    }
}

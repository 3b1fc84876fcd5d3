//! Names of improved-diffusion and guided-diffusion (`unet.py`): Dhariwal and Nichol 2021.
use super::origin::{Origin, Position, Rows, Third, renamed};

const OUTSIDE: [(&str, &str); 8] = [
    ("conv_in", "input_blocks.0.0"),
    ("time_embedding.linear_1", "time_embed.0"),
    ("time_embedding.linear_2", "time_embed.2"),
    ("class_embedding", "label_emb"),
    ("add_embedding.linear_1", "label_emb.0.0"),
    ("add_embedding.linear_2", "label_emb.0.2"),
    ("conv_norm_out", "out.0"),
    ("conv_out", "out.2"),
];
const RESNET: [(&str, &str); 6] = [
    ("norm1", "in_layers.0"),
    ("conv1", "in_layers.2"),
    ("time_emb_proj", "emb_layers.1"),
    ("norm2", "out_layers.0"),
    ("conv2", "out_layers.3"),
    ("conv_shortcut", "skip_connection"),
];
const ATTENTION: [(&str, &str); 5] = [
    ("group_norm", "norm"),
    ("to_q", "qkv"),
    ("to_k", "qkv"),
    ("to_v", "qkv"),
    ("to_out.0", "proj_out"),
];

/// Heads of an attention.
///
/// Example: [`crate::weights::Names`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heads {
    /// As many at every width.
    Count(usize),
    /// Each of so many channels.
    Channels(usize),
}

/// The numbers that ADM's names and rows depend on.
///
/// Example: [`crate::weights::Names`].
#[derive(Clone, Debug, PartialEq)]
pub struct Adm {
    /// Residual blocks of an encoder level.
    pub layers: usize,
    /// Whether a decoder level has attention, the coarsest first.
    pub attention: Vec<bool>,
    /// Heads whose rows of q, k and v lie together; none where all rows of q come first.
    pub interleaved: Option<Heads>,
}

impl Adm {
    /// Where a parameter lies.
    pub(super) fn origin(&self, name: &str, outputs: usize) -> Origin {
        let thirds = ["to_q", "to_k", "to_v"];
        let part =
            name.rsplit('.').nth(1).and_then(|word| thirds.iter().position(|of| *of == word));
        let heads = match self.interleaved {
            None => 1,
            Some(Heads::Count(heads)) => heads,
            Some(Heads::Channels(width)) => outputs / width.max(1),
        };
        let rows = part.map_or(Rows::All, |part| Rows::Third(Third { part, heads }));
        Origin { rows, ..Origin::whole(self.stored_name(name)) }
    }

    /// The name of the tensor that holds a parameter.
    pub(super) fn stored_name(&self, name: &str) -> String {
        let stride = self.layers + 1;
        let inside = |kind: &str, rest: &str| match kind {
            "attentions" => format!("1.{}", renamed(rest, &ATTENTION)),
            _ => format!("0.{}", renamed(rest, &RESNET)),
        };
        match Position::of(name) {
            Position::Down { level, kind: "downsamplers", rest, .. } => {
                let rest = renamed(rest, &[("conv", "op")]);
                format!("input_blocks.{}.0.{}", (level + 1) * stride, renamed(&rest, &RESNET))
            }
            Position::Down { level, kind, index, rest } => {
                format!("input_blocks.{}.{}", 1 + level * stride + index, inside(kind, rest))
            }
            Position::Up { level, kind: "upsamplers", rest, .. } => {
                let place = if self.attention.get(level) == Some(&true) { 2 } else { 1 };
                let block = level * stride + self.layers;
                format!("output_blocks.{block}.{place}.{}", renamed(rest, &RESNET))
            }
            Position::Up { level, kind, index, rest } => {
                format!("output_blocks.{}.{}", level * stride + index, inside(kind, rest))
            }
            Position::Middle { kind: "attentions", rest, .. } => {
                format!("middle_block.1.{}", renamed(rest, &ATTENTION))
            }
            Position::Middle { index, rest, .. } => {
                format!("middle_block.{}.{}", 2 * index, renamed(rest, &RESNET))
            }
            Position::Outside(name) => renamed(name, &OUTSIDE),
        }
    }
}

//! Names of the DDIM release (`models/diffusion.py`), which are those of Ho et al. 2020.
use super::origin::{Position, renamed};

const OUTSIDE: [(&str, &str); 3] = [
    ("time_embedding.linear_1", "temb.dense.0"),
    ("time_embedding.linear_2", "temb.dense.1"),
    ("conv_norm_out", "norm_out"),
];
const RESNET: [(&str, &str); 2] =
    [("time_emb_proj", "temb_proj"), ("conv_shortcut", "nin_shortcut")];
const ATTENTION: [(&str, &str); 5] =
    [("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")];

/// The release's name of a parameter; its decoder counts levels from the finest.
pub(super) fn stored_name(name: &str, levels: usize) -> String {
    let inside = |block: String, kind: &str, index: usize, rest: &str| match kind {
        "resnets" => format!("{block}.block.{index}.{}", renamed(rest, &RESNET)),
        "attentions" => format!("{block}.attn.{index}.{}", renamed(rest, &ATTENTION)),
        "downsamplers" => format!("{block}.downsample.{rest}"),
        "upsamplers" => format!("{block}.upsample.{rest}"),
        _ => format!("{block}.{kind}.{index}.{rest}"),
    };
    match Position::of(name) {
        Position::Down { level, kind, index, rest } => {
            inside(format!("down.{level}"), kind, index, rest)
        }
        Position::Up { level, kind, index, rest } => {
            inside(format!("up.{}", (levels - 1).saturating_sub(level)), kind, index, rest)
        }
        Position::Middle { kind: "attentions", rest, .. } => {
            format!("mid.attn_1.{}", renamed(rest, &ATTENTION))
        }
        Position::Middle { index, rest, .. } => {
            format!("mid.block_{}.{}", index + 1, renamed(rest, &RESNET))
        }
        Position::Outside(name) => renamed(name, &OUTSIDE),
    }
}

//! Names of CLIP's text encoder: transformers' and OpenCLIP's (`transformer.py`, Ilharco et al. 2021).
use super::origin::{Origin, Rows, Third, renamed};

const OUTSIDE: [(&str, &str); 4] = [
    ("text_model.embeddings.token_embedding", "token_embedding"),
    ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
    ("text_model.final_layer_norm", "ln_final"),
    ("text_projection.weight", "text_projection"),
];
const INSIDE: [(&str, &str); 11] = [
    ("layer_norm1", "ln_1"),
    ("layer_norm2", "ln_2"),
    ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"),
    ("self_attn.out_proj", "attn.out_proj"),
    ("self_attn.q_proj.weight", "attn.in_proj_weight"),
    ("self_attn.k_proj.weight", "attn.in_proj_weight"),
    ("self_attn.v_proj.weight", "attn.in_proj_weight"),
    ("self_attn.q_proj.bias", "attn.in_proj_bias"),
    ("self_attn.k_proj.bias", "attn.in_proj_bias"),
    ("self_attn.v_proj.bias", "attn.in_proj_bias"),
];
const THIRDS: [&str; 3] = [".q_proj.", ".k_proj.", ".v_proj."];
const LAYERS: &str = "text_model.encoder.layers.";
const BLOCKS: &str = "transformer.resblocks.";

/// transformers' name with its prefix, which version 5 leaves out of `CLIPTextModel`.
pub(super) fn key(stored: &str) -> String {
    let whole = stored.starts_with("text_model.") || stored.starts_with("text_projection.");
    if whole { stored.to_owned() } else { format!("text_model.{stored}") }
}

/// Where OpenCLIP has a parameter.
pub(super) fn origin(name: &str) -> Origin {
    let part = THIRDS.iter().position(|third| name.contains(third));
    let rows = part.map_or(Rows::All, |part| Rows::Third(Third { part, heads: 1 }));
    let inside = name.strip_prefix(LAYERS).and_then(|rest| rest.split_once('.'));
    let tensor = match inside {
        Some((layer, rest)) => format!("{BLOCKS}{layer}.{}", renamed(rest, &INSIDE)),
        None => renamed(name, &OUTSIDE),
    };
    Origin { turned: tensor == "text_projection", tensor, rows }
}

/// Whether transformers' encoder has no use for a tensor: places that are counted.
pub(super) fn ignores(stored: &str) -> bool {
    stored.ends_with("embeddings.position_ids")
}

/// Whether an encoder of so many layers has no use for a tensor of OpenCLIP's: Stable Diffusion 2 runs
/// all blocks but the last and projects nothing.
pub(super) fn open_ignores(stored: &str, layers: usize, projects: bool) -> bool {
    let block = stored.strip_prefix(BLOCKS).and_then(|rest| rest.split('.').next()?.parse().ok());
    block == Some(layers)
        || stored == "logit_scale"
        || stored == "attn_mask"
        || (stored == "text_projection" && !projects)
}

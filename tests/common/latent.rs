//! A latent pipeline with weights that nobody trained: pictures of 16x16 pixels of texts of 8 tokens.
#![allow(dead_code, reason = "each test uses a part of it")]
use super::vocabulary;
use ddim::{
    models::{
        autoencoder_kl::{Autoencoder, AutoencoderConfig},
        clip_text::{ClipText, ClipTextConfig, TextActivation},
        unet2d_condition::{TextUNet, TextUNetConfig},
    },
    nn::{ParameterSpec, Weights},
    weights::{self, Precision},
};
use serde_json::{Value as Json, json};
use std::{fs, path::Path};

pub const SIDE: usize = 16;
pub const TOKENS: usize = 8;

/// A U-Net that reads so many channels of a text; of SDXL if it is told how many the whole text has.
pub fn unet(context: usize, pooled: Option<usize>) -> TextUNet {
    let mut config = json!({
        "sample_size": 8, "in_channels": 4, "out_channels": 4, "layers_per_block": 1,
        "block_out_channels": [8, 16], "norm_num_groups": 4, "attention_head_dim": 2,
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"], "cross_attention_dim": context,
    });
    if let Some(pooled) = pooled {
        config["addition_embed_type"] = "text_time".into();
        config["addition_time_embed_dim"] = 4.into();
        config["projection_class_embeddings_input_dim"] = (pooled + 6 * 4).into();
    }
    let config = TextUNetConfig::parse(&config.to_string()).expect("a consistent model");
    TextUNet::new(config).expect("a consistent model").with_tokens(TOKENS)
}

pub fn vae() -> Autoencoder {
    let config = json!({
        "block_out_channels": [8, 16], "norm_num_groups": 4, "sample_size": SIDE,
        "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"],
        "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"],
    });
    let config = AutoencoderConfig::parse(&config.to_string()).expect("a consistent model");
    Autoencoder::new(config).expect("a consistent model")
}

pub fn text(hidden_size: usize, projection: Option<usize>) -> ClipText {
    let class = projection.map_or("CLIPTextModel", |_| "CLIPTextModelWithProjection");
    ClipText::new(ClipTextConfig {
        architectures: vec![class.into()],
        vocab_size: vocabulary::vocabulary().len(),
        hidden_size,
        intermediate_size: 20,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        max_position_embeddings: TOKENS,
        hidden_act: projection.map_or(TextActivation::QuickGelu, |_| TextActivation::Gelu),
        projection_dim: projection.unwrap_or(hidden_size),
        eos_token_id: 1,
        ..ClipTextConfig::default()
    })
    .expect("a consistent model")
}

/// Writes a part of a pipeline.
fn part(folder: &Path, name: &str, file: &str, config: &str, parameters: &[ParameterSpec]) {
    let folder = folder.join(name);
    fs::create_dir_all(&folder).expect("room");
    fs::write(folder.join("config.json"), config).expect("room");
    let mut numbers = Weights::default();
    // Norms and biases count too.
    for (name, of) in Weights::initial(parameters, 3).iter() {
        let bent = of.data.iter().enumerate().map(|(at, x)| x + 0.05 * (at as f32).sin());
        numbers.insert(name, of.shape, bent.collect());
    }
    weights::write(&folder.join(file), &numbers, Precision::F32).expect("room");
}

/// Writes a folder that diffusers would open: of Stable Diffusion, or with two text encoders of SDXL.
pub fn write(folder: &Path, is_xl: bool) {
    let encoders = match is_xl {
        true => vec![text(12, None), text(8, Some(10))],
        false => vec![text(12, None)],
    };
    let unet = if is_xl { unet(20, Some(10)) } else { unet(12, None) };
    let vae = vae();
    let mut index = json!({
        "_class_name": if is_xl { "StableDiffusionXLPipeline" } else { "StableDiffusionPipeline" },
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", "PNDMScheduler"],
    });
    for (encoder, suffix) in encoders.iter().zip(["", "_2"]) {
        let (name, config) = (format!("text_encoder{suffix}"), encoder.config());
        index[&name] = json!(["transformers", config.architectures[0]]);
        let json = serde_json::to_string(config).expect("plain fields");
        part(folder, &name, "model.safetensors", &json, &encoder.parameters().expect("consistent"));
        let tokenizer = folder.join(format!("tokenizer{suffix}"));
        fs::create_dir_all(&tokenizer).expect("room");
        vocabulary::write(&tokenizer, TOKENS);
    }
    let file = "diffusion_pytorch_model.safetensors";
    let parameters = unet.parameters().expect("consistent");
    part(folder, "unet", file, &unet.config().to_json(), &parameters);
    let parameters = vae.parameters().expect("consistent");
    part(folder, "vae", file, &vae.config().to_json(), &parameters);
    let scheduler = json!({
        "_class_name": "PNDMScheduler", "beta_schedule": "scaled_linear", "beta_start": 0.00085,
        "beta_end": 0.012, "steps_offset": 1, "set_alpha_to_one": false, "skip_prk_steps": true,
    });
    put(folder, "scheduler/scheduler_config.json", &scheduler);
    put(folder, "model_index.json", &index);
}

/// Writes a file of JSON below a folder.
pub fn put(folder: &Path, name: &str, json: &Json) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("it is below")).expect("room");
    fs::write(path, json.to_string()).expect("room");
}

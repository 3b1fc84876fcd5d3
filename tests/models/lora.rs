//! Adapters of a text-to-picture model: strengths that change, and what has no place.
use crate::common::{copied::folder, support};
use ddim::{
    diffusion::{Sampler, schedule::SchedulerConfig},
    gpu::Gpu,
    models::{
        autoencoder_kl::{Autoencoder, AutoencoderConfig},
        unet2d_condition::{TextUNet, TextUNetConfig},
    },
    nn::Weights,
    pipeline::{LatentPipeline, read_text_encoder},
    weights::{self, Adapted, Lora, Loras, Precision},
};
use std::sync::Arc;

const TOKENS: usize = 5;

/// A pipeline of the reference cases' U-Net with weights of its own.
fn pipeline() -> LatentPipeline {
    let config = folder("cases_latent").join("models/lora_unet/config.json");
    let unet = TextUNet::new(TextUNetConfig::read(&config).expect("a config")).expect("a U-Net");
    let unet = unet.with_tokens(TOKENS);
    let vae = AutoencoderConfig::read(&folder("cases").join("models/ldm_vae/config.json"));
    let vae = Autoencoder::new(vae.expect("a config")).expect("an autoencoder");
    let specs = unet.parameters().expect("a checked configuration");
    let vae_specs = vae.parameters().expect("a checked configuration");
    LatentPipeline {
        unet_weights: Arc::new(Weights::initial(&specs, 3)),
        vae_weights: Arc::new(Weights::initial(&vae_specs, 4)),
        unet,
        vae,
        scheduler: SchedulerConfig::default(),
    }
}

/// Two files of the reference cases, of kohya's scripts and of early diffusers.
fn loras(pipeline: &LatentPipeline) -> Loras {
    let at = folder("cases_latent");
    let encoder = at.join("models/lora_unet_text_encoder");
    let (encoder, _) = read_text_encoder(&encoder, u64::MAX).expect("an encoder");
    let specs = [pipeline.unet.parameters(), encoder.parameters()];
    let [unet, text] = specs.map(|specs| specs.expect("a checked configuration"));
    let files = [
        "lora/kohya_conv_3x3/style.safetensors:0.7",
        "lora/diffusers_2023_processor/pytorch_lora_weights.safetensors",
    ];
    let files = files.map(|name| at.join(name).to_str().expect("letters").parse());
    let files = files.map(|file| file.expect("a file and its strength"));
    Loras::read(&files, &[(Adapted::Unet, &unet), (Adapted::TextEncoder, &text)]).expect("files")
}

fn sampler(gpu: &Gpu, pipeline: &LatentPipeline) -> Sampler {
    let table = pipeline.scheduler.ddim(3, 0.0).expect("three steps");
    let (unet, weights) = (&pipeline.unet, &*pipeline.unet_weights);
    let mut sampler =
        Sampler::new(gpu, unet, weights, [2, 8, 8], &table, None, 1).expect("a small model");
    let width = unet.config().context_width();
    let text: Vec<f32> = (0..2 * TOKENS * width).map(|at| (at as f32).sin()).collect();
    sampler.set_context(&text).expect("two texts");
    sampler
}

fn bits(sampler: &mut Sampler) -> Vec<u32> {
    let images = sampler.sample(2, |_| {}).expect("finite numbers");
    images.into_iter().map(f32::to_bits).collect()
}

#[test]
fn strengths_change_and_come_back_to_the_same_bits() {
    let Some(gpu) = support::gpu() else { return };
    let opened = pipeline();
    let plain = bits(&mut sampler(&gpu, &opened));
    let mut loras = loras(&opened);
    let mut sampler = sampler(&gpu, &opened.clone().with_loras(&loras));
    let mut found = Vec::new();
    for strengths in [[0.7, 1.0], [0.0, 0.0], [-0.5, 0.25], [0.7, 1.0], [0.0, 0.0], [-0.5, 0.25]] {
        if !found.is_empty() {
            for ((_, strength), next) in loras.files.iter_mut().zip(strengths) {
                *strength = next;
            }
            sampler.set_adapters(&loras.weights(Adapted::Unet)).expect("its own adapters");
        }
        found.push(bits(&mut sampler));
    }
    assert_eq!(found[..3], found[3..]);
    assert!(found[0] != found[1] && found[1] != found[2] && found[0] != found[2]);
    // Off, they change the plan alone, and with it the order of sums.
    let numbers = |bits: &[u32]| bits.iter().map(|&bits| f32::from_bits(bits)).collect::<Vec<_>>();
    for (off, plain) in numbers(&found[1]).into_iter().zip(numbers(&plain)) {
        assert!((off - plain).abs() < 1e-4, "{off} without adapters {plain}");
    }
}

#[test]
fn numbers_of_other_adapters_are_named() {
    let Some(gpu) = support::gpu() else { return };
    let opened = pipeline();
    let loras = loras(&opened);
    let (own, text) = (loras.weights(Adapted::Unet), loras.weights(Adapted::TextEncoder));
    let first = |of: &Weights| of.iter().next().map(|(name, _)| name.to_owned()).expect("some");
    // A model without adapters, and one with others.
    let error = sampler(&gpu, &opened).set_adapters(&own).expect_err("none").to_string();
    assert!(error.contains(&first(&own)), "{error}");
    let mut adapted = sampler(&gpu, &opened.with_loras(&loras));
    let error = adapted.set_adapters(&text).expect_err("the text encoder's").to_string();
    assert!(error.contains(&first(&text)), "{error}");
    let error = adapted.set_adapters(&Weights::default()).expect_err("none").to_string();
    assert!(error.contains(&first(&own)), "{error}");
}

/// kohya's scripts have two names for a layer of a U-Net: diffusers', and for SDXL that of the released files.
#[test]
fn released_names_of_layers_are_read_as_those_of_diffusers() {
    let folder = tempfile::tempdir().expect("room");
    let specs = pipeline().unet.parameters().expect("a checked configuration");
    // Extents of the matrices: width, and the kernel of a convolution.
    let extents = [(8, None), (16, None), (8, None), (8, Some(3))];
    let read = |names: [&str; 4]| {
        let path = folder.path().join("style.safetensors");
        let numbers = [0.5; 9 * 16];
        let mut tensors = Vec::new();
        for (name, (width, kernel)) in names.into_iter().zip(extents) {
            let (mut down, mut up) = (vec![1, width], vec![width, 1]);
            if let Some(kernel) = kernel {
                down.extend([kernel; 2]);
                up.extend([1; 2]);
            }
            tensors.push((format!("lora_unet_{name}.lora_down.weight"), down));
            tensors.push((format!("lora_unet_{name}.lora_up.weight"), up));
        }
        let tensors = tensors
            .iter()
            .map(|(name, shape)| (&name[..], &shape[..], &numbers[..shape.iter().product()]));
        weights::write_tensors(&path, Precision::F32, tensors).expect("room");
        Lora::read(&path, &[(Adapted::Unet, &specs)]).expect("known names")
    };
    let of_diffusers = read([
        "down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q",
        "mid_block_attentions_0_transformer_blocks_0_attn1_to_q",
        "up_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q",
        "down_blocks_0_downsamplers_0_conv",
    ]);
    let released = read([
        "input_blocks_1_1_transformer_blocks_0_attn1_to_q",
        "middle_block_1_transformer_blocks_0_attn1_to_q",
        "output_blocks_2_1_transformer_blocks_0_attn1_to_q",
        "input_blocks_2_0_op",
    ]);
    assert!(of_diffusers == released && of_diffusers.layers(Adapted::Unet).count() == 4);
}

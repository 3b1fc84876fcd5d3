//! Latent diffusion: folders of diffusers, settings that are refused, and what a sampling plan computes once.
use crate::common::copied::folder;
use ddim::{
    diffusion::{
        Guidance, SamplingGraph, SamplingOptions,
        samplers::{SamplerKind, SamplerOptions},
        schedule::{Level, SchedulerConfig},
    },
    latent::{KeptPart, latent_mask, partial},
    models::{
        autoencoder_kl::AutoencoderConfig,
        unet2d_condition::{TextUNet, TextUNetConfig},
    },
    pipeline::{LatentPipeline, Opening},
    plan::Target,
    weights::Precision,
};
use serde_json::{Value as Json, json};
use std::{fs, path::Path};

/// A folder of the reference cases' U-Net and autoencoder, with this index.
fn pipeline(at: &Path, index: &Json) {
    fs::write(at.join("model_index.json"), index.to_string()).expect("room");
    for (part, model) in [("unet", "ldm_unet"), ("vae", "ldm_vae")] {
        let from = folder("cases").join("models").join(model);
        fs::create_dir_all(at.join(part)).expect("room");
        for file in ["config.json", "diffusion_pytorch_model.safetensors"] {
            fs::copy(from.join(file), at.join(part).join(file)).expect("a model of the cases");
        }
    }
    fs::create_dir_all(at.join("scheduler")).expect("room");
    let scheduler = json!({ "_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear" });
    fs::write(at.join("scheduler/scheduler_config.json"), scheduler.to_string()).expect("room");
}

fn index() -> Json {
    json!({
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
    })
}

#[test]
fn a_folder_that_was_opened_is_written_again() {
    let (at, again) = (tempfile::tempdir().expect("room"), tempfile::tempdir().expect("room"));
    pipeline(at.path(), &index());
    let how = Opening::default();
    let first = LatentPipeline::open(at.path(), &how).expect("a whole pipeline");
    first.write(again.path(), Precision::F32).expect("room");
    let second = LatentPipeline::open(again.path(), &how).expect("what was written");
    // Keys that change nothing are not written again.
    let unet = TextUNetConfig { others: Default::default(), ..first.unet.config().clone() };
    let vae = AutoencoderConfig { others: Default::default(), ..first.vae.config().clone() };
    assert_eq!((second.unet.config(), second.vae.config()), (&unet, &vae));
    for (second, first) in
        [(second.unet_weights, first.unet_weights), (second.vae_weights, first.vae_weights)]
    {
        assert_eq!(second.load().expect("its file"), first.load().expect("its file"));
    }
    assert_eq!(second.scheduler, first.scheduler);
}

#[test]
fn parts_that_do_not_go_together_are_refused_by_name() {
    let refused = |change: &dyn Fn(&Path), words: &[&str]| {
        let at = tempfile::tempdir().expect("room");
        pipeline(at.path(), &index());
        change(at.path());
        let error = LatentPipeline::open(at.path(), &Opening::default()).expect_err("a change");
        let error = error.to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error} lacks {words:?}");
    };
    let with = |key: &'static str, value: Json| {
        move |at: &Path| {
            let mut index = index();
            index[key] = value.clone();
            fs::write(at.join("model_index.json"), index.to_string()).expect("room");
        }
    };
    refused(&with("_class_name", json!("DDPMPipeline")), &["_class_name", "DDPMPipeline"]);
    refused(&with("vae", json!(["diffusers", "VQModel"])), &["vae", "AutoencoderKL", "VQModel"]);
    let without = |at: &Path| fs::remove_file(at.join("vae/config.json")).expect("it was there");
    refused(&without, &["vae/config.json"]);
    let wide = |at: &Path| {
        let path = at.join("vae/config.json");
        let text = fs::read_to_string(&path).expect("a config");
        let text = text.replace("\"latents_mean\": null", "\"latents_mean\": [0.5]");
        fs::write(path, text).expect("room");
    };
    refused(&wide, &["vae/config.json", "latents_mean", "null", "[0.5]"]);
}

#[test]
fn settings_of_other_networks_are_refused_by_name() {
    for (key, value) in [
        ("cross_attention_norm", json!("layer_norm")),
        ("class_embeddings_concat", json!(true)),
        ("dual_cross_attention", json!(true)),
        ("encoder_hid_dim", json!(64)),
        ("num_attention_heads", json!(8)),
        ("time_cond_proj_dim", json!(256)),
        ("conv_in_kernel", json!(1)),
        ("attention_type", json!("gated")),
        ("addition_embed_type", json!("image")),
        ("class_embed_type", json!("simple_projection")),
        ("time_embedding_type", json!("fourier")),
        ("act_fn", json!("gelu")),
        ("down_block_types", json!(["SimpleCrossAttnDownBlock2D"])),
        ("mid_block_type", json!("UNetMidBlock2DSimpleCrossAttn")),
        ("norm_num_groups", json!(null)),
        ("attention_head_dim", json!([8, 8])),
        ("attention_head_dim", json!(7)),
        ("cross_attention_dim", json!([768, 768, 768, 1024])),
        ("transformer_layers_per_block", json!([[1, 1], 1, 1, 1])),
        ("layers_per_block", json!([2, 2, 2])),
    ] {
        let error = TextUNetConfig::parse(&json!({ key: value }).to_string());
        let error = error.expect_err(key).to_string();
        let named = [key, "reverse_transformer_layers_per_block"];
        assert!(named.iter().any(|key| error.contains(key)), "{key}: {error}");
    }
}

/// diffusers counts as many for the released configuration of Stable Diffusion 1.5.
#[test]
fn stable_diffusion_has_as_many_parameters_as_in_diffusers() {
    let config = json!({ "cross_attention_dim": 768, "num_attention_heads": null,
        "upcast_attention": true, "dual_cross_attention": false });
    let config = TextUNetConfig::parse(&config.to_string()).expect("Stable Diffusion");
    let parameters = TextUNet::new(config).and_then(|unet| unet.parameters()).expect("its U-Net");
    let count: usize = parameters.iter().map(|of| of.of.shape.elements()).sum();
    assert_eq!(count, 859_520_964);
}

/// A text does not change from step to step: its keys and values are made once.
#[test]
fn keys_and_values_of_the_text_are_computed_once() {
    let config = folder("cases").join("models/ldm_unet/config.json");
    let unet = TextUNet::new(TextUNetConfig::read(&config).expect("a config")).expect("a U-Net");
    let table = SchedulerConfig::default().ddim(4, 0.0).expect("four steps");
    let guidance = Some(Guidance::of_scale(7.5, 0));
    let options = SamplingOptions { guidance, ..SamplingOptions::default() };
    let target = Target::default();
    let graph = SamplingGraph::new(&target, &unet, [1, 8, 8], &table, &options).expect("a step");
    let plan = graph.plan(&target).expect("a plan");
    let of_text = |scope: &str| scope.contains("attn2/to_k") || scope.contains("attn2/to_v");
    assert!(plan.setup().any(|dispatch| of_text(dispatch.scope.as_str())));
    assert!(!plan.dispatches().any(|dispatch| of_text(dispatch.scope.as_str())));
}

#[test]
fn a_share_of_a_run_is_its_last_steps() {
    let scheduler = SchedulerConfig::default();
    let whole = scheduler.ddim(10, 0.0).expect("ten steps");
    let last = partial(whole.clone(), 0.75).expect("seven of them");
    assert_eq!(last.steps, whole.steps[3..]);
    for strength in [0.0, 0.09, 1.1, f64::NAN] {
        let error = partial(whole.clone(), strength).expect_err("no share").to_string();
        assert!(error.contains("strength"), "{error}");
    }
    let options = SamplerOptions { steps: Some(10), ..SamplerOptions::default() };
    let multistep = SamplerKind::DpmSolver.table(&scheduler, &options).expect("ten steps");
    assert!(partial(multistep.clone(), 1.0).is_ok());
    let error = partial(multistep, 0.5).expect_err("a step reads an earlier one").to_string();
    assert!(error.contains("strength"), "{error}");
}

#[test]
fn a_kept_part_is_put_back_where_the_mask_is_dark() {
    let mask = [0.5, 0.0, 0.49, 1.0].repeat(2);
    let mask = latent_mask(&mask, [1, 2, 4], 2);
    assert_eq!(mask, [1.0, 0.0]);
    let kept = KeptPart { latent: &[1.0, 2.0, 3.0, 4.0], noise: &[10.0; 4], mask: &mask };
    let mut x = [0.0; 4];
    kept.put_back(&mut x, Some(&Level::variance_preserving(1.0, 0.36)));
    let wanted = [0.0, 0.0, 0.6 * 3.0 + 8.0, 0.6 * 4.0 + 8.0];
    assert!(x.iter().zip(wanted).all(|(x, wanted)| (x - wanted).abs() < 1e-5), "{x:?}");
    kept.put_back(&mut x, None);
    assert_eq!(x, [0.0, 0.0, 3.0, 4.0]);
}

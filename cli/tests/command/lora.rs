//! `ddim train-lora`: of a small pipeline that nobody trained.

use crate::{
    command::{fails, folder, names, succeeds},
    common::support,
};
use ddim::{
    models::clip_text::{ClipText, ClipTextConfig},
    nn::Weights,
    pictures::Picture,
    training::ADAPTER_FILE,
    weights::{self, Precision},
};
use serde_json::json;
use std::{fs, path::Path};

const TRAIN: &str = "train-lora --model {}/sd --data {}/data --rank 2 --alpha 4 --batch 2 --seed 3 \
                     --learning-rate 1e-2 --steps 2 --out {}/style";

/// Copies the files of a folder of the reference cases.
fn copy(from: &str, to: &Path) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests").join(from);
    fs::create_dir_all(to).expect("room");
    for file in fs::read_dir(from).expect("a folder of the cases") {
        let file = file.expect("a file").path();
        fs::copy(&file, to.join(file.file_name().expect("a name"))).expect("room");
    }
}

/// Writes a pipeline of the reference cases' U-Net, autoencoder and vocabulary.
fn pipeline(at: &Path) {
    copy("cases_latent/models/lora_unet", &at.join("unet"));
    copy("cases/models/ldm_vae", &at.join("vae"));
    copy("cases_latent/text/tokenizer", &at.join("tokenizer"));
    let config = ClipTextConfig {
        vocab_size: 814,
        hidden_size: 32,
        intermediate_size: 40,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        max_position_embeddings: 77,
        ..ClipTextConfig::default()
    };
    let text = at.join("text_encoder");
    fs::create_dir_all(&text).expect("room");
    fs::write(text.join("config.json"), serde_json::to_string(&config).expect("plain fields"))
        .expect("room");
    let parameters = ClipText::new(config).expect("consistent").parameters().expect("consistent");
    let numbers = Weights::initial(&parameters, 3);
    weights::write(&text.join("model.safetensors"), &numbers, Precision::F32).expect("room");
    let index = json!({
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
    });
    fs::write(at.join("model_index.json"), index.to_string()).expect("room");
    let scheduler = json!({
        "_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear", "beta_start": 0.00085,
        "beta_end": 0.012, "clip_sample": false, "steps_offset": 1,
    });
    fs::create_dir_all(at.join("scheduler")).expect("room");
    fs::write(at.join("scheduler/scheduler_config.json"), scheduler.to_string()).expect("room");
}

/// A folder with a pipeline in `sd` and two pictures with captions in `data`.
fn with_data() -> tempfile::TempDir {
    let at = folder();
    pipeline(&at.path().join("sd"));
    let data = at.path().join("data");
    fs::create_dir_all(&data).expect("room");
    for (number, caption) in ["a cat", "her cat's cat"].into_iter().enumerate() {
        let pixel = |at: usize| ((at * (number + 2)) as f32 * 0.1).sin();
        let pixels: Vec<f32> = (0..16 * 16 * 3).map(pixel).collect();
        let png = Picture::grid(&pixels, [16, 16, 3], 1, 1).and_then(|of| of.png());
        fs::write(data.join(format!("{number}.png")), png.expect("a picture")).expect("room");
        fs::write(data.join(format!("{number}.txt")), format!("{caption}\n")).expect("room");
    }
    at
}

fn trained(at: &Path, folder: &str) -> Vec<u8> {
    fs::read(at.join(folder).join(ADAPTER_FILE)).expect("a LoRA")
}

#[test]
fn a_lora_is_trained_and_gone_on_with() {
    if support::gpu().is_none() {
        return;
    }
    let at = with_data();
    let at = at.path();
    let said = succeeds(TRAIN, at);
    for word in ["2 pictures of 16x16, 2 captions", "rank 2, alpha 4", "2 steps, loss"] {
        assert!(said.contains(word), "{said}");
    }
    let written = names(&at.join("style"));
    for name in [ADAPTER_FILE, "check.safetensors", "training/loss.csv"] {
        assert!(written.iter().any(|path| path == name), "{name}: {written:?}");
    }
    fails(TRAIN, at, &["style", "--resume"]);
    let said = succeeds("train-lora --resume --steps 3 --out {}/style", at);
    assert!(said.contains("steps 3 to 3") && said.contains("3 steps, loss"), "{said}");
    // The bits of a run without a break, and of captions in one list.
    succeeds(&TRAIN.replace("--steps 2", "--steps 3").replace("style", "whole"), at);
    assert!(trained(at, "style") == trained(at, "whole"));
    let list = r#"{"file_name": "0.png", "text": "a cat"}
{"text": "her cat's cat", "file_name": "1.png"}
"#;
    fs::write(at.join("data/metadata.jsonl"), list).expect("room");
    (0..2)
        .for_each(|number| fs::remove_file(at.join(format!("data/{number}.txt"))).expect("there"));
    succeeds(&TRAIN.replace("--steps 2", "--steps 3").replace("style", "listed"), at);
    assert!(trained(at, "style") == trained(at, "listed"));
}

/// The pixels of a picture.
fn pixels(at: &Path, name: &str) -> Vec<u8> {
    let file = fs::read(at.join(name)).expect("a picture");
    image::load_from_memory(&file).expect("a PNG").into_rgb8().into_raw()
}

#[test]
fn pictures_are_made_with_adapters_and_in_halves() {
    if support::gpu().is_none() {
        return;
    }
    let at = with_data();
    let at = at.path();
    succeeds(&TRAIN.replace("1e-2", "1e-1"), at);
    let draw = |name: &str, more: &str| {
        let command = "generate --model {}/sd --prompt cat --sampler ddim --steps 2 --size 16x16";
        succeeds(&format!("{command} --out {{}}/{name} {more}"), at);
        pixels(at, name)
    };
    let file = format!("--lora {{}}/style/{ADAPTER_FILE}");
    let [plain, off, on, twice] = [
        draw("plain.png", ""),
        draw("off.png", &format!("{file}:0")),
        draw("on.png", &file),
        draw("twice.png", &format!("{file}:0.5 {file}:0.5")),
    ];
    let most = |one: &[u8], other: &[u8]| {
        one.iter().zip(other).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
    };
    // A rounding apart: the products add zeros, or are summed in another order.
    assert!(most(&plain, &off) <= 1, "{}", most(&plain, &off));
    assert!(most(&on, &twice) <= 1, "{}", most(&on, &twice));
    assert!(most(&plain, &on) > 2, "{}", most(&plain, &on));
    // Without guidance, which makes 7.5 times of a difference. Some 60 roundings of half the spacing of numbers add like a
    // random walk to 8 of them; the largest of all pixels is four deviations off, of a range of 127 to each side.
    let exact = draw("exact.png", &format!("{file} --guidance 1"));
    for (precision, bits) in [("f16", 12), ("bf16", 9)] {
        let more = format!("{file} --guidance 1 --precision {precision}");
        let off = most(&exact, &draw(&format!("{precision}.png"), &more));
        let bound = 1.0 + 4.0 * 8.0 * 127.0 * f64::from(1 << bits).recip();
        assert!(f64::from(off) <= bound, "{precision}: {off} > {bound}");
        println!("{precision}: off by {off} of 255");
    }
    let foreign = at.join("sd/vae/diffusion_pytorch_model.safetensors");
    let text = foreign.display().to_string();
    fails(
        &format!("generate --model {{}}/sd --prompt cat --lora {text} --out {{}}/no.png"),
        at,
        &["diffusion_pytorch_model.safetensors"],
    );
}

#[test]
fn what_is_missing_is_named() {
    if support::gpu().is_none() {
        return;
    }
    let at = with_data();
    let at = at.path();
    fs::remove_file(at.join("data/1.txt")).expect("it was there");
    fails(TRAIN, at, &["data/1.txt"]);
    for (line, part) in [
        (r#"{"file_name": "2.png", "text": "no picture"}"#, "data/2.png"),
        (r#"{"file_name": "0.png"}"#, "text"),
        (r#"{"file_name": "../sd/0.png", "text": "elsewhere"}"#, "../sd/0.png"),
    ] {
        fs::write(at.join("data/metadata.jsonl"), line).expect("room");
        fails(TRAIN, at, &["data", part]);
    }
    fs::write(at.join("data/metadata.jsonl"), "").expect("room");
    fails(TRAIN, at, &["data", "captions"]);
}

#[test]
fn a_model_with_two_encoders_is_trained_its_own_weights_in_any_storage() {
    if support::gpu().is_none() {
        return;
    }
    let at = with_data();
    let at = at.path();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases_latent/models/xl");
    let train = TRAIN.replace("{}/sd", &model.display().to_string());
    let losses = ["f32", "f16", "bf16"].map(|precision| {
        let command = train.replace("style", precision);
        let said = succeeds(&format!("{command} --precision {precision}"), at);
        assert!(said.contains("2 pictures of 16x16, 2 captions"), "{said}");
        let loss = said.split("2 steps, loss ").nth(1).and_then(|rest| rest.split('\n').next());
        loss.and_then(|loss| loss.parse::<f64>().ok()).unwrap_or_else(|| panic!("no loss: {said}"))
    });
    // The weights are numbers of f16 already; bf16 rounds them to eight bits.
    assert_eq!(losses[0], losses[1]);
    assert!((losses[0] - losses[2]).abs() < 0.05 * losses[0], "{losses:?}");
    // Plans and files tell the storages apart.
    assert!(trained(at, "f32") != trained(at, "bf16"));
    let said = succeeds("train-lora --resume --steps 3 --out {}/f16", at);
    assert!(said.contains("3 steps, loss"), "{said}");
}

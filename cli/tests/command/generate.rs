//! `ddim generate`: pictures of a text, of a small pipeline that nobody trained.

use crate::{
    command::{fails, folder, names, run},
    common::{latent, support},
};
use ddim::weights::{Precision, write_tensors};
use std::{fs, path::Path};

const GENERATE: &str = "generate --model {}/sd --prompt cat --steps 3 --seed 1 --out {}/new.png";

/// A folder with a pipeline in `sd`.
fn with_pipeline(is_xl: bool) -> tempfile::TempDir {
    let at = folder();
    latent::write(&at.path().join("sd"), is_xl);
    at
}

/// What a run says, which must name its scheduler and have nothing to complain of.
fn generates(line: &str, at: &Path, sampler: &str) -> String {
    let ran = run(line, at);
    assert_eq!((ran.status, ran.error.as_str()), (Some(0), ""), "{line}: {ran:?}");
    assert_eq!(
        ran.scheduler,
        Some(format!("scheduler PNDMScheduler: sampler {sampler}")),
        "{line}"
    );
    ran.out
}

/// The bytes of a PNG, and its width and height.
fn png(path: &Path) -> (Vec<u8>, [u32; 2]) {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(bytes.starts_with(b"\x89PNG"), "{}", path.display());
    let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let size = [word(16), word(20)];
    (bytes, size)
}

#[test]
fn a_text_becomes_a_picture() {
    if support::gpu().is_none() {
        return;
    }
    let at = with_pipeline(false);
    let said = generates(GENERATE, at.path(), "plms");
    for word in
        ["device memory: at most", "text encoder", "U-Net step", "decoder", "1 picture of 16x16"]
    {
        assert!(said.contains(word), "{said}");
    }
    let (first, size) = png(&at.path().join("new.png"));
    assert_eq!(size, [16, 16]);

    // A picture is the same however many there are, and the numbers of several are in their names.
    generates(&format!("{GENERATE} --count 2"), at.path(), "plms");
    let [one, two] = [0, 1].map(|image| png(&at.path().join(format!("new-0000{image}.png"))).0);
    assert!(one == first && two != first);
    for other in ["--negative 12", "--guidance 1", "--sampler ddim", "--seed 2"] {
        let line = GENERATE.replace("--seed 1", other).replace("new.png", "other.png");
        let sampler = if other.contains("ddim") { "ddim" } else { "plms" };
        generates(&line, at.path(), sampler);
        assert!(png(&at.path().join("other.png")).0 != first, "{other}");
    }
    let wide = GENERATE.replace("new.png", "wide.png");
    generates(&format!("{wide} --size 32x16 --vae-tiles"), at.path(), "plms");
    assert_eq!(png(&at.path().join("wide.png")).1, [32, 16]);
}

#[test]
fn a_report_shows_each_step() {
    if support::gpu().is_none() {
        return;
    }
    let at = with_pipeline(false);
    let line = format!("{GENERATE} --sampler ddim --report {{}}/page.html");
    generates(&line, at.path(), "ddim");
    let page = fs::read_to_string(at.path().join("page.html")).expect("the page");
    // The picture itself and one for each step.
    assert_eq!(page.matches("data:image/png").count(), 1 + 3, "{page}");
    for word in ["<h1>cat</h1>", "t = ", "MiB", "U-Net step", "Guidance", "7.5"] {
        assert!(page.contains(word), "{word}");
    }
    assert!(!page.contains("{{"), "a hole is left");
    // Watched or not, the picture is one.
    let (watched, _) = png(&at.path().join("new.png"));
    generates(&format!("{GENERATE} --sampler ddim"), at.path(), "ddim");
    assert!(png(&at.path().join("new.png")).0 == watched);
    fs::write(at.path().join("page.html"), "<p>mine</p>").expect("room");
    fails(&line, at.path(), &["page.html", "did not write it"]);
}

#[test]
fn a_run_begins_at_a_picture() {
    if support::gpu().is_none() {
        return;
    }
    let at = with_pipeline(false);
    generates(&format!("{GENERATE} --size 32x16"), at.path(), "plms");
    // What this command wrote is a picture like any other, and its size is that of the new one.
    let from = "generate --model {}/sd --prompt cat --sampler ddim --steps 4 --init {}/new.png --out {}/from.png";
    let said = generates(&format!("{from} --strength 0.5"), at.path(), "ddim");
    assert!(said.contains("2 steps") && said.contains(", encoder "), "{said}");
    let (half, size) = png(&at.path().join("from.png"));
    assert_eq!(size, [32, 16]);
    let masked = format!("{from} --strength 0.5 --mask {{}}/new.png");
    generates(&masked, at.path(), "ddim");
    assert!(png(&at.path().join("from.png")).0 != half);

    fails(&format!("{from} --size 16x16"), at.path(), &["--init", "16x16", "32x16"]);
    fails(&from.replace("--sampler ddim ", ""), at.path(), &["strength", "ddim", "0.8"]);
    generates(GENERATE, at.path(), "plms");
    fs::copy(at.path().join("from.png"), at.path().join("mask.png")).expect("room");
    fails(&format!("{from} --mask {{}}/mask.png"), at.path(), &["mask.png", "16x16", "32x16"]);
}

#[test]
fn sdxl_and_texts_of_elsewhere() {
    if support::gpu().is_none() {
        return;
    }
    let at = with_pipeline(true);
    generates(GENERATE, at.path(), "plms");
    let (plain, _) = png(&at.path().join("new.png"));
    // An empty negative prompt is a text, none is zeros.
    let line =
        "generate --model {}/sd --prompt cat --negative  --steps 3 --seed 1 --out {}/new.png";
    let words = line.replace("--negative ", "--negative=");
    generates(&words, at.path(), "plms");
    assert!(png(&at.path().join("new.png")).0 != plain);

    let (tokens, pooled) = (vec![0.5; 8 * 20], vec![0.25; 10]);
    let names = ["prompt_embeds", "negative_prompt_embeds"].map(|name| (name, &[1, 8, 20][..]));
    let whole = ["pooled_prompt_embeds", "negative_pooled_prompt_embeds"];
    let all = names.map(|(name, shape)| (name, shape, &tokens[..])).into_iter();
    let all = all.chain(whole.map(|name| (name, &[1, 10][..], &pooled[..])));
    write_tensors(&at.path().join("text.safetensors"), Precision::F32, all).expect("room");
    let line = "generate --model {}/sd --embeddings {}/text.safetensors --steps 3 --out {}/of.png";
    let said = generates(line, at.path(), "plms");
    assert!(!said.contains("text encoder"), "{said}");
    png(&at.path().join("of.png"));

    // A text encoder that is not run: the embeddings are the way.
    let index = at.path().join("sd/model_index.json");
    let text = fs::read_to_string(&index).expect("it was written");
    fs::write(&index, text.replace("CLIPTextModelWithProjection", "T5EncoderModel")).expect("room");
    fails(GENERATE, at.path(), &["text_encoder_2", "T5EncoderModel", "--embeddings"]);
    generates(line, at.path(), "plms");
}

#[test]
fn what_does_not_fit_is_named_and_nothing_is_written() {
    if support::gpu().is_none() {
        return;
    }
    let at = with_pipeline(false);
    let refused = |more: &str, parts: &[&str]| {
        fails(&format!("{GENERATE} {more}"), at.path(), parts);
    };
    refused("--size 18x16", &["multiples of 4", "16x18"]);
    refused("--init {}/none.png", &["none.png"]);
    refused("--init {}/sd/model_index.json", &["PNG, JPEG, WebP, BMP, TIFF or GIF"]);
    refused("--sampler edm --eta 1", &["--eta"]);
    refused("--size 4096x4096 --max-pixels 1000", &["4096x4096", "--max-pixels"]);
    refused("--tokenizer {}/sd", &["tokenizer.json"]);
    refused("--report {}/new.png", &["one place"]);
    for (line, parts) in [
        ("--mask m.png", ["--init", "required"]),
        ("--strength 0.5", ["--init", "required"]),
        ("--init a.png --strength 1.5", ["--strength", "at most 1"]),
        ("--sampler fast", ["--sampler", "fast"]),
        ("--size 16y16", ["--size", "invalid"]),
        ("--embeddings e.safetensors", ["--embeddings", "--prompt"]),
    ] {
        let ran = run(&format!("{GENERATE} {line}"), at.path());
        assert_eq!(ran.status, Some(2), "{line}: {ran:?}");
        assert!(parts.iter().all(|part| ran.error.contains(part)), "{line}: {}", ran.error);
    }
    let ddpm = "generate --model {}/sd/unet --prompt cat --out {}/new.png";
    fails(ddpm, at.path(), &["model_index.json"]);
    let written = names(at.path());
    assert!(written.iter().all(|name| name.starts_with("sd/")), "{written:?}");

    // A long prompt is cut with a warning.
    let long = GENERATE.replace("--prompt cat", "--prompt cat,cat,cat,cat");
    let ran = run(&long, at.path());
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.error.contains("warning: prompt of 7 tokens: the first 6 count"), "{}", ran.error);
}

//! From a prompt to a picture: what the library puts together is what its parts compute.
#![cfg(feature = "tokenizer")]
use crate::common::{
    latent::{self, SIDE, TOKENS},
    support::gpu,
};
use ddim::{
    Error,
    diffusion::{
        Guidance, Sampler,
        samplers::{SamplerKind, SamplerOptions, Table},
    },
    gpu::Gpu,
    graph::Graph,
    latent::{
        Codec, Denoising, LatentNetworks, PictureRequest, PictureStart, PromptEmbeddings,
        TextEmbedding,
    },
    models::clip_text::{ClipText, TextInputs, TextOutputs},
    nn::{Layers, Views},
    pipeline::{LatentPipeline, Opening, TextEncoder, TextEncoders},
    reference::{self, Environment, Tensor},
    value::{TensorType, Value},
    weights::{Precision, write_tensors},
};
use std::path::Path;
use tempfile::TempDir;

const PROMPT: &str = "a cat's hat";
const NEGATIVE: &str = "12";

/// A pipeline in a folder, opened.
struct Opened {
    folder: TempDir,
    pipeline: LatentPipeline,
    text: TextEncoders,
}

impl Opened {
    fn new(is_xl: bool) -> Self {
        let folder = tempfile::tempdir().expect("room");
        latent::write(folder.path(), is_xl);
        let pipeline = LatentPipeline::open(folder.path(), &Opening::default()).expect("whole");
        let text = TextEncoders::read(folder.path(), u64::MAX).expect("whole");
        Self { folder, pipeline, text }
    }

    fn embeddings(&self, gpu: &Gpu) -> PromptEmbeddings {
        let ids = self.text.tokens(None, &[NEGATIVE, PROMPT]).expect("its vocabulary");
        PromptEmbeddings::encode(gpu, &self.text, &ids).expect("its tokens")
    }

    fn table(&self, kind: SamplerKind, steps: usize) -> Table {
        let options = SamplerOptions { steps: Some(steps), ..SamplerOptions::default() };
        kind.table(&self.pipeline.scheduler, &options).expect("a run")
    }

    fn latents(&self, gpu: &Gpu, request: &PictureRequest) -> Result<Vec<f32>, Error> {
        let embeddings = self.embeddings(gpu);
        Denoising::new(gpu, &self.pipeline, &embeddings, request)?.latents(|_| {})
    }
}

fn ddim(opened: &Opened) -> Table {
    opened.table(SamplerKind::Ddim, 4)
}

/// Values of an encoder for texts of these tokens, in f64.
fn evaluated(
    encoder: &TextEncoder,
    ids: &[u32],
    choose: impl Fn(&TextOutputs) -> Vec<Value>,
) -> Vec<Tensor> {
    let (network, mut graph) = (&encoder.network, Graph::new());
    let texts = ids.len() / TOKENS;
    let inputs = TextInputs::inputs(&mut graph, texts, TOKENS);
    let mut known = Environment::new();
    for (value, numbers) in [
        (inputs.ids, ids.to_vec()),
        (inputs.positions, ClipText::positions(texts, TOKENS)),
        (inputs.pooled_rows, network.pooled_rows(ids, TOKENS)),
    ] {
        let numbers = numbers.into_iter().map(f64::from).collect();
        known.insert(value, Tensor::new(graph.type_of(value).shape, numbers));
    }
    let (mut views, weights) = (Views::default(), encoder.weights.load().expect("its file"));
    for (name, of) in weights.iter() {
        let value = graph.input(TensorType::f32(&of.shape));
        views.insert(name, value);
        known.insert(value, Tensor::new(of.shape, of.data.iter().map(|&x| x.into()).collect()));
    }
    let outputs = network.build(&mut Layers::new(&mut graph, &views, None), &inputs);
    let chosen = choose(&outputs.expect("the weights are its own"));
    let found = reference::evaluate(&graph, known).expect("all inputs are given");
    chosen.into_iter().map(|value| found[&value].clone()).collect()
}

#[track_caller]
fn close(found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    // Two layers of a few channels of magnitude 1, in f32.
    let error = |(x, y): (&f32, &f64)| (f64::from(*x) - y).abs();
    let largest = found.iter().zip(expected).map(error).fold(0.0, f64::max);
    assert!(largest < 2e-5, "{largest}");
}

#[test]
fn a_prompt_is_what_the_text_encoder_computes() {
    let Some(gpu) = gpu() else { return };
    let opened = Opened::new(false);
    let found = opened.embeddings(&gpu);
    let ids = &opened.text.tokens(None, &[NEGATIVE, PROMPT]).expect("its vocabulary")[0];
    let states =
        evaluated(&opened.text.encoders[0], ids, |outputs| vec![outputs.last_hidden_state]);
    let negative = found.negative.expect("it was encoded");
    close(&[negative.tokens, found.prompt.tokens].concat(), &states[0].data);
    assert_eq!((found.prompt.pooled, negative.pooled, found.count), (None, None, TOKENS));
}

#[test]
fn two_text_encoders_stand_side_by_side_and_the_second_tells_the_whole() {
    let Some(gpu) = gpu() else { return };
    let opened = Opened::new(true);
    let found = opened.embeddings(&gpu);
    let ids = opened.text.tokens(None, &[NEGATIVE, PROMPT]).expect("its vocabulary");
    let of = |number: usize| {
        evaluated(&opened.text.encoders[number], &ids[number], |outputs| {
            let penultimate = outputs.hidden_states[outputs.hidden_states.len() - 2];
            [penultimate].into_iter().chain(outputs.text_embeds).collect()
        })
    };
    let (one, other) = (of(0), of(1));
    let rows = one[0].data.chunks(12).zip(other[0].data.chunks(8));
    let rows: Vec<f64> = rows.flat_map(|(one, other)| [one, other].concat()).collect();
    let negative = found.negative.clone().expect("it was encoded");
    close(&[negative.tokens, found.prompt.tokens.clone()].concat(), &rows);
    let pooled = [negative.pooled, found.prompt.pooled.clone()].map(|of| of.expect("of SDXL"));
    close(&pooled.concat(), &other[1].data);

    // Without a negative prompt there are zeros, as in diffusers.
    let ids = opened.text.tokens(None, &[PROMPT]).expect("its vocabulary");
    let alone = PromptEmbeddings::encode(&gpu, &opened.text, &ids).expect("its tokens");
    let zeros = TextEmbedding { tokens: vec![0.0; 20 * TOKENS], pooled: Some(vec![0.0; 10]) };
    assert_eq!(alone.negative, Some(zeros));

    // A U-Net of SDXL runs from them, and sizes count.
    let table = ddim(&opened);
    let one = opened.latents(&gpu, &PictureRequest::new(&table, [SIDE; 2], 1, 5)).expect("it fits");
    assert!(one.iter().all(|x| x.is_finite()));
}

#[test]
fn a_picture_is_that_of_its_parts() {
    let Some(gpu) = gpu() else { return };
    let opened = Opened::new(false);
    let embeddings = opened.embeddings(&gpu);
    // A sampler that keeps tensors from step to step.
    let table = opened.table(SamplerKind::Plms, 4);
    let request = PictureRequest::new(&table, [SIDE; 2], 3, 5);
    let mut heard = Vec::new();
    let mut denoising =
        Denoising::new(&gpu, &opened.pipeline, &embeddings, &request).expect("fits");
    let latents = denoising.latents(|reached| heard.push((reached.image, reached.steps)));
    let latents = latents.expect("finite");
    assert_eq!((denoising.steps(), denoising.latent_size()), (table.steps.len(), [8, 8]));
    assert_eq!(heard.last(), Some(&(2, table.steps.len())));

    let (unet, weights) = (latent::unet(12, None), &*opened.pipeline.unet_weights);
    let guidance = Some(Guidance::of_scale(7.5, 0));
    let mut sampler =
        Sampler::new(&gpu, &unet, weights, [1, 8, 8], &table, guidance, 5).expect("it fits");
    let negative = embeddings.negative.clone().expect("it was encoded").tokens;
    sampler.set_context(&[negative, embeddings.prompt.tokens].concat()).expect("it fits");
    assert_eq!(sampler.sample(3, |_| {}).expect("finite"), latents);

    // Fewer pictures are the first of them; each step watched makes no difference.
    let few = opened.latents(&gpu, &PictureRequest { count: 2, predictions: true, ..request });
    assert_eq!(few.expect("finite"), latents[..2 * 4 * 64]);
    let other = opened.latents(&gpu, &PictureRequest { count: 1, seed: 6, ..request });
    assert_ne!(other.expect("finite"), latents[..4 * 64]);
    let unguided = PictureRequest { count: 1, guidance_scale: 1.0, ..request };
    assert_ne!(opened.latents(&gpu, &unguided).expect("finite"), latents[..4 * 64]);
}

#[test]
fn the_last_step_of_ddim_predicts_the_picture() {
    let Some(gpu) = gpu() else { return };
    let mut opened = Opened::new(false);
    opened.pipeline.scheduler.set_alpha_to_one = true;
    let table = ddim(&opened);
    let request =
        PictureRequest { predictions: true, ..PictureRequest::new(&table, [SIDE; 2], 1, 5) };
    let embeddings = opened.embeddings(&gpu);
    let mut predicted = Vec::new();
    let latents = Denoising::new(&gpu, &opened.pipeline, &embeddings, &request)
        .and_then(|mut of| {
            of.latents(|reached| predicted.push(reached.predicted.map(<[f32]>::to_vec)))
        })
        .expect("finite");
    assert_eq!(predicted.len(), table.steps.len());
    let last: Vec<f64> = latents.iter().map(|&x| x.into()).collect();
    let found = predicted.pop().flatten().expect("it was asked for");
    let scale = last.iter().fold(1.0, |most: f64, x| most.max(x.abs()));
    let relative = |x: f32| (f64::from(x) / scale) as f32;
    let found: Vec<f32> = found.into_iter().map(relative).collect();
    close(&found, &last.iter().map(|x| x / scale).collect::<Vec<_>>());
}

#[test]
fn a_mask_keeps_the_dark_and_repaints_the_bright() {
    let Some(gpu) = gpu() else { return };
    let opened = Opened::new(false);
    let table = ddim(&opened);
    let plain = PictureRequest::new(&table, [SIDE; 2], 2, 5);
    let picture: Vec<f32> = (0..3 * SIDE * SIDE).map(|at| (at as f32 * 0.37).sin()).collect();
    let from = |mask: Option<&[f32]>, strength: f64, tile: Option<usize>| {
        let start = Some(PictureStart { picture: &picture, strength, mask });
        opened.latents(&gpu, &PictureRequest { start, tile, ..plain }).expect("it fits")
    };
    let [bright, dark] = [1.0, 0.0].map(|shade| vec![shade; SIDE * SIDE]);
    // All new at full strength: as without a picture.
    assert_eq!(from(Some(&bright), 1.0, None), opened.latents(&gpu, &plain).expect("it fits"));
    // All kept: what was encoded, which the strength does not change.
    let kept = from(Some(&dark), 1.0, None);
    assert_eq!(kept, from(Some(&dark), 0.5, None));
    let codec = Codec {
        gpu: &gpu,
        network: &opened.pipeline.vae,
        weights: &*opened.pipeline.vae_weights,
        tile: None,
    };
    let posterior = codec.encode(&picture, [1, SIDE, SIDE]).expect("it fits");
    let scaling = opened.pipeline.vae.config().scaling_factor;
    let deviation = posterior.logvar.iter().map(|x| (0.5 * f64::from(*x)).exp());
    let off = kept
        .iter()
        .zip(posterior.mean.iter().zip(deviation))
        .map(|(x, (mean, deviation))| (f64::from(*x) / scaling - f64::from(*mean)) / deviation);
    let off: Vec<f64> = off.collect();
    let mean_square = off.iter().map(|x| x * x).sum::<f64>() / off.len() as f64;
    // 256 standard normal numbers: 4 deviations of their mean square are 0.35.
    assert!((mean_square - 1.0).abs() < 0.35, "{mean_square}");
    // Half kept: the other half alone differs.
    let half: Vec<f32> = (0..SIDE * SIDE).map(|at| f32::from(at >= SIDE * SIDE / 2)).collect();
    let found = from(Some(&half), 0.5, None);
    let (above, below) = found[..256].split_at(128);
    assert_eq!(above, &kept[..128]);
    assert!(below.iter().zip(&kept[128..256]).all(|(x, y)| x != y));
    // Without a mask strength tells how much is left.
    let change = |strength| {
        let found = from(None, strength, None);
        found.iter().zip(&kept).map(|(x, y)| (x - y).abs()).sum::<f32>()
    };
    assert!(change(0.25) < change(1.0));
    // Tiles see less of the picture.
    assert_ne!(from(Some(&dark), 0.5, Some(SIDE / 2)), kept);
}

#[test]
fn what_does_not_fit_is_named() {
    let Some(gpu) = gpu() else { return };
    let opened = Opened::new(false);
    let (table, plms) = (ddim(&opened), opened.table(SamplerKind::Plms, 4));
    let plain = PictureRequest::new(&table, [SIDE; 2], 1, 0);
    let picture = vec![0.0; 3 * SIDE * SIDE];
    let start = |strength, mask| Some(PictureStart { picture: &picture, strength, mask });
    let refused = |request: PictureRequest, words: &[&str]| {
        let error = opened.latents(&gpu, &request).expect_err("it does not fit").to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error} lacks {words:?}");
    };
    refused(PictureRequest { size: [SIDE, 18], ..plain }, &["multiples of 4", "16x18"]);
    refused(PictureRequest { start: start(0.1, None), ..plain }, &["strength", "0.1"]);
    let strength = PictureRequest { table: &plms, start: start(0.5, None), ..plain };
    refused(strength, &["strength", "ddim", "0.5"]);
    let mask = PictureRequest { start: start(0.5, Some(&picture[..9])), ..plain };
    refused(mask, &["mask", "16x16", "9 numbers"]);
    let small = PictureRequest { size: [8, 8], start: start(0.5, None), ..plain };
    refused(small, &["init", "8x8", "768"]);

    let mut embeddings = opened.embeddings(&gpu);
    embeddings.negative = None;
    let error = Denoising::new(&gpu, &opened.pipeline, &embeddings, &plain).err();
    let error = error.expect("guidance needs it").to_string();
    assert!(error.contains("negative_prompt_embeds"), "{error}");
    let ids = [vec![0; TOKENS + 1]];
    let error = PromptEmbeddings::encode(&gpu, &opened.text, &ids).expect_err("9 tokens");
    assert!(error.to_string().contains("texts of 8 tokens"), "{error}");
    let ids = [vec![9_999; TOKENS]];
    let error = PromptEmbeddings::encode(&gpu, &opened.text, &ids).expect_err("no such token");
    assert!(error.to_string().contains("vocab_size, found 9999"), "{error}");
}

#[test]
fn embeddings_of_a_file_are_those_of_the_text_encoders() {
    let Some(gpu) = gpu() else { return };
    for is_xl in [false, true] {
        let opened = Opened::new(is_xl);
        let path = opened.folder.path().join("text.safetensors");
        let wanted = opened.embeddings(&gpu);
        let negative = wanted.negative.as_ref().expect("it was encoded");
        let width = wanted.prompt.tokens.len() / TOKENS;
        let mut all = vec![
            ("prompt_embeds", vec![1, TOKENS, width], &wanted.prompt.tokens),
            ("negative_prompt_embeds", vec![1, TOKENS, width], &negative.tokens),
        ];
        if let (Some(prompt), Some(negative)) = (&wanted.prompt.pooled, &negative.pooled) {
            all.push(("pooled_prompt_embeds", vec![1, 10], prompt));
            all.push(("negative_pooled_prompt_embeds", vec![1, 10], negative));
        }
        let write = |tensors: &[(&str, Vec<usize>, &Vec<f32>)]| {
            let tensors = tensors.iter().map(|(name, shape, data)| (*name, &shape[..], &data[..]));
            write_tensors(&path, Precision::F32, tensors).expect("room");
        };
        let unet = &opened.pipeline.unet;
        let read = |path: &Path| PromptEmbeddings::read(path, unet);
        write(&all);
        assert_eq!(read(&path).expect("its own names"), wanted);
        let named = |word: &str| {
            let error = read(&path).expect_err(word).to_string();
            assert!(error.contains("text.safetensors") && error.contains(word), "{error}");
        };
        write(&all[1..]);
        named("prompt_embeds: expected [1,77");
        write(&[&all[..], &[("prompt", vec![1], &vec![0.0])]].concat());
        named("prompt: expected no such tensor");
        all[0].1 = vec![TOKENS, width];
        write(&all);
        named("prompt_embeds: expected [1,8");
        if is_xl {
            all[0].1 = vec![1, TOKENS, width];
            write(&all[..2]);
            named("pooled_prompt_embeds");
        }
    }
}

#[test]
fn each_network_has_a_plan_of_its_own() {
    let Some(gpu) = gpu() else { return };
    let opened = Opened::new(true);
    let table = ddim(&opened);
    let picture = vec![0.0; 3 * SIDE * SIDE];
    let start = Some(PictureStart { picture: &picture, strength: 0.5, mask: None });
    let request = PictureRequest { start, ..PictureRequest::new(&table, [SIDE; 2], 1, 0) };
    let text = TextEncoders::networks(opened.folder.path(), u64::MAX).expect("whole");
    let (unet, vae) = (&latent::unet(20, Some(10)), &latent::vae());
    let plans = LatentNetworks { text: &text, unet, vae }.plans(gpu.target(), &request);
    let plans = plans.expect("it fits");
    let names: Vec<&str> = plans.iter().map(|of| &of.name[..]).collect();
    assert_eq!(names, ["text encoder 1", "text encoder 2", "encoder", "U-Net step", "decoder"]);
    assert!(plans.iter().all(|of| of.plan.peak_bytes() > 0));
}

/// A pipeline whose text encoder is another is refused by name.
#[test]
fn text_encoders_that_are_not_run_are_named() {
    let folder = tempfile::tempdir().expect("room");
    latent::write(folder.path(), true);
    let path = folder.path().join("model_index.json");
    let index = std::fs::read_to_string(&path).expect("it was written");
    std::fs::write(&path, index.replace("CLIPTextModelWithProjection", "T5EncoderModel"))
        .expect("room");
    let error = TextEncoders::read(folder.path(), u64::MAX).expect_err("another").to_string();
    for word in ["text_encoder_2", "CLIPTextModelWithProjection", "T5EncoderModel"] {
        assert!(error.contains(word), "{error}");
    }
}

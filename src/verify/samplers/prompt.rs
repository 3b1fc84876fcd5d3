//! Cases of whole pipelines: from prompts to a picture.
use super::{refuse_other_steps, stored, trajectory::Stepper};
use crate::{
    diffusion::{Guidance, SamplingOptions},
    error::Error,
    gpu::Gpu,
    latent::{Codec, PromptEmbeddings},
    pipeline::{LatentPipeline, Opening, TextEncoders},
    value::Shape,
    verify::{
        case_files::{Case, Results},
        case_graph::Axes,
    },
};

/// Kind `prompt`.
pub(in crate::verify) fn prompt(gpu: &Gpu, case: &Case) -> Result<Results, Error> {
    let (prompt, negative): (String, Option<String>) =
        (case.setting("prompt")?, case.setting("negative")?);
    let path = case.model()?;
    let pipeline = LatentPipeline::open(&path, &Opening::default())?;
    let text = TextEncoders::read(&path, gpu.target().max_binding)?;
    let nothing = (!text.zeros_without_negative).then(String::new);
    let texts: Vec<String> = negative.or(nothing).into_iter().chain([prompt]).collect();
    let ids = text.tokens(None, &texts.iter().map(|text| &text[..]).collect::<Vec<_>>())?;
    let embeddings = PromptEmbeddings::encode(gpu, &text, &ids)?;
    let mut results = Results::new();
    let mut put = |name: &str, data: &[f32]| {
        results.insert(name.to_owned(), data.iter().copied().map(f64::from).collect());
    };
    for (prefix, text) in
        [("", Some(&embeddings.prompt)), ("negative_", embeddings.negative.as_ref())]
    {
        let Some(text) = text else { continue };
        put(&format!("{prefix}prompt_embeds"), &text.tokens);
        put(&format!("{prefix}pooled_prompt_embeds"), text.pooled.as_deref().unwrap_or_default());
    }
    put("ids", &ids.concat().into_iter().map(|id| id as f32).collect::<Vec<_>>());
    results.extend(pictures(gpu, case, &pipeline, &embeddings)?);
    Ok(results)
}

/// The latents of all steps, and the picture.
fn pictures(
    gpu: &Gpu,
    case: &Case,
    pipeline: &LatentPipeline,
    embeddings: &PromptEmbeddings,
) -> Result<Results, Error> {
    let (shape, x) = case.dense("x_T", Axes::Image)?;
    let table = pipeline.scheduler.ddim(case.setting("steps")?, 0.0)?;
    refuse_other_steps(case, table.steps.len(), shape.elements())?;
    let (unet, factor) =
        (pipeline.unet.clone().with_tokens(embeddings.count), pipeline.vae.config().factor());
    let size = [shape[1], shape[2]].map(|side| side * factor);
    let (context, vectors) = embeddings.conditions(&unet, true, size)?;
    let guidance = Some(Guidance::of_scale(case.setting("guidance_scale")?, 0));
    let options = SamplingOptions { guidance, ..SamplingOptions::default() };
    let weights = &*pipeline.unet_weights;
    let mut stepper = Stepper::new(gpu, &unet, weights, &shape, &table, &options)?;
    stepper.set_context(&context)?;
    if let Some(vectors) = vectors {
        stepper.set_vectors(&vectors)?;
    }
    let mut samples = vec![x];
    for index in 0..table.steps.len() {
        samples.push(stepper.step(&samples[index], None, &[])?);
    }
    let (network, weights) = (&pipeline.vae, &*pipeline.vae_weights);
    let codec = Codec { gpu, network, weights, tile: None };
    let latent = network.config().unscaled(&samples[samples.len() - 1]);
    let decoded = codec.decode(&latent, [shape[0], shape[1], shape[2]])?;
    let shown = decoded.iter().map(|x| (0.5 * x + 0.5).clamp(0.0, 1.0)).collect();
    let image = Shape::new(&[shape[0], size[0], size[1], network.config().out_channels]);
    Ok([
        ("xs".to_owned(), stored(&shape, &samples)),
        ("decoded".to_owned(), stored(&image, [&decoded])),
        ("picture".to_owned(), stored(&image, [&shown])),
    ]
    .into())
}

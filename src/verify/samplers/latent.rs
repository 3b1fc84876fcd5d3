//! Cases of latent diffusion: guided sampling, from noise or a picture, whole or in part, and decoding.
use super::{refuse_other_timesteps, stored, trajectory::Stepper};
use crate::{
    diffusion::{
        Guidance, SamplingOptions,
        samplers::Table,
        schedule::{Level, SchedulerConfig},
    },
    error::Error,
    gpu::Gpu,
    latent::{Codec, Half, KeptPart, codec_plan, latent_mask, noised, partial},
    models::autoencoder_kl::Posterior,
    value::Shape,
    verify::{
        autoencoder,
        case_files::{Case, Results},
        case_graph::Axes,
        networks, schedules,
    },
};

/// The samples of a run from `x` along the table; `after` may change each before the next step.
fn denoised(
    gpu: &Gpu,
    case: &Case,
    table: &Table,
    (shape, x): (Shape, Vec<f32>),
    mut after: impl FnMut(usize, &mut [f32]),
) -> Result<Vec<Vec<f32>>, Error> {
    let (unet, weights) = networks::text_model(case, "cond")?;
    let scale: f64 = case.setting("guidance_scale")?;
    let mut context = case.dense("cond", Axes::Same)?.1;
    let guidance = (scale != 1.0).then(|| Guidance::of_scale(scale, 0));
    if guidance.is_some() {
        context = [case.dense("uncond", Axes::Same)?.1, context].concat();
    }
    let given = ["step_noise", "noise"].into_iter().find(|name| case.has(name));
    let noise = match given.filter(|_| table.adds_noise()) {
        Some(name) => case.tensor(name)?.numbers.clone().into_f32(),
        None => Vec::new(),
    };
    let elements = shape.elements();
    let given_noise = table.adds_noise();
    if given_noise && noise.len() != table.steps.len() * elements {
        return Err(case.refuse("step_noise is not that of every step"));
    }
    let options = SamplingOptions { given_noise, guidance, ..SamplingOptions::default() };
    let mut stepper = Stepper::new(gpu, &unet, &weights, &shape, table, &options)?;
    stepper.set_context(&context)?;
    let mut samples = vec![x];
    for index in 0..table.steps.len() {
        let noise = noise.get(index * elements..(index + 1) * elements).unwrap_or_default();
        let noise = Axes::Image.read(&shape, noise);
        let mut x = stepper.step(&samples[index], None, &noise)?;
        after(index, &mut x);
        samples.push(x);
    }
    Ok(samples)
}

fn eta(case: &Case) -> Result<f64, Error> {
    Ok(case.setting::<Option<f64>>("eta")?.unwrap_or_default())
}

/// Kind `ldm_sampling`.
pub(in crate::verify) fn sampling(gpu: &Gpu, case: &Case) -> Result<Results, Error> {
    let table = schedules::scheduler(case)?.ddim(case.setting("steps")?, eta(case)?)?;
    refuse_other_timesteps(case, &table)?;
    let start = case.dense("x_T", Axes::Image)?;
    let shape = start.0;
    let samples = denoised(gpu, case, &table, start, |_, _| {})?;
    Ok([("xs".to_owned(), stored(&shape, &samples))].into())
}

/// Kinds `img2img` and `inpaint_legacy`.
pub(in crate::verify) fn from_picture(gpu: &Gpu, case: &Case) -> Result<Results, Error> {
    let (network, weights) = autoencoder::read(&case.file(&case.setting::<String>("vae")?))?;
    let codec = Codec { gpu, network: &network, weights: &weights, tile: None };
    let (config, (image, pixels)) = (network.config(), case.dense("image", Axes::Image)?);
    let posterior: Posterior = codec.encode(&pixels, [image[0], image[1], image[2]])?;
    let latent = config.scaled(&posterior.sample(&case.dense("posterior_noise", Axes::Image)?.1));
    let (shape, noise) = case.dense("noise", Axes::Image)?;
    if shape.elements() != latent.len() {
        return Err(case.refuse("noise has not the shape of the latents"));
    }

    let mut settings = case.settings()["schedule"].clone();
    settings["prediction_type"] = case.settings()["prediction_type"].clone();
    let scheduler = SchedulerConfig::parse(&settings.to_string())?;
    let strength: f64 = case.setting("strength")?;
    let table = partial(scheduler.ddim(case.setting("steps")?, eta(case)?)?, strength)?;
    refuse_other_timesteps(case, &table)?;
    let levels: Vec<Level> = table.levels(&scheduler.schedule()?)?;
    let mut results = Results::new();
    let mask = match case.has("mask") {
        false => None,
        true => {
            let (of, mask) = case.dense("mask", Axes::Image)?;
            let mask = latent_mask(&mask, [of[0], of[1], of[2]], config.factor());
            let wide = mask.iter().copied().map(f64::from).collect();
            results.insert("latent_mask".to_owned(), wide);
            let pixels = shape.rows();
            Some(mask.into_iter().cycle().take(pixels).collect::<Vec<f32>>())
        }
    };
    let pure = mask.is_some() && strength == 1.0;
    let start = if pure { noise.clone() } else { noised(&levels[0], &latent, &noise) };
    let kept = mask.as_ref().map(|mask| KeptPart { latent: &latent, noise: &noise, mask });
    let samples = denoised(gpu, case, &table, (shape, start), |index, x| {
        if let Some(kept) = kept {
            kept.put_back(x, levels.get(index + 1));
        }
    })?;
    let last = config.unscaled(&samples[samples.len() - 1]);
    let decoded = codec.decode(&last, [shape[0], shape[1], shape[2]])?;
    let shown = decoded.iter().map(|x| (0.5 * x + 0.5).clamp(0.0, 1.0)).collect();
    results.insert("init_latent".to_owned(), stored(&shape, [&latent]));
    results.insert("xs".to_owned(), stored(&shape, &samples));
    results.insert("decoded".to_owned(), stored(&image, [&decoded]));
    results.insert("picture".to_owned(), stored(&image, [&shown]));
    Ok(results)
}

/// Kind `vae_bands`: as a device computes it that binds `max_binding` bytes at a time.
pub(in crate::verify) fn in_bands(gpu: &Gpu, case: &Case) -> Result<Results, Error> {
    let (network, weights) = autoencoder::read(&case.model()?)?;
    let (latent, image) = (case.dense("latent", Axes::Image)?, case.dense("image", Axes::Image)?);
    let size = |shape: &Shape| [shape[0], shape[1], shape[2]];
    let narrow = gpu.binding_at_most(case.setting("max_binding")?);
    let [_, height, width] = size(&image.0);
    for half in [Half::Encoder, Half::Decoder] {
        let plan = codec_plan(gpu.target(), &network, half, [height, width], None)?;
        if plan.lacks(narrow.target()).is_empty() {
            return Err(case.refuse("config: max_binding is more than any tensor takes"));
        }
    }
    let codec = Codec { gpu: &narrow, network: &network, weights: &weights, tile: None };
    let decoded = codec.decode(&latent.1, size(&latent.0))?;
    let posterior = codec.encode(&image.1, size(&image.0))?;
    Ok([
        ("decoded".to_owned(), stored(&image.0, [&decoded])),
        ("mean".to_owned(), stored(&latent.0, [&posterior.mean])),
        ("logvar".to_owned(), stored(&latent.0, [&posterior.logvar])),
    ]
    .into())
}

/// Kind `vae_tiled`.
pub(in crate::verify) fn tiled(gpu: &Gpu, case: &Case) -> Result<Results, Error> {
    let (network, weights) = autoencoder::read(&case.model()?)?;
    let (latent, image) = (case.dense("latent", Axes::Image)?, case.dense("image", Axes::Image)?);
    let size = |shape: &Shape| [shape[0], shape[1], shape[2]];
    let (config, factor) = (network.config(), network.config().factor());
    let with_channels = |[batch, height, width]: [usize; 3], channels: usize| {
        Shape::new(&[batch, height, width, channels])
    };
    let [batch, height, width] = size(&latent.0);
    let decoded_shape =
        with_channels([batch, factor * height, factor * width], config.out_channels);
    let [batch, height, width] = size(&image.0);
    let encoded_shape =
        with_channels([batch, height / factor, width / factor], config.latent_channels);
    let side = case.setting("tile_sample_min_size")?;
    let mut results = Results::new();
    for (prefix, tile) in [("", Some(side)), ("plain_", None)] {
        let codec = Codec { gpu, network: &network, weights: &weights, tile };
        let decoded = codec.decode(&latent.1, size(&latent.0))?;
        let posterior = codec.encode(&image.1, size(&image.0))?;
        for (name, shape, data) in [
            ("decoded", decoded_shape, &decoded),
            ("mean", encoded_shape, &posterior.mean),
            ("logvar", encoded_shape, &posterior.logvar),
        ] {
            results.insert(format!("{prefix}{name}"), stored(&shape, [data]));
        }
    }
    Ok(results)
}

//! Cases of sampling, every step by the fused kernel on the device, with the case's noise.
mod classifier;
mod diffusers;
mod guidance;
mod langevin;
mod latent;
#[cfg(feature = "tokenizer")]
mod prompt;
mod trajectory;

pub(super) use classifier::run as classifier_guidance;
pub(super) use diffusers::scheduler;
pub(super) use guidance::{guidance, interpolation};
pub(super) use langevin::langevin;
pub(super) use latent::{
    from_picture, in_bands as autoencoder_in_bands, sampling as latent_sampling,
    tiled as tiled_autoencoder,
};
#[cfg(feature = "tokenizer")]
pub(super) use prompt::prompt;

use super::{
    case_files::{Case, Results},
    case_graph::Axes,
    schedules,
};
use crate::{
    diffusion::{
        samplers::{
            DdimOptions, EncodeRule, Table, VariancePreserving, annealed_langevin_table,
            ddim_table, ddpm_table, encode_table, probability_flow_table,
        },
        schedule::{Level, Prediction, Schedule, SchedulerConfig, Spacing, Variance},
    },
    error::Error,
    gpu::Gpu,
    value::Shape,
};
use trajectory::{Predictor, Trajectory, follow};

/// Samples one after another, in the file's order of axes.
fn stored<'a>(shape: &Shape, samples: impl IntoIterator<Item = &'a Vec<f32>>) -> Vec<f64> {
    let samples = samples.into_iter().flat_map(|sample| Axes::Image.write(shape, sample));
    samples.map(f64::from).collect()
}

/// The noise of all steps in the file's order, if there is any.
fn noise(case: &Case, steps: usize, elements: usize) -> Result<Vec<f32>, Error> {
    if !case.has("noise") {
        return Ok(Vec::new());
    }
    let noise = case.tensor("noise")?.numbers.clone().into_f32();
    if noise.len() != steps * elements {
        return Err(case.refuse("noise is not that of every step"));
    }
    Ok(noise)
}

/// Refuses a case whose reference has not a sample for the start and one for each step, before any
/// is computed.
fn refuse_other_steps(case: &Case, steps: usize, elements: usize) -> Result<(), Error> {
    let wanted = case.tensor("xs")?.shape.iter().product::<usize>();
    match steps.checked_add(1).and_then(|samples| samples.checked_mul(elements)) {
        Some(found) if found == wanted => Ok(()),
        _ => Err(case.refuse(format!("config: xs is not of {steps} steps"))),
    }
}

fn refuse_other_timesteps(case: &Case, table: &Table) -> Result<(), Error> {
    let timesteps = table.steps.iter().map(|step| step.timestep);
    if timesteps.eq(case.tensor("timesteps")?.numbers.to_f64()) {
        return Ok(());
    }
    Err(case.refuse("the timesteps are not those that config gives"))
}

/// The level that each step of a table leaves.
fn levels(schedule: &Schedule, table: &Table) -> Result<Vec<Level>, Error> {
    Ok(table.levels(schedule)?)
}

/// Kinds `ddim`, `ddpm` and `ddim_paper`.
pub(super) fn run(gpu: &Gpu, case: &Case) -> Result<Results, Error> {
    let flag = |key| Ok::<_, Error>(case.setting::<Option<bool>>(key)?.unwrap_or_default());
    let (sigma_hat, clip) = (flag("sigma_hat")?, flag("clip")?);
    let (steps, eta): (_, Option<f64>) = (case.setting("steps")?, case.setting("eta")?);
    let (eta, skip) = (eta.unwrap_or_default(), case.setting::<Option<Spacing>>("skip")?);
    let scheduler = schedules::scheduler(case)?;
    let schedule = scheduler.schedule()?;
    let mut output = scheduler.prediction();
    let mut wide = false;
    let table = match (case.kind(), skip) {
        ("ddim", _) => {
            let options = DdimOptions {
                eta,
                rule: scheduler.timestep_spacing.rule(),
                final_alpha: scheduler.final_alpha()?,
                rederive_noise: flag("use_clipped_model_output")?,
                ..DdimOptions::default()
            };
            ddim_table(&schedule, &scheduler.timesteps(steps)?, &output, &options)?
        }
        ("ddpm", _) => {
            wide = scheduler.variance_type == Variance::LearnedRange;
            scheduler.ddpm(steps)?
        }
        (_, Some(skip)) => {
            let timesteps = skip.timesteps(scheduler.num_train_timesteps, steps, 0)?;
            output.clip = clip.then_some(1.0);
            if sigma_hat && clip {
                // The released ddpm_noisy: the posterior's mean with the larger variance.
                ddpm_table(&schedule, &timesteps, &output, Variance::FixedLarge)?
            } else {
                let options = DdimOptions { eta, sigma_hat, ..DdimOptions::default() };
                ddim_table(&schedule, &timesteps, &output, &options)?
            }
        }
        _ => return Err(case.refuse("config names no skip")),
    };
    refuse_other_timesteps(case, &table)?;
    let start = case.dense("x_T", Axes::Image)?;
    let shape = start.0;
    let noise = noise(case, table.steps.len(), shape.elements())?;
    let model = Predictor::of(case, &output, levels(&schedule, &table)?, wide)?;
    let Trajectory { samples, images } = follow(gpu, case, &model, &table, start, &noise)?;
    let keep = case.setting::<Option<usize>>("keep_every")?.unwrap_or(1).max(1);
    let samples = stored(&shape, samples.iter().step_by(keep));
    let images = stored(&shape, images.iter().skip(keep - 1).step_by(keep));
    Ok([("xs".to_owned(), samples), ("x0_preds".to_owned(), images)].into())
}

/// Kind `ddim_inversion`: from image to noise and back, in the paper's form.
pub(super) fn inversion(gpu: &Gpu, case: &Case) -> Result<Results, Error> {
    let steps = case.setting("steps")?;
    let config = SchedulerConfig::default();
    let (schedule, output) = (config.schedule()?, Prediction::default());
    let timesteps = Spacing::Uniform.timesteps(config.num_train_timesteps, steps, 0)?;
    let encode = encode_table(&schedule, &timesteps, &output, EncodeRule::Leaving, 1.0)?;
    let decode = ddim_table(&schedule, &timesteps, &output, &DdimOptions::default())?;
    let start = case.dense("x0", Axes::Image)?;
    let (shape, image) = start.clone();
    let model = |table: &Table| Predictor::of(case, &output, levels(&schedule, table)?, false);
    let up = follow(gpu, case, &model(&encode)?, &encode, start, &[])?.samples;
    let reached = (shape, up.last().cloned().unwrap_or_default());
    let down = follow(gpu, case, &model(&decode)?, &decode, reached, &[])?.samples;
    let again = down.last().into_iter().flatten();
    let squares: f64 =
        again.zip(&image).map(|(&again, &x)| (f64::from(again) - f64::from(x)).powi(2)).sum();
    Ok([
        ("encode".to_owned(), stored(&shape, &up)),
        ("decode".to_owned(), stored(&shape, &down)),
        ("reconstruction_mse".to_owned(), vec![squares / image.len() as f64]),
    ]
    .into())
}

/// Kind `ddim_inverse_scheduler`: from image to noise, in diffusers' form.
pub(super) fn inverse_scheduler(gpu: &Gpu, case: &Case) -> Result<Results, Error> {
    let steps = case.setting("steps")?;
    let config = schedules::scheduler(case)?;
    let (schedule, output) = (config.schedule()?, config.prediction());
    let (timesteps, first) = (config.timesteps(steps)?, config.final_alpha()?);
    let table = encode_table(&schedule, &timesteps, &output, EncodeRule::Reached, first)?;
    refuse_other_timesteps(case, &table)?;
    let start = case.dense("x0", Axes::Image)?;
    let shape = start.0;
    let model = Predictor::of(case, &output, levels(&schedule, &table)?, false)?;
    let run = follow(gpu, case, &model, &table, start, &[])?;
    Ok([("xs".to_owned(), stored(&shape, &run.samples))].into())
}

/// Kind `probability_flow`: single steps of DDIM and of Euler's method beside each other.
pub(super) fn probability_flow(gpu: &Gpu, case: &Case) -> Result<Results, Error> {
    let pairs: Vec<[usize; 2]> = case.setting("pairs")?;
    let schedule = schedules::scheduler(case)?.schedule()?;
    let output = Prediction { clip: None, ..Prediction::default() };
    let mut results = Results::new();
    for [from, to] in pairs {
        let options = DdimOptions::default();
        for (name, mut table) in [
            ("ddim", ddim_table(&schedule, &[from, to], &output, &options)?),
            ("pf_euler", probability_flow_table(&schedule, &[from, to], &output)?),
        ] {
            table.steps.truncate(1);
            let start = case.dense("x", Axes::Image)?;
            let shape = start.0;
            let model = Predictor::of(case, &output, levels(&schedule, &table)?, false)?;
            let run = follow(gpu, case, &model, &table, start, &[])?;
            results.insert(format!("{name}_{from}_{to}"), stored(&shape, run.samples.last()));
        }
    }
    Ok(results)
}

/// Kind `vpsde`: the reverse process in continuous time, or its flow.
pub(super) fn vpsde(gpu: &Gpu, case: &Case) -> Result<Results, Error> {
    let (steps, probability_flow) = (case.setting("steps")?, case.setting("probability_flow")?);
    let start = case.dense("x_T", Axes::Image)?;
    let shape = start.0;
    refuse_other_steps(case, steps, shape.elements())?;
    let process = VariancePreserving {
        beta_min: case.setting("beta_min")?,
        beta_max: case.setting("beta_max")?,
        end: case.setting("t_end")?,
        last_timestep: 999.0,
    };
    let output = Prediction::default();
    let table = process.table(steps, &output, probability_flow, false)?;
    let levels: Vec<Level> = process.times(steps).map(|t| process.level(t)).collect();
    let noise = noise(case, steps, shape.elements())?;
    let noise = if probability_flow { Vec::new() } else { noise };
    let model = Predictor::of(case, &output, levels, false)?;
    let samples = follow(gpu, case, &model, &table, start, &noise)?.samples;
    // A step without its noise, from the sample that the run came to.
    let mut means = Vec::with_capacity(steps);
    for (index, sample) in samples.iter().take(steps).enumerate() {
        let mut step = table.clone();
        step.steps = vec![table.steps[index]];
        step.steps[0].sigma = 0.0;
        let level = process.times(steps).nth(index).map(|t| process.level(t));
        let model = Predictor::of(case, &output, level.into_iter().collect(), false)?;
        means.extend(follow(gpu, case, &model, &step, (shape, sample.clone()), &[])?.samples.pop());
    }
    Ok([("xs".to_owned(), stored(&shape, &samples)), ("means".to_owned(), stored(&shape, &means))]
        .into())
}

/// Kind `annealed_langevin`.
pub(super) fn annealed_langevin(gpu: &Gpu, case: &Case) -> Result<Results, Error> {
    let (sigmas, steps_per_sigma): (Vec<f64>, usize) =
        (case.setting("sigmas")?, case.setting("steps_per_sigma")?);
    let start = case.dense("x", Axes::Image)?;
    let shape = start.0;
    let steps = sigmas.len().saturating_mul(steps_per_sigma);
    refuse_other_steps(case, steps, shape.elements())?;
    let numbered = sigmas.iter().enumerate();
    let levels: Vec<Level> =
        numbered.map(|(index, &sigma)| Level::variance_exploding(index as f64, sigma)).collect();
    let output = Prediction::default();
    let table =
        annealed_langevin_table(&levels, steps_per_sigma, case.setting("eps")?, false, &output)?;
    let noise = noise(case, steps, shape.elements())?;
    let each = levels.iter().flat_map(|level| std::iter::repeat_n(*level, steps_per_sigma));
    let model = Predictor::of(case, &output, each.collect(), false)?;
    let run = follow(gpu, case, &model, &table, start, &noise)?;
    Ok([("xs".to_owned(), stored(&shape, &run.samples))].into())
}

//! Cases of diffusers' schedulers: the sampler of the case's class, by its configuration.
use super::{
    levels, noise, stored,
    trajectory::{Predictor, follow},
};
use crate::{
    diffusion::{
        samplers::{Churn, SamplerKind, SamplerOptions, Table},
        schedule::{Level, Process, SchedulerConfig, Variance},
    },
    error::Error,
    gpu::Gpu,
    verify::{
        case_files::{Case, Results},
        case_graph::Axes,
    },
};
use serde::Deserialize;
use serde_json::Value as Json;

/// Largest difference of a timestep or a sigma, relative to its size or to 1: fractions are computed in
/// another order.
const TOLERANCE: f64 = 1e-8;

/// What a case passes to each step beside output, timestep and sample.
#[derive(Default, Deserialize)]
#[serde(default)]
struct StepArguments {
    eta: f64,
    s_churn: f64,
    s_tmin: f64,
    s_tmax: Option<f64>,
    s_noise: Option<f64>,
}

/// Refuses a list of the case that is not the one found.
fn refuse_other(case: &Case, name: &str, found: &[f64]) -> Result<(), Error> {
    let given = case.tensor(name)?.numbers.to_f64();
    let close = |(a, b): (&f64, &f64)| (a - b).abs() <= TOLERANCE * b.abs().max(1.0);
    if given.len() == found.len() && found.iter().zip(&given).all(close) {
        return Ok(());
    }
    Err(case.refuse(format!("{name}: expected {given:?}, found {found:?}")))
}

/// Kind `diffusers_scheduler`.
pub(in crate::verify) fn scheduler(gpu: &Gpu, case: &Case) -> Result<Results, Error> {
    let configuration: Json = case.setting("scheduler_config")?;
    let scheduler = SchedulerConfig::parse(&configuration.to_string())?;
    let kind = SamplerKind::of(&scheduler)?;
    let arguments: Option<StepArguments> = case.setting("step_kwargs")?;
    let StepArguments { eta, s_churn, s_tmin, s_tmax, s_noise } = arguments.unwrap_or_default();
    let churn = Churn {
        amount: s_churn,
        range: [s_tmin, s_tmax.unwrap_or(f64::INFINITY)],
        noise: s_noise.unwrap_or(1.0),
    };
    let options = SamplerOptions {
        steps: Some(case.setting("steps")?),
        eta,
        churn: (s_churn > 0.0).then_some(churn),
        ..SamplerOptions::default()
    };
    let table = kind.table(&scheduler, &options)?;
    let timesteps: Vec<f64> = table.steps.iter().map(|step| step.timestep).collect();
    refuse_other(case, "timesteps", &timesteps)?;
    let (shape, mut x) = case.dense("x_T", Axes::Image)?;
    x.iter_mut().for_each(|number| *number *= table.start as f32);
    let noise = noise(case, table.steps.len(), shape.elements())?;
    let output = scheduler.prediction();
    let asked = asked(case, &scheduler, &table)?;
    let scales = scales(&scheduler, kind, &asked);
    let wide = kind == SamplerKind::Ddpm && scheduler.variance_type == Variance::LearnedRange;
    let model = Predictor::of(case, &output, asked, wide)?;
    let run = follow(gpu, case, &model, &table, (shape, x), &noise)?;
    // The sample of a table is what the network sees; diffusers' has the image at its own size.
    let samples: Vec<Vec<f32>> = run
        .samples
        .iter()
        .zip(scales)
        .map(|(x, scale)| x.iter().map(|x| (f64::from(*x) * scale) as f32).collect())
        .collect();
    // Heun's method has a sample after each whole step.
    let last = samples.len() - 1;
    let whole =
        |place: &usize| kind != SamplerKind::Heun || place.is_multiple_of(2) || *place == last;
    let kept: Vec<&Vec<f32>> = (0..=last).filter(whole).map(|place| &samples[place]).collect();
    Ok([("xs".to_owned(), stored(&shape, kept))].into())
}

/// The level that the network is asked at in each step.
fn asked(case: &Case, scheduler: &SchedulerConfig, table: &Table) -> Result<Vec<Level>, Error> {
    if !case.has("sigmas") {
        return levels(&scheduler.schedule()?, table);
    }
    let sigmas = case.tensor("sigmas")?.numbers.to_f64();
    if sigmas.len() != table.steps.len() + 1 {
        return Err(case.refuse("sigmas are not one more than the steps"));
    }
    let level = |(step, sigma): (&crate::diffusion::samplers::Step, f64)| {
        let timestep = step.timestep;
        match scheduler.process() {
            Process::Betas => Level::scaled(timestep, sigma, 1.0),
            Process::Edm => Level::scaled(timestep, sigma, scheduler.solver.sigma_data),
            Process::Flow | Process::SubVp => Level::flow(timestep, sigma),
            Process::Exploding => Level::variance_exploding(timestep, sigma),
        }
    };
    Ok(table.steps.iter().zip(sigmas).map(level).collect())
}

/// By how much the samples of a case are larger than those of its table: of Euler's family, which does
/// not scale them to variance 1.
fn scales(scheduler: &SchedulerConfig, kind: SamplerKind, asked: &[Level]) -> Vec<f64> {
    let family = [SamplerKind::Euler, SamplerKind::EulerAncestral, SamplerKind::Heun];
    let is_flow = scheduler.process() == Process::Flow;
    let edm = scheduler.process() == Process::Edm;
    let scaled = family.contains(&kind) && !is_flow || edm;
    let scale = |level: &Level| if scaled { 1.0 / level.alpha } else { 1.0 };
    asked.iter().map(scale).chain([1.0]).collect()
}

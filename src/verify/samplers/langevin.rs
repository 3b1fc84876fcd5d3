//! Annealed Langevin dynamics of score networks, with ncsnv2's step and its last denoising step.
use super::{
    noise, refuse_other_steps, stored,
    trajectory::{Predictor, follow},
};
use crate::{
    diffusion::{
        samplers::annealed_langevin_table,
        schedule::{Level, Prediction, PredictionType},
    },
    error::Error,
    gpu::Gpu,
    verify::{
        case_files::{Case, Results},
        case_graph::Axes,
    },
};

/// Kind `denoising_score_matching`, part `langevin`.
pub(in crate::verify) fn langevin(gpu: &Gpu, case: &Case) -> Result<Results, Error> {
    let (each, step_lr): (usize, f64) = (case.setting("n_steps_each")?, case.setting("step_lr")?);
    let denoise: bool = case.setting("denoise")?;
    let sigmas = case.tensor("sigmas")?.numbers.to_f64();
    let start = case.dense("x", Axes::Image)?;
    let shape = start.0;
    let steps = sigmas.len().saturating_mul(each);
    refuse_other_steps(case, steps.saturating_add(denoise.into()), shape.elements())?;
    let numbered = sigmas.iter().enumerate();
    let levels: Vec<Level> =
        numbered.map(|(index, &sigma)| Level::variance_exploding(index as f64, sigma)).collect();
    let output = Prediction { kind: PredictionType::ScaledScore, ..Prediction::default() };
    let table = annealed_langevin_table(&levels, each, 2.0 * step_lr, denoise, &output)?;
    let mut noise = noise(case, steps, shape.elements())?;
    // The last step adds none.
    noise.resize(table.steps.len() * shape.elements(), 0.0);
    let asked = levels.iter().flat_map(|level| std::iter::repeat_n(*level, each));
    let asked = asked.chain(levels.last().copied().filter(|_| denoise)).collect();
    let model = Predictor::of(case, &output, asked, false)?;
    let run = follow(gpu, case, &model, &table, start, &noise)?;
    Ok([("xs".to_owned(), stored(&shape, &run.samples))].into())
}

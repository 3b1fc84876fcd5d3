//! Cases of tables that are made on the host, in f64.
use super::case_files::{Case, Results};
use crate::{
    diffusion::schedule::{SchedulerConfig, Spacing},
    error::Error,
};
use serde_json::Value as Json;

/// The case's settings as those of a scheduler: some go by other names.
pub(super) fn scheduler(case: &Case) -> Result<SchedulerConfig, Error> {
    let mut settings = case.settings().clone();
    let keys = settings.as_object_mut().ok_or_else(|| case.refuse("config is no object"))?;
    for (from, to) in [
        ("schedule", "beta_schedule"),
        ("zero_terminal_snr", "rescale_betas_zero_snr"),
        ("T", "num_train_timesteps"),
    ] {
        if let Some(value) = keys.remove(from) {
            keys.insert(to.into(), value);
        }
    }
    Ok(SchedulerConfig::parse(&Json::to_string(&settings))?)
}

pub(super) fn schedule(case: &Case) -> Result<Results, Error> {
    let schedule = scheduler(case)?.schedule()?;
    let (from_x0, from_x) = schedule.posterior_mean_coefficients().into_iter().unzip();
    let named = [
        ("betas", schedule.betas().to_vec()),
        ("alphas_cumprod", schedule.alphas_cumprod().to_vec()),
        ("posterior_variance", schedule.posterior_variance()),
        ("posterior_mean_coef1", from_x0),
        ("posterior_mean_coef2", from_x),
        ("posterior_log_variance_clipped", schedule.posterior_log_variance_clipped()),
    ];
    Ok(named.map(|(name, table)| (name.to_owned(), table)).into())
}

pub(super) fn timesteps(case: &Case) -> Result<Results, Error> {
    let (train, counts): (_, Vec<usize>) = (case.setting("T")?, case.setting("counts")?);
    let mut results = Results::new();
    for count in counts {
        for (name, spacing, offset) in [
            ("leading", Spacing::Leading, 0),
            ("leading_offset1", Spacing::Leading, 1),
            ("trailing", Spacing::Trailing, 0),
            ("linspace", Spacing::Linspace, 0),
            ("uniform", Spacing::Uniform, 0),
            ("quad", Spacing::Quad, 0),
        ] {
            let list = spacing.timesteps(train, count, offset)?;
            let list = list.into_iter().map(|timestep| timestep as f64).collect();
            results.insert(format!("{name}_{count}"), list);
        }
    }
    Ok(results)
}

//! The coefficients of every step of a sampling run, made once in f64 and read by the fused step
//! kernel.
use super::{Schedule, ScheduleError, Spacing, Variance};

/// One step from `x_t` to the next, less noisy level:
///
/// ```text
/// x0 = clip((x - sqrt(1 - alpha) epsilon) / sqrt(alpha))
/// x' = from_x0 x0 + from_epsilon epsilon + from_x x + sigma noise
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The timestep that the model is told.
    pub timestep: usize,
    /// `alphas_cumprod` of the level that is left.
    pub alpha: f64,
    /// Weight of the predicted image.
    pub from_x0: f64,
    /// Weight of the predicted noise.
    pub from_epsilon: f64,
    /// Weight of the sample.
    pub from_x: f64,
    /// Standard deviation of the new noise.
    pub sigma: f64,
}

impl Step {
    /// One element of the step, the reference of the kernel: the predicted image (clipped to
    /// `clip`) and the next sample.
    pub fn apply(&self, clip: Option<f64>, x: f64, epsilon: f64, noise: f64) -> (f64, f64) {
        let x0 = (x - (1.0 - self.alpha).sqrt() * epsilon) / self.alpha.sqrt();
        let x0 = clip.map_or(x0, |range| x0.clamp(-range, range));
        let mean = self.from_x0 * x0 + self.from_epsilon * epsilon + self.from_x * x;
        (x0, mean + self.sigma * noise)
    }
}

/// All steps of a sampling run, in the order in which they are taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// The steps, noisiest first.
    pub steps: Vec<Step>,
    /// Largest magnitude of the predicted image, if it is clipped.
    pub clip: Option<f64>,
}

impl Table {
    /// Numbers in a row of [`Table::rows`].
    pub const COLUMNS: usize = 8;

    /// The table as the step kernel reads it, `[steps, 8]`: timestep, sqrt(1 - alpha),
    /// 1 / sqrt(alpha), clip range (the largest f32 for none); weights of x0, epsilon and x, sigma.
    pub fn rows(&self) -> Vec<f32> {
        let clip = self.clip.map_or(f32::MAX, |range| range as f32);
        self.steps
            .iter()
            .flat_map(|step| {
                [
                    step.timestep as f32,
                    (1.0 - step.alpha).sqrt() as f32,
                    step.alpha.sqrt().recip() as f32,
                    clip,
                    step.from_x0 as f32,
                    step.from_epsilon as f32,
                    step.from_x as f32,
                    step.sigma as f32,
                ]
            })
            .collect()
    }
}

/// DDIM, equations 12 and 16 of Song et al. (2021): `eta` 0 is deterministic, 1 has the noise of
/// DDPM. `timesteps` come from `spacing`, noisiest first.
///
/// As in diffusers, a step goes from t to `t - T / timesteps.len()`, which is not always the next
/// entry of the list; past the end of the schedule the level is `final_alpha` (1, or the first
/// entry of `alphas_cumprod` where `set_alpha_to_one` is false). With the spacings of the paper it
/// goes to the next entry, and to `final_alpha` after the last.
///
/// # Errors
/// If eta is outside 0 to 1, a timestep is past the schedule, or has no signal left.
pub fn ddim_table(
    schedule: &Schedule,
    timesteps: &[usize],
    spacing: Spacing,
    eta: f64,
    clip: Option<f64>,
    final_alpha: f64,
) -> Result<Table, ScheduleError> {
    if !(0.0..=1.0).contains(&eta) {
        return Err(ScheduleError::value("eta", "0 to 1", eta));
    }
    let stride = schedule.timesteps() / timesteps.len().max(1);
    let mut steps = Vec::with_capacity(timesteps.len());
    for (index, &timestep) in timesteps.iter().enumerate() {
        let alpha = signal(schedule, timestep)?;
        let previous = match spacing {
            Spacing::Leading | Spacing::Trailing | Spacing::Linspace => {
                timestep.checked_sub(stride)
            }
            Spacing::Uniform | Spacing::Quad => timesteps.get(index + 1).copied(),
        };
        let before = previous.map_or(final_alpha, |t| schedule.alphas_cumprod()[t]);
        let sigma = eta * ((1.0 - before) / (1.0 - alpha) * (1.0 - alpha / before)).max(0.0).sqrt();
        steps.push(Step {
            timestep,
            alpha,
            from_x0: before.sqrt(),
            from_epsilon: (1.0 - before - sigma * sigma).max(0.0).sqrt(),
            from_x: 0.0,
            sigma,
        });
    }
    Ok(Table { steps, clip })
}

/// DDPM's ancestral sampling, equation 7 of Ho et al. (2020), between neighbours of the list
/// `timesteps` (noisiest first): on a shortened list, beta is `1 - a / a_previous`. There is no
/// noise at timestep 0.
///
/// # Errors
/// If a timestep is past the schedule, or has no signal left.
pub fn ddpm_table(
    schedule: &Schedule,
    timesteps: &[usize],
    variance: Variance,
    clip: Option<f64>,
) -> Result<Table, ScheduleError> {
    let mut steps = Vec::with_capacity(timesteps.len());
    for (index, &timestep) in timesteps.iter().enumerate() {
        let alpha = signal(schedule, timestep)?;
        let before = match timesteps.get(index + 1) {
            Some(&next) => signal(schedule, next)?,
            None => 1.0,
        };
        let beta = 1.0 - alpha / before;
        let variance = match variance {
            Variance::FixedSmall => (beta * (1.0 - before) / (1.0 - alpha)).max(1e-20),
            Variance::FixedLarge => beta,
        };
        steps.push(Step {
            timestep,
            alpha,
            from_x0: before.sqrt() * beta / (1.0 - alpha),
            from_epsilon: 0.0,
            from_x: (alpha / before).sqrt() * (1.0 - before) / (1.0 - alpha),
            sigma: if timestep == 0 { 0.0 } else { variance.sqrt() },
        });
    }
    Ok(Table { steps, clip })
}

/// `alphas_cumprod` at `timestep`, above zero.
fn signal(schedule: &Schedule, timestep: usize) -> Result<f64, ScheduleError> {
    let alphas = schedule.alphas_cumprod();
    match alphas.get(timestep) {
        None => Err(ScheduleError::value("timestep", format!("below {}", alphas.len()), timestep)),
        Some(&alpha) if alpha > 0.0 => Ok(alpha),
        Some(_) => Err(ScheduleError::NoSignal { timestep }),
    }
}

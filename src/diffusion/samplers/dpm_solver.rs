//! DPM-Solver and DPM-Solver++: Lu et al., *DPM-Solver++: Fast Solver for Guided Sampling of
//! Diffusion Probabilistic Models* (2022), with their stochastic forms, as diffusers has them.
//!
//! A step from s to t with `lambda = log(alpha / sigma)`, `h = lambda_t - lambda_s` is
//! `x_t = a x + e m + d1 D1 + d2 D2 + noise`: m is the last prediction (of the image, or of the noise
//! in DPM-Solver), D1 and D2 are differences of predictions.
use super::{Step, StepSum, Table};
use crate::{
    diffusion::schedule::{DpmAlgorithm, Level, Prediction, SolverType},
    error::{ScheduleError, Unexpected},
};

/// The choices of a solver.
///
/// Example: [`dpm_multistep_table()`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DpmSolver {
    /// 1 to 3.
    pub order: usize,
    /// What is integrated.
    pub algorithm: DpmAlgorithm,
    /// How differences enter: by Heun's method, or else by the midpoint method.
    pub kind: SolverType,
    /// Whether the last steps of a short run (of less than 15) are of lower order.
    pub lower_order_final: bool,
    /// Whether the last step is of first order in any case.
    pub euler_at_final: bool,
}

impl Default for DpmSolver {
    fn default() -> Self {
        Self {
            order: 2,
            algorithm: DpmAlgorithm::default(),
            kind: SolverType::Midpoint,
            lower_order_final: true,
            euler_at_final: false,
        }
    }
}

/// Fewer steps than this have last steps of lower order.
const SHORT: usize = 15;

/// Weights of an update.
pub(super) struct Update {
    /// Of the sample.
    pub x: f64,
    /// Of the prediction and the differences of first and second order.
    pub d: [f64; 3],
    /// Deviation of the noise.
    pub noise: f64,
}

/// The width of a step in lambda.
pub(super) fn width(from: &Level, to: &Level) -> f64 {
    to.half_log_snr() - from.half_log_snr()
}

impl DpmSolver {
    pub(super) fn is_sde(&self) -> bool {
        matches!(self.algorithm, DpmAlgorithm::ImageSde | DpmAlgorithm::NoiseSde)
    }

    fn of_image(&self) -> bool {
        matches!(self.algorithm, DpmAlgorithm::Image | DpmAlgorithm::ImageSde)
    }

    /// The update of this order from one level to another.
    pub(super) fn update(&self, from: &Level, to: &Level, order: usize) -> Update {
        let h = width(from, to);
        let sde = self.is_sde();
        let (x, weight, step, noise) = match self.of_image() {
            true => {
                // The stochastic equation takes twice the step.
                let (step, decay) = if sde { (2.0 * h, (-h).exp()) } else { (h, 1.0) };
                let noise = to.sigma * (-(-2.0 * h).exp_m1()).max(0.0).sqrt();
                (to.sigma / from.sigma * decay, -to.alpha, -step, noise)
            }
            false => {
                let weight = if sde { -2.0 * to.sigma } else { -to.sigma };
                (to.alpha / from.alpha, weight, h, to.sigma * (2.0 * h).exp_m1().max(0.0).sqrt())
            }
        };
        let first = step.exp_m1();
        let mut d = [weight * first, 0.0, 0.0];
        if order == 2 && self.kind != SolverType::Heun {
            d[1] = 0.5 * d[0];
        } else if order > 1 {
            // The integrals of the exponential times a line and a parabola.
            d[1] = weight * (first / step - 1.0);
            // The half has this sign in diffusers' stochastic solver.
            let half = if sde { -0.5 } else { 0.5 };
            d[2] = weight * ((first - step) / (step * step) - half);
        }
        Update { x, d, noise: if sde { noise } else { 0.0 } }
    }

    /// What a step predicts, as a sum.
    pub(super) fn predicted(&self, level: &Level, prediction: &Prediction) -> StepSum {
        match (self.of_image(), prediction.threshold) {
            (true, _) => StepSum::image(),
            (false, None) => prediction.noise(level).into(),
            (false, Some(_)) => {
                let image = StepSum::image().times(-level.alpha);
                StepSum::sample().plus(image).times(1.0 / level.sigma)
            }
        }
    }

    pub(super) fn check(&self) -> Result<(), ScheduleError> {
        ScheduleError::check("solver_order", [1, 3], self.order)?;
        let fits = self.order < 3 || self.algorithm != DpmAlgorithm::NoiseSde;
        Ok(Unexpected::check(fits, "solver_order", "1 or 2 for sde-dpmsolver", self.order)?)
    }
}

/// The multistep solver along `levels`, of which the last is the one that the run ends at: a step of
/// order k uses the k last predictions. The first step, and the one to sigma 0, are of first order.
///
/// From a level of alpha 0, the first step is the limit of steps as alpha falls to 0.
///
/// # Errors
/// If the order is not 1 to 3, or a level has no signal left for a network that predicts noise.
///
/// ```
/// use ddim::diffusion::{samplers::*, schedule::*};
///
/// let schedule = Schedule::linear(1000, 1e-4, 0.02);
/// let levels = schedule_levels(&schedule, &[800, 600, 400, 200])?;
/// let levels = [&levels[..], &[Level::CLEAN]].concat();
/// let (algorithm, kind) = (DpmAlgorithm::Image, SolverType::Heun);
/// let solver = DpmSolver { algorithm, kind, ..DpmSolver::default() };
/// let multi = dpm_multistep_table(&levels, &Prediction::default(), &solver)?;
/// let single = dpm_singlestep_table(&levels, &Prediction::default(), &solver)?;
/// assert_eq!((multi.steps.len(), single.steps.len()), (4, 4));
/// // Second order: one prediction is kept.
/// assert_eq!(multi.memories(), 1);
/// # Ok::<(), ddim::Error>(())
/// ```
pub fn dpm_multistep_table(
    levels: &[Level],
    prediction: &Prediction,
    solver: &DpmSolver,
) -> Result<Table, ScheduleError> {
    solver.check()?;
    let count = levels.len().saturating_sub(1);
    let memories = solver.order.saturating_sub(1).max(1);
    let mut steps = Vec::with_capacity(count);
    let short = solver.lower_order_final && count < SHORT;
    for index in 0..count {
        let (from, to) = (&levels[index], &levels[index + 1]);
        let left = count - index;
        let last = left == 1 && (solver.euler_at_final || short || to.sigma == 0.0);
        let order = match (last, short && left == 2) {
            (true, _) => 1,
            (_, true) => solver.order.min(2),
            _ => solver.order,
        };
        // A list may repeat a level: no difference comes from there.
        let moved = |back: &usize| width(&levels[index - back], &levels[index + 1 - back]) > 0.0;
        let order = 1 + (1..order.min(index + 1)).take_while(moved).count();
        let update = solver.update(from, to, order);
        let predicted = solver.predicted(from, prediction);
        // The predictions before, the last one first.
        let before = |back: usize| StepSum::memory((index - back) % memories);
        let mut next = StepSum::sample().times(update.x).plus(predicted.times(update.d[0]));
        let h = width(from, to);
        let share = |back: usize| width(&levels[index - back], &levels[index + 1 - back]) / h;
        if order > 1 {
            let difference = predicted.plus(before(1).times(-1.0)).times(1.0 / share(1));
            let mut first = difference;
            if order == 3 {
                let earlier = before(1).plus(before(2).times(-1.0)).times(1.0 / share(2));
                let change = difference.plus(earlier.times(-1.0));
                let both = share(1) + share(2);
                first = difference.plus(change.times(share(1) / both));
                next = next.plus(change.times(update.d[2] / both));
            }
            next = next.plus(first.times(update.d[1]));
        }
        let kept = (solver.order > 1).then_some((index % memories, predicted));
        steps.push(Step { next, kept, sigma: update.noise, ..Step::at(from, prediction)? });
    }
    Ok(Table::new(steps, prediction))
}

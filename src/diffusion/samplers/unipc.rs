//! UniPC: Zhao et al., *UniPC: A Unified Predictor-Corrector Framework for Fast Sampling of Diffusion
//! Models* (2023), multistep, as diffusers has it.
use super::{Step, StepSum, Table, dpm_solver::width};
use crate::{
    diffusion::schedule::{Level, Prediction, SolverType},
    error::{ScheduleError, Unexpected},
};

/// The choices of UniPC.
///
/// Example: [`unipc_table()`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UniPc {
    /// 1 to 3.
    pub order: usize,
    /// The function B of the paper's section 3.4: `h` for bh1, else `exp(h) - 1`.
    pub kind: SolverType,
    /// Whether it works on predictions of the image; else of the noise.
    pub of_image: bool,
    /// Whether the last steps are of lower order.
    pub lower_order_final: bool,
    /// Steps, counted from 0, whose results the next evaluation does not correct.
    pub uncorrected: Vec<usize>,
}

impl Default for UniPc {
    fn default() -> Self {
        Self {
            order: 2,
            kind: SolverType::Bh2,
            of_image: true,
            lower_order_final: true,
            uncorrected: Vec::new(),
        }
    }
}

/// The highest order.
const MOST: usize = 3;

/// A step between two levels: what predictor and corrector share.
struct Update {
    order: usize,
    /// Weight of the sample.
    x: f64,
    /// Weight of the last prediction.
    first: f64,
    /// Weight of the sums of differences.
    rest: f64,
    /// Places of the earlier predictions in lambda, in steps; negative.
    places: [f64; MOST],
    /// The right sides of the paper's equation 5.
    sides: [f64; MOST],
}

impl UniPc {
    /// The step from level `index` to the next.
    fn update(&self, levels: &[Level], index: usize, order: usize) -> Update {
        let (from, to) = (&levels[index], &levels[index + 1]);
        let h = width(from, to);
        let step = if self.of_image { -h } else { h };
        let grown = step.exp_m1();
        let function = match self.kind {
            SolverType::Bh1 => step,
            _ => grown,
        };
        let (x, weight) = match self.of_image {
            true => (to.sigma / from.sigma, -to.alpha),
            false => (to.alpha / from.alpha, -to.sigma),
        };
        let mut places = [0.0; MOST];
        for back in 1..order {
            places[back - 1] = -width(&levels[index - back], from) / h;
        }
        let (mut phi, mut factorial, mut sides) = (grown / step - 1.0, 1.0, [0.0; MOST]);
        for (power, side) in sides.iter_mut().enumerate().take(order) {
            *side = phi * factorial / function;
            factorial *= (power + 2) as f64;
            phi = phi / step - 1.0 / factorial;
        }
        Update { order, x, first: weight * grown, rest: weight * function, places, sides }
    }
}

impl Update {
    /// Weights of the differences to the last prediction: those of the earlier ones, then, of the
    /// corrector, that of the new one. They solve `sum_k place_k^(i-1) rho_k = side_i`.
    fn rho(&self, corrects: bool) -> [f64; MOST] {
        let count = if corrects { self.order } else { self.order - 1 };
        let mut rho = [0.0; MOST];
        if count == 1 {
            // diffusers takes a half where the equation has one unknown.
            rho[0] = 0.5;
            return rho;
        }
        let mut places = self.places;
        if corrects {
            places[count - 1] = 1.0;
        }
        solve(&places[..count], &self.sides[..count], &mut rho);
        rho
    }
}

/// Solves Vandermonde's equations, `sum_k x_k^i y_k = b_i`: y_k is the k-th Lagrange polynomial of the
/// places, its powers replaced by the right sides.
fn solve(places: &[f64], sides: &[f64], found: &mut [f64; MOST]) {
    for (k, &own) in places.iter().enumerate() {
        let mut polynomial = [0.0; MOST];
        polynomial[0] = 1.0;
        for (_, &place) in places.iter().enumerate().filter(|(other, _)| *other != k) {
            for power in (0..MOST - 1).rev() {
                let (low, high) = (polynomial[power], &mut polynomial[power + 1]);
                *high += low / (own - place);
                polynomial[power] = -place * low / (own - place);
            }
        }
        found[k] = polynomial.iter().zip(sides).map(|(weight, side)| weight * side).sum();
    }
}

/// UniPC along `levels`, of which the last is the one that the run ends at. An evaluation first
/// corrects the sample that it was asked at, then predicts the next one; the samples of the run are
/// the predicted ones.
///
/// # Errors
/// If the order is not 1 to 3, or a level has no signal left for a network that predicts noise.
///
/// ```
/// use ddim::diffusion::{samplers::*, schedule::{Level, Prediction, Schedule}};
///
/// let schedule = Schedule::linear(1000, 1e-4, 0.02);
/// let levels = schedule_levels(&schedule, &[800, 600, 400, 200])?;
/// let levels = [&levels[..], &[Level::CLEAN]].concat();
/// let solver = UniPc { order: 3, ..UniPc::default() };
/// let table = unipc_table(&levels, &Prediction::default(), &solver)?;
/// // Third order: three predictions are kept.
/// assert_eq!((table.steps.len(), table.memories()), (4, 3));
/// # Ok::<(), ddim::Error>(())
/// ```
pub fn unipc_table(
    levels: &[Level],
    prediction: &Prediction,
    solver: &UniPc,
) -> Result<Table, ScheduleError> {
    ScheduleError::check("solver_order", [1, MOST], solver.order)?;
    let fits = solver.of_image || prediction.threshold.is_none();
    Unexpected::check(fits, "thresholding", "false, for predictions of the noise", true)?;
    let count = levels.len().saturating_sub(1);
    let mut steps = Vec::with_capacity(count);
    let mut before: Option<Update> = None;
    // Predictions are kept in turn.
    let memory = |index: usize| StepSum::memory(index % solver.order);
    for index in 0..count {
        let from = &levels[index];
        let own = match solver.of_image {
            true => StepSum::image(),
            false => prediction.noise(from).into(),
        };
        // The corrector is the predictor with other weights, and the new prediction.
        let mut corrected = StepSum::sample();
        let last = before.filter(|_| !solver.uncorrected.contains(&(index - 1)));
        if let Some(last) = last {
            let (predictor, corrector) = (last.rho(false), last.rho(true));
            let less = memory(index - 1).times(-1.0);
            let mut sum = own.plus(less).times(corrector[last.order - 1]);
            for back in 1..last.order {
                let change = corrector[back - 1] - predictor[back - 1];
                let difference = memory(index - 1 - back).plus(less);
                sum = sum.plus(difference.times(change / last.places[back - 1]));
            }
            corrected = corrected.plus(sum.times(last.rest));
        }
        let left = if solver.lower_order_final { count - index } else { count };
        let update = solver.update(levels, index, solver.order.min(left).min(index + 1));
        let rho = update.rho(false);
        let mut next = corrected.times(update.x).plus(own.times(update.first));
        for back in 1..update.order {
            let difference = memory(index - back).plus(own.times(-1.0));
            let weight = rho[back - 1] / update.places[back - 1];
            next = next.plus(difference.times(weight * update.rest));
        }
        let kept = Some((index % solver.order, own));
        steps.push(Step { next, kept, ..Step::at(from, prediction)? });
        before = Some(update);
    }
    Ok(Table::new(steps, prediction))
}

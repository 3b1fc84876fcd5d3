//! The single-step form of DPM-Solver: Lu et al., *DPM-Solver: A Fast ODE Solver for Diffusion
//! Probabilistic Model Sampling in Around 10 Steps* (2022), algorithms 1 and 2.
use super::{
    DpmSolver, Step, StepSum, Table,
    dpm_solver::{Update, width},
};
use crate::{
    diffusion::schedule::{Level, Prediction, SolverType},
    error::{ScheduleError, Unexpected},
};

/// The single-step solver: evaluations come in groups; in a group of k, evaluation i goes from the
/// group's start with the i predictions made since.
///
/// # Errors
/// As [`dpm_multistep_table`](super::dpm_multistep_table), and for a stochastic solver of third order.
///
/// Example: [`crate::diffusion::samplers::dpm_multistep_table()`].
pub fn dpm_singlestep_table(
    levels: &[Level],
    prediction: &Prediction,
    solver: &DpmSolver,
) -> Result<Table, ScheduleError> {
    solver.check()?;
    let fits = solver.order < 3 || !solver.is_sde();
    let expected = "1 or 2 for a stochastic single-step solver";
    Unexpected::check(fits, "solver_order", expected, solver.order)?;
    let count = levels.len().saturating_sub(1);
    let orders = solver.groups(count, levels.last().is_some_and(|last| last.sigma == 0.0));
    let mut steps = Vec::with_capacity(count);
    for (index, &order) in orders.iter().enumerate() {
        let start = index + 1 - order;
        let (begin, from, to) = (&levels[start], &levels[index], &levels[index + 1]);
        let own = solver.predicted(from, prediction);
        let following = orders.get(index + 1).copied().unwrap_or(1);
        let sample = StepSum::sample();
        let update = solver.update(begin, to, order);
        let (next, kept) = match order {
            1 => {
                let next = sample.times(update.x).plus(own.times(update.d[0]));
                // A group of three wants its start again, one of two a known part of its end.
                let kept = match (following, orders.get(index + 2)) {
                    (1, _) => None,
                    (_, Some(3)) => Some(sample),
                    _ => {
                        let weights = solver.single(levels, start, 2);
                        Some(sample.times(weights.0).plus(own.times(weights.1[0])))
                    }
                };
                (next, kept)
            }
            2 if orders.get(index + 1) == Some(&3) => {
                // What the first evaluation predicted follows from where it led.
                let first = solver.update(begin, from, 1);
                let led = StepSum::memory(0).times(-first.x);
                let earlier = sample.plus(led).times(1.0 / first.d[0]);
                let part = |(x, of): (f64, [f64; 3])| {
                    let known = StepSum::memory(0).times(x).plus(earlier.times(of[0]));
                    known.plus(own.times(of[1]))
                };
                (part(solver.single(levels, start, 2)), Some(part(solver.single(levels, start, 3))))
            }
            _ => {
                let (_, of) = solver.single(levels, start, order);
                (StepSum::memory(0).plus(own.times(of[order - 1])), None)
            }
        };
        let kept = kept.map(|sum| (0, sum));
        steps.push(Step { next, kept, sigma: update.noise, ..Step::at(from, prediction)? });
    }
    Ok(Table::new(steps, prediction))
}

impl DpmSolver {
    /// The orders of the evaluations of a single-step run, as diffusers groups them.
    fn groups(&self, steps: usize, to_zero: bool) -> Vec<usize> {
        let order = self.order;
        // Uneven groups, and a last step to sigma 0, have lower orders at the end.
        let lower = self.lower_order_final || !steps.is_multiple_of(order) || to_zero;
        let mut orders: Vec<usize> = (0..steps).map(|index| index % order + 1).collect();
        if lower && order > 1 && steps.is_multiple_of(order) && steps >= order {
            // The last group gives way: 1, 2, 3 becomes 1, 2, 1 and 1, 2 becomes 1, 1.
            orders[steps - 1] = 1;
        }
        if to_zero && let Some(last) = orders.last_mut() {
            *last = 1;
        }
        orders
    }

    /// Weights of the start and of the predictions, in the order in which they are made, of evaluation
    /// `order` of the group that begins at level `start`.
    fn single(&self, levels: &[Level], start: usize, order: usize) -> (f64, [f64; 3]) {
        let (begin, to) = (&levels[start], &levels[start + order]);
        let Update { x, d, .. } = self.update(begin, to, order);
        let h = width(begin, to);
        let share = |place: usize| width(begin, &levels[start + place]) / h;
        if order == 2 {
            let difference = d[1] / share(1);
            return (x, [d[0] - difference, difference, 0.0]);
        }
        let (near, far) = (share(1), share(2));
        // D1 and D2 of the differences to the first prediction, by the kind.
        let (of_near, of_far) = match self.kind {
            SolverType::Heun => {
                let slope = d[1] / (far - near);
                let bend = 2.0 * d[2] / (far - near);
                (slope * far - bend, -slope * near + bend)
            }
            _ => (0.0, d[1]),
        };
        let (of_near, of_far) = (of_near / near, of_far / far);
        (x, [d[0] - of_near - of_far, of_near, of_far])
    }
}

//! PNDM: Liu et al., *Pseudo Numerical Methods for Diffusion Models on Manifolds* (2022), as
//! diffusers has it: Adams and Bashforth's sums of outputs (PLMS), with or without Runge-Kutta
//! steps first.
use super::{Step, StepSum, Table};
use crate::{
    diffusion::schedule::{Level, Prediction, PredictionType, Schedule, check_order},
    error::{ScheduleError, Unexpected},
};

/// Steps that Runge and Kutta's method takes, four evaluations each.
const RUNGE_KUTTA: usize = 3;

/// The memory in which these steps keep their start; before it lie the outputs of earlier steps.
const START: usize = 3;

/// A run of PNDM.
struct Run<'a> {
    schedule: &'a Schedule,
    prediction: &'a Prediction,
    /// Timesteps between neighbours.
    stride: usize,
    /// `alphas_cumprod` below timestep 0.
    final_alpha: f64,
}

/// Weights of the sample and of the (summed) output in a move.
#[derive(Clone, Copy)]
struct Move {
    x: f64,
    output: f64,
}

impl Move {
    fn of(self, x: StepSum, output: StepSum) -> StepSum {
        x.times(self.x).plus(output.times(self.output))
    }

    /// The sample before a move, of those after it and of the output.
    fn back(self, x: StepSum, output: StepSum) -> StepSum {
        x.plus(output.times(-self.output)).times(1.0 / self.x)
    }
}

impl Run<'_> {
    /// The pseudo transfer of equation 11 from `timestep` down by `by`. v becomes noise after the
    /// sum, by the sample that is moved.
    fn transfer(&self, timestep: usize, by: usize) -> Result<Move, ScheduleError> {
        let from = Level::of(self.schedule, timestep)?;
        let before = match timestep.checked_sub(by) {
            Some(before) => Level::of(self.schedule, before)?.alpha_bar(),
            None => self.final_alpha,
        };
        let now = from.alpha_bar();
        let weight = now * (1.0 - before).sqrt() + (now * (1.0 - now) * before).sqrt();
        let (x, noise) = ((before / now).sqrt(), (now - before) / weight);
        Ok(match self.prediction.kind {
            PredictionType::VPrediction => {
                Move { x: x + noise * from.sigma, output: noise * from.alpha }
            }
            _ => Move { x, output: noise },
        })
    }

    fn step(
        &self,
        timestep: usize,
        next: StepSum,
        kept: Option<(usize, StepSum)>,
    ) -> Result<Step, ScheduleError> {
        let level = Level::of(self.schedule, timestep)?;
        Ok(Step { next, kept, ..Step::at(&level, self.prediction)? })
    }

    /// One step of Runge and Kutta's method, the one at `place` of the run: evaluations at `timestep`,
    /// twice in the middle, and at `end`; every move begins at the start of the step.
    fn runge_kutta(
        &self,
        timestep: usize,
        end: usize,
        place: usize,
    ) -> Result<[Step; 4], ScheduleError> {
        let half = self.stride / 2;
        let (middle, slot) = (end + half, place % START);
        let (x, output) = (StepSum::sample(), StepSum::output());
        // Where the first move goes is not where the network is asked next, if the stride is odd.
        let to_middle = self.transfer(timestep, half)?;
        let second = self.transfer(timestep, timestep.saturating_sub(middle))?;
        let all = self.transfer(timestep, timestep - end)?;
        let (first_output, start) = (StepSum::memory(slot), StepSum::memory(START));
        let begin = to_middle.back(x, first_output);
        let own = second.back(x, StepSum::default());
        // After the second move, x = a start + b output: so the output is known without a memory.
        let second_output = own.plus(start.times(-1.0)).times(second.x / second.output);
        let sum = first_output.plus(second_output.times(2.0)).plus(output.times(2.0));
        let so_far = all.of(start, sum.times(1.0 / 6.0));
        let last = start.plus(output.times(all.output / 6.0));
        Ok([
            self.step(timestep, to_middle.of(x, output), Some((slot, output)))?,
            self.step(middle, second.of(begin, output), Some((START, begin)))?,
            self.step(middle, all.of(start, output), Some((START, so_far)))?,
            self.step(end, last, None)?,
        ])
    }

    /// The sum of the outputs of step `place`, of those of the `known` steps before it too.
    fn sum(known: usize, place: usize) -> StepSum {
        let weights: &[f64] = match known {
            0 => &[1.0],
            1 => &[3.0 / 2.0, -1.0 / 2.0],
            2 => &[23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0],
            _ => &[55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0],
        };
        let earlier = weights[1..].iter().zip(1..);
        let of = |(weight, back): (&f64, usize)| StepSum::memory((place - back) % 3).times(*weight);
        earlier.map(of).fold(StepSum::output().times(weights[0]), StepSum::plus)
    }
}

/// PNDM along `timesteps`, noisiest first. Without Runge and Kutta's method
/// the second timestep is asked twice: the first move is done again with the mean of two outputs.
///
/// # Errors
/// If `timesteps` rise or pass the schedule, the network predicts the image, or there are too few steps
/// for Runge and Kutta's method.
///
/// ```
/// use ddim::diffusion::{samplers::pndm_table, schedule::{Prediction, Schedule, Spacing}};
///
/// let schedule = Schedule::scaled_linear(1000, 0.00085, 0.012);
/// let (first, prediction) = (schedule.alphas_cumprod()[0], Prediction::default());
/// let timesteps = Spacing::Leading.timesteps(1000, 10, 1)?;
/// let plms = pndm_table(&schedule, &timesteps, &prediction, first, false)?;
/// let pndm = pndm_table(&schedule, &timesteps, &prediction, first, true)?;
/// // Evaluations: one step has two, or three steps have four.
/// assert_eq!((plms.steps.len(), pndm.steps.len()), (10 + 1, 10 + 3 * 3));
/// # Ok::<(), ddim::Error>(())
/// ```
pub fn pndm_table(
    schedule: &Schedule,
    timesteps: &[usize],
    prediction: &Prediction,
    final_alpha: f64,
    runge_kutta: bool,
) -> Result<Table, ScheduleError> {
    check_order(timesteps)?;
    let found = prediction.kind;
    let fits = matches!(found, PredictionType::Epsilon | PredictionType::VPrediction);
    Unexpected::check(fits, "prediction_type", "epsilon or v_prediction for pndm", found)?;
    let stride = schedule.timesteps() / timesteps.len();
    let run = Run { schedule, prediction, stride, final_alpha };
    let output = StepSum::output();
    let mut steps = Vec::with_capacity(timesteps.len() + 9);
    let rest = if runge_kutta {
        ScheduleError::check("steps", [RUNGE_KUTTA + 1, schedule.timesteps()], timesteps.len())?;
        for (place, pair) in timesteps.windows(2).take(RUNGE_KUTTA).enumerate() {
            steps.extend(run.runge_kutta(pair[0], pair[1], place)?);
        }
        RUNGE_KUTTA
    } else {
        let first = run.transfer(timesteps[0], stride)?;
        let next = first.of(StepSum::sample(), output);
        steps.push(run.step(timesteps[0], next, Some((0, output)))?);
        if let Some(&second) = timesteps.get(1) {
            let start = first.back(StepSum::sample(), StepSum::memory(0));
            let mean = output.plus(StepSum::memory(0)).times(0.5);
            // From a stride above the timestep, wherever the first one was.
            let again = run.transfer(second + stride, stride)?;
            steps.push(run.step(second, again.of(start, mean), None)?);
        }
        1
    };
    for (place, &timestep) in timesteps.iter().enumerate().skip(rest) {
        let sum = Run::sum(place.min(3), place);
        let next = run.transfer(timestep, stride)?.of(StepSum::sample(), sum);
        steps.push(run.step(timestep, next, Some((place % 3, output)))?);
    }
    Ok(Table::new(steps, prediction))
}

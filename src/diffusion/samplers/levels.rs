//! The noise levels that a run passes, as diffusers' schedulers choose them: one for each evaluation
//! of a first-order method, noisiest first, and at last the one that the last step ends at.
use super::{VariancePreserving, run::Run};
use crate::{
    diffusion::schedule::{
        BetaSchedule, FinalSigma, Level, Process, SchedulerConfig, SigmaSpacing, SigmaTable,
        Spacing, evenly_spaced, trailing,
    },
    error::ScheduleError,
};

/// End time of the continuous process: Song et al. 2021, appendix C.
pub(super) const END: f64 = 1e-3;

/// EDM's ends of sigma.
const EDM_ENDS: [f64; 2] = [80.0, 0.002];

/// Those of a score network: Song and Ermon 2020 for CIFAR-10.
const SCORE_ENDS: [f64; 2] = [50.0, 0.01];

/// How far below 1 the first sigma of UniPC's flow lies.
const BELOW_ONE: f64 = 1e-6;

impl Run<'_> {
    /// The levels of Euler's family, and the deviation of the noise that the run starts from.
    pub(super) fn sigma_levels(&self) -> Result<(Vec<Level>, f64), ScheduleError> {
        match self.scheduler.process() {
            Process::Betas => self.interpolated(),
            Process::Edm => self.edm(),
            Process::Flow => Ok((self.flow()?, 1.0)),
            Process::SubVp => Ok((self.sub_preserving(), 1.0)),
            Process::Exploding => {
                let mut levels = self.exploding();
                let start = levels.first().map_or(1.0, |level| level.sigma);
                levels.push(Level::CLEAN);
                Ok((levels, start))
            }
        }
    }

    /// The levels of DPM-Solver and UniPC, `rounded` as the one or the other has it.
    pub(super) fn solver_levels(&self, rounding: Rounding) -> Result<Vec<Level>, ScheduleError> {
        match self.scheduler.process() {
            Process::Betas => self.solved(rounding),
            Process::Edm => Ok(self.edm()?.0),
            Process::Flow if self.scheduler.solver.use_flow_sigmas => self.solver_flow(rounding),
            Process::Flow => self.flow(),
            // Nothing that needs these takes other processes.
            Process::Exploding | Process::SubVp => Ok(self.sigma_levels()?.0),
        }
    }

    /// The levels of the sub-variance-preserving equation, and the clean image after them.
    fn sub_preserving(&self) -> Vec<Level> {
        let of = self.scheduler;
        let count = of.num_train_timesteps as f64;
        let (beta_min, beta_max) = (count * of.beta_start, count * of.beta_end);
        let last_timestep = count - 1.0;
        let process = VariancePreserving { beta_min, beta_max, end: END, last_timestep };
        // The deviation is the variance of the preserving one.
        let levels = process.times(self.steps).map(|time| process.level(time));
        let levels = levels.map(|level| Level { sigma: level.sigma * level.sigma, ..level });
        levels.chain([Level::CLEAN]).collect()
    }

    /// Geometric sigmas, of which a shorter run takes some, evenly by number.
    pub(super) fn exploding(&self) -> Vec<Level> {
        let scheduler = self.scheduler;
        let [most, least] = self.ends(SCORE_ENDS);
        let last = scheduler.num_train_timesteps.saturating_sub(1).max(1) as f64;
        let numbers = evenly_spaced(0.0, last, self.steps).map(f64::round_ties_even);
        let level = |number: f64| {
            let sigma = most * (least / most).powf(number / last);
            let told = if scheduler.tells_sigma() { sigma } else { number };
            Level::variance_exploding(told, sigma)
        };
        numbers.map(level).collect()
    }

    /// The spacing of sigmas of this run.
    fn spaced(&self) -> Result<Option<SigmaSpacing>, ScheduleError> {
        match self.sigmas {
            Some(spacing) => Ok(Some(spacing)),
            None if self.is_listed => Ok(None),
            None => self.scheduler.solver.spacing(),
        }
    }

    /// The ends of a spacing of sigmas: the configured ones, else these.
    fn ends(&self, usual: [f64; 2]) -> [f64; 2] {
        let solver = &self.scheduler.solver;
        [solver.sigma_max.unwrap_or(usual[0]), solver.sigma_min.unwrap_or(usual[1])]
    }

    /// Euler, Heun and ancestral: timesteps need not be whole.
    fn interpolated(&self) -> Result<(Vec<Level>, f64), ScheduleError> {
        let table = SigmaTable::new(self.betas()?, self.scheduler.rescale_betas_zero_snr);
        let whole = self.scheduler.num_train_timesteps;
        let mut timesteps: Vec<f64> = match self.spacing {
            Spacing::Linspace if !self.is_listed => {
                let mut ascending: Vec<f64> =
                    evenly_spaced(0.0, (whole - 1) as f64, self.steps).collect();
                ascending.reverse();
                ascending
            }
            _ => self.timesteps.iter().map(|&timestep| timestep as f64).collect(),
        };
        let mut sigmas: Vec<f64> = timesteps.iter().map(|&timestep| table.at(timestep)).collect();
        if let Some(spacing) = self.spaced()? {
            // Down to the sigma of the last timestep of the list.
            let ends = [0, sigmas.len() - 1].map(|end| sigmas[end]);
            sigmas = spacing.sigmas(self.ends(ends), sigmas.len(), SigmaSpacing::RHO);
            timesteps = sigmas.iter().map(|&sigma| table.timestep(sigma)).collect();
        }
        let levels = timesteps.iter().zip(&sigmas);
        let mut levels: Vec<Level> =
            levels.map(|(&timestep, &sigma)| Level::scaled(timestep, sigma, 1.0)).collect();
        // The sample at the end is not scaled.
        levels.push(match self.scheduler.solver.final_sigmas_type {
            FinalSigma::Zero => Level::CLEAN,
            FinalSigma::SigmaMin => Level::variance_exploding(0.0, table.ends()[1]),
        });
        let (largest, first) = (sigmas.iter().copied().fold(0.0, f64::max), levels[0]);
        let start = match self.spacing {
            Spacing::Linspace | Spacing::Trailing => largest,
            _ => largest.hypot(1.0),
        };
        Ok((levels, start * first.alpha))
    }

    /// EDM's levels: the network is told a quarter of the logarithm of sigma.
    fn edm(&self) -> Result<(Vec<Level>, f64), ScheduleError> {
        let solver = &self.scheduler.solver;
        let ends = self.ends(EDM_ENDS);
        let spacing = self.sigmas.unwrap_or(solver.sigma_schedule);
        let sigmas = spacing.sigmas(ends, self.steps, solver.rho);
        let level = |&sigma: &f64| Level::scaled(0.25 * sigma.ln(), sigma, solver.sigma_data);
        let mut levels: Vec<Level> = sigmas.iter().map(level).collect();
        levels.push(match (solver.final_sigmas_type, sigmas.last()) {
            (FinalSigma::SigmaMin, Some(&last)) => Level::variance_exploding(0.0, last),
            _ => Level::CLEAN,
        });
        let start = ends[0].hypot(1.0) * levels[0].alpha;
        Ok((levels, start))
    }

    /// Flow matching's levels, `w(u) = shift u / (1 + (shift - 1) u)` of even steps: the smallest sigma is
    /// shifted twice, as in diffusers.
    fn flow(&self) -> Result<Vec<Level>, ScheduleError> {
        let (solver, count) = (&self.scheduler.solver, self.scheduler.num_train_timesteps as f64);
        let shift = |sigma: f64| solver.shift * sigma / (1.0 + (solver.shift - 1.0) * sigma);
        let mut sigmas: Vec<f64> = match self.is_listed {
            true => self.timesteps.iter().map(|&timestep| timestep as f64 / count).collect(),
            false => evenly_spaced(1.0, shift(1.0 / count), self.steps).collect(),
        };
        sigmas.iter_mut().for_each(|sigma| *sigma = shift(*sigma));
        self.stretch(&mut sigmas);
        if let Some(spacing) = self.spaced()? {
            let ends = [0, sigmas.len() - 1].map(|end| sigmas[end]);
            sigmas = spacing.sigmas(self.ends(ends), sigmas.len(), SigmaSpacing::RHO);
        }
        let mut last = 0.0;
        if solver.invert_sigmas {
            sigmas.iter_mut().for_each(|sigma| *sigma = 1.0 - *sigma);
            last = 1.0;
        }
        let level = |sigma: &f64| Level::flow(count * sigma, *sigma);
        Ok(sigmas.iter().chain([&last]).map(level).collect())
    }

    /// Stretches the sigmas so that the last one is the terminal one of the configuration.
    fn stretch(&self, sigmas: &mut [f64]) {
        let terminal = self.scheduler.solver.shift_terminal.filter(|terminal| *terminal > 0.0);
        if let Some((terminal, last)) = terminal.zip(sigmas.last().copied()) {
            let scale = (1.0 - last) / (1.0 - terminal);
            sigmas.iter_mut().for_each(|sigma| *sigma = 1.0 - (1.0 - *sigma) / scale);
        }
    }

    /// DPM-Solver and UniPC: whole timesteps, of n + 1 the least dropped.
    fn solved(&self, rounding: Rounding) -> Result<Vec<Level>, ScheduleError> {
        let (scheduler, steps) = (self.scheduler, self.steps);
        let table = SigmaTable::new(self.betas()?, scheduler.rescale_betas_zero_snr);
        let whole = scheduler.num_train_timesteps;
        let last = match rounding {
            Rounding::UniPc => whole,
            _ => table.above(scheduler.solver.lambda_min_clipped),
        };
        ScheduleError::check("timesteps above lambda_min_clipped", [1, whole], last)?;
        let spacing = if rounding == Rounding::Single { Spacing::Linspace } else { self.spacing };
        let mut timesteps: Vec<f64> = match spacing {
            _ if self.is_listed => self.timesteps.iter().map(|&t| t as f64).collect(),
            Spacing::Linspace => {
                let list = evenly_spaced(0.0, (last - 1) as f64, steps + 1);
                let mut list: Vec<f64> = list.map(f64::round_ties_even).skip(1).collect();
                list.reverse();
                list
            }
            Spacing::Leading => {
                let stride = last / (steps + 1);
                let offset = scheduler.steps_offset;
                (1..=steps).rev().map(|index| (index * stride + offset) as f64).collect()
            }
            Spacing::Trailing => trailing(last, whole, steps).iter().map(|&t| t as f64).collect(),
            _ => self.timesteps.iter().map(|&timestep| timestep as f64).collect(),
        };
        let mut sigmas: Vec<f64> = timesteps.iter().map(|&timestep| table.at(timestep)).collect();
        if let Some(spacing) = self.spaced()? {
            // Down to the sigma of timestep 0, whatever the list.
            sigmas = spacing.sigmas(self.ends(table.ends()), steps, SigmaSpacing::RHO);
            let timestep = |sigma| rounding.round(spacing, table.timestep(sigma), scheduler);
            timesteps = sigmas.iter().map(|&sigma| timestep(sigma)).collect();
        }
        let end = match scheduler.solver.final_sigmas_type {
            FinalSigma::Zero => Level::CLEAN,
            FinalSigma::SigmaMin => Level::scaled(0.0, table.ends()[1], 1.0),
        };
        let levels = timesteps.iter().zip(&sigmas);
        let levels = levels.map(|(&timestep, &sigma)| Level::scaled(timestep, sigma, 1.0));
        Ok(levels.chain([end]).collect())
    }

    /// Flow matching as DPM-Solver and UniPC spread it.
    fn solver_flow(&self, rounding: Rounding) -> Result<Vec<Level>, ScheduleError> {
        let solver = &self.scheduler.solver;
        if let Some(spacing) = self.spaced()? {
            return Err(ScheduleError::value("sigmas", "none beside use_flow_sigmas", spacing));
        }
        let count = self.scheduler.num_train_timesteps as f64;
        let shift = |u: f64| solver.flow_shift * u / (1.0 + (solver.flow_shift - 1.0) * u);
        let mut sigmas: Vec<f64> = match rounding {
            Rounding::UniPc => {
                evenly_spaced(1.0, 1.0 / count, self.steps + 1).take(self.steps).collect()
            }
            _ => {
                let list = evenly_spaced(1.0, 1.0 / count, self.steps + 1);
                let mut list: Vec<f64> = list.map(|u| 1.0 - u).skip(1).collect();
                list.reverse();
                list
            }
        };
        sigmas.iter_mut().for_each(|sigma| *sigma = shift(*sigma));
        self.stretch(&mut sigmas);
        if let Some(first) = sigmas.first_mut().filter(|first| (**first - 1.0).abs() < BELOW_ONE) {
            *first -= BELOW_ONE;
        }
        // diffusers cuts the timesteps to whole ones here.
        let level = |&sigma: &f64| Level::flow((count * sigma).floor(), sigma);
        Ok(sigmas.iter().map(level).chain([Level::CLEAN]).collect())
    }
}

/// Whose timesteps a run of whole ones has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rounding {
    /// Of the multistep DPM-Solver.
    Multi,
    /// Of the single-step one.
    Single,
    /// Of UniPC.
    UniPc,
}

impl Rounding {
    /// The whole timestep that the network is told at a spacing of sigmas.
    fn round(self, spacing: SigmaSpacing, timestep: f64, scheduler: &SchedulerConfig) -> f64 {
        let cosine = scheduler.beta_schedule == BetaSchedule::Cosine && self == Self::Multi;
        match spacing {
            SigmaSpacing::Karras | SigmaSpacing::Lu if !cosine => timestep.round_ties_even(),
            _ => timestep.floor(),
        }
    }
}

//! The tables of runs, by the settings of their schedulers.
use super::{
    Churn, DdimOptions, DpmSolver, StepSum, Table, UniPc, VariancePreserving, ddim_table,
    ddpm_table, dpm_multistep_table, dpm_singlestep_table,
    euler::churned_start,
    euler_table, heun_table, lcm_table,
    levels::{END, Rounding},
    pndm_table,
    run::Run,
    schedule_levels, unipc_table,
};
use crate::{
    diffusion::schedule::{
        BetaSchedule, DpmAlgorithm, Level, Process, SigmaTable, SolverType, StepRule, Variance,
    },
    error::ScheduleError,
};

impl Run<'_> {
    pub fn ddim(&self, eta: f64, sigma_hat: bool, rule: StepRule) -> Result<Table, ScheduleError> {
        let final_alpha = self.scheduler.final_alpha()?;
        let classifier = self.classifier;
        let options =
            DdimOptions { eta, rule, final_alpha, sigma_hat, classifier, ..DdimOptions::default() };
        ddim_table(self.betas()?, &self.timesteps, &self.prediction, &options)
    }

    pub fn ddpm(&self, variance: Variance) -> Result<Table, ScheduleError> {
        ddpm_table(self.betas()?, &self.timesteps, &self.prediction, variance)
    }

    pub fn levels(&self) -> Result<Vec<Level>, ScheduleError> {
        match self.scheduler.process() {
            Process::Exploding => Ok(self.exploding()),
            _ => schedule_levels(self.betas()?, &self.timesteps),
        }
    }

    /// Euler's method, or flow matching that draws new noise in every step.
    pub fn euler(&self) -> Result<Table, ScheduleError> {
        let (levels, start) = self.sigma_levels()?;
        let process = self.scheduler.process();
        let flow = process == Process::Flow;
        let churns = matches!(process, Process::Betas | Process::Edm);
        let churn = self.churn.filter(|_| churns).unwrap_or(Churn::NONE);
        let mut table = euler_table(&levels, &self.prediction, &churn)?;
        if flow && self.scheduler.solver.stochastic_sampling {
            // The image, and new noise in the place of the old.
            for (step, to) in table.steps.iter_mut().zip(levels.iter().skip(1)) {
                step.next = StepSum::image().times(to.alpha);
                step.sigma = to.sigma;
            }
        }
        Ok(Table { start, ..table })
    }

    /// Heun's method, or with churn EDM's stochastic sampler.
    pub fn heun(&self, churn: Churn) -> Result<Table, ScheduleError> {
        let churn = self.churn.unwrap_or(churn);
        let (levels, start) = self.sigma_levels()?;
        let start = churned_start(&levels, start, &self.prediction, &churn);
        let table = match &self.schedule {
            Some(schedule) => {
                let known = SigmaTable::new(schedule, self.scheduler.rescale_betas_zero_snr);
                heun_table(&levels, &self.prediction, &churn, |sigma| known.timestep(sigma))
            }
            None => heun_table(&levels, &self.prediction, &churn, |sigma| 0.25 * sigma.ln()),
        };
        Ok(Table { start, ..table? })
    }

    /// DPM-Solver, the multistep form or the one of single steps.
    pub fn dpm(
        &self,
        rounding: Rounding,
        algorithm: Option<DpmAlgorithm>,
    ) -> Result<Table, ScheduleError> {
        let solver = &self.scheduler.solver;
        let single = rounding == Rounding::Single;
        let choices = DpmSolver {
            order: solver.solver_order,
            algorithm: algorithm.unwrap_or(solver.algorithm_type),
            kind: solver.solver_type.unwrap_or(SolverType::Midpoint),
            lower_order_final: solver.lower_order_final.unwrap_or(!single),
            euler_at_final: solver.euler_at_final,
        };
        let levels = self.solver_levels(rounding)?;
        match single {
            true => dpm_singlestep_table(&levels, &self.prediction, &choices),
            false => dpm_multistep_table(&levels, &self.prediction, &choices),
        }
        .map(|table| self.started(table))
    }

    pub fn unipc(&self) -> Result<Table, ScheduleError> {
        let solver = &self.scheduler.solver;
        let choices = UniPc {
            order: solver.solver_order,
            kind: solver.solver_type.unwrap_or(SolverType::Bh2),
            of_image: solver.predict_x0,
            lower_order_final: solver.lower_order_final.unwrap_or(true),
            uncorrected: solver.disable_corrector.clone(),
        };
        let levels = self.solver_levels(Rounding::UniPc)?;
        unipc_table(&levels, &self.prediction, &choices).map(|table| self.started(table))
    }

    /// A solver's run, from the deviation that EDM starts with.
    fn started(&self, table: Table) -> Table {
        match self.sigma_levels() {
            Ok((_, start)) if self.scheduler.process() == Process::Edm => Table { start, ..table },
            _ => table,
        }
    }

    pub fn pndm(&self, runge_kutta: bool) -> Result<Table, ScheduleError> {
        let final_alpha = self.scheduler.final_alpha()?;
        pndm_table(self.betas()?, &self.timesteps, &self.prediction, final_alpha, runge_kutta)
    }

    pub fn consistency(&self) -> Result<Table, ScheduleError> {
        let scaling = self.scheduler.solver.timestep_scaling;
        lcm_table(self.betas()?, &self.timesteps, &self.prediction, scaling)
    }

    /// A run of the continuous process whose steps are the schedule's.
    pub fn continuous(&self, flow: bool) -> Result<Table, ScheduleError> {
        let of = self.scheduler;
        let changed = of.trained_betas.is_some() || of.rescale_betas_zero_snr;
        if of.beta_schedule != BetaSchedule::Linear || changed {
            let expected = "linear betas, for the samplers vp-sde and vp-flow";
            let found = if changed { "trained or rescaled ones" } else { "another schedule" };
            return Err(ScheduleError::value("beta_schedule", expected, found));
        }
        let count = of.num_train_timesteps as f64;
        let (beta_min, beta_max) = (count * of.beta_start, count * of.beta_end);
        let last_timestep = count - 1.0;
        let process = VariancePreserving { beta_min, beta_max, end: END, last_timestep };
        process.table(self.steps, &self.prediction, flow, true)
    }
}

//! Samplers by name, and by the names of diffusers' schedulers.
use super::{
    SamplerKind, SamplerOptions, Table,
    registry::{Entry, SAMPLERS},
    run::Run,
};
use crate::{diffusion::schedule::SchedulerConfig, error::ScheduleError};
use std::{fmt, str::FromStr};

impl SamplerKind {
    /// All samplers.
    pub fn all() -> impl Iterator<Item = Self> {
        SAMPLERS.iter().map(|entry| entry.kind)
    }

    fn entry(self) -> &'static Entry {
        &SAMPLERS[self as usize]
    }

    /// Its name, like `dpm-solver++`.
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// Its description, a line of help.
    pub fn about(self) -> &'static str {
        self.entry().about
    }

    /// What a model must have for it, a few words.
    pub fn needs(self) -> &'static str {
        self.entry().needs.text()
    }

    /// The classes of diffusers that sample so.
    pub fn classes(self) -> &'static [&'static str] {
        self.entry().classes
    }

    /// The sampler of a scheduler's class, by its settings.
    ///
    /// # Errors
    /// If this crate has none; the error names the class.
    pub fn of(scheduler: &SchedulerConfig) -> Result<Self, ScheduleError> {
        let class = scheduler.class_name.as_str();
        match Self::all().find(|kind| kind.classes().contains(&class)) {
            Some(Self::Pndm) if scheduler.solver.skip_prk_steps => Ok(Self::Plms),
            Some(kind) => Ok(kind),
            None => {
                let classes: Vec<&str> =
                    Self::all().flat_map(|kind| kind.classes()).copied().collect();
                let expected =
                    format!("a scheduler that has a sampler here ({})", classes.join(", "));
                Err(ScheduleError::value("_class_name", expected, class))
            }
        }
    }

    /// The sampler of a model where nobody names one: that of its scheduler's class, but DDIM for DDPM's,
    /// of which it takes a twentieth of the steps.
    ///
    /// # Errors
    /// As [`SamplerKind::of`].
    pub fn usual(scheduler: &SchedulerConfig) -> Result<Self, ScheduleError> {
        Ok(match Self::of(scheduler)? {
            Self::Ddpm => Self::Ddim,
            kind => kind,
        })
    }

    /// Whether the same start always gives the same image, by its default settings.
    pub fn is_deterministic(self, eta: f64) -> bool {
        self.entry().deterministic && eta == 0.0
    }

    /// Whether it steps along timesteps of the schedule, or along times of its own.
    pub fn takes_timesteps(self) -> bool {
        !matches!(self, Self::VpSde | Self::VpFlow)
    }

    /// The table of a run.
    ///
    /// # Errors
    /// If the options do not fit the schedule, or the sampler does not go with it.
    pub fn table(
        self,
        scheduler: &SchedulerConfig,
        options: &SamplerOptions,
    ) -> Result<Table, ScheduleError> {
        let Entry { needs, make, .. } = self.entry();
        if !needs.fits(scheduler.process()) {
            let expected = format!("{} for the sampler {self}", needs.text());
            return Err(ScheduleError::value("_class_name", expected, &scheduler.class_name));
        }
        make(&Run::new(self, scheduler, options)?)
    }
}

impl fmt::Display for SamplerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SamplerKind {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        // The name of the family too.
        let name = if text == "dpm-solver" { "dpm-solver++" } else { text };
        Self::all().find(|kind| kind.name() == name).ok_or_else(|| {
            let names = SAMPLERS.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ");
            ScheduleError::value("sampler", format!("one of {names}"), text)
        })
    }
}

//! The settings by which diffusers' schedulers go from noise to image.
use serde::{Deserialize, Deserializer, Serialize};

use super::SigmaSpacing;
use crate::error::{ScheduleError, Unexpected};

/// What a DPM-Solver integrates, and whether it adds noise.
///
/// Example: [`crate::diffusion::samplers::dpm_multistep_table()`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DpmAlgorithm {
    /// The flow, in predictions of the image.
    #[default]
    #[serde(rename = "dpmsolver++", alias = "deis")]
    Image,
    /// The flow, in predictions of the noise.
    #[serde(rename = "dpmsolver")]
    Noise,
    /// The stochastic equation, in predictions of the image.
    #[serde(rename = "sde-dpmsolver++")]
    ImageSde,
    /// The stochastic equation, in predictions of the noise.
    #[serde(rename = "sde-dpmsolver")]
    NoiseSde,
}

/// Variants of the solvers. A solver takes a name of the other's for its default, as in diffusers.
///
/// Example: [`crate::diffusion::samplers::dpm_multistep_table()`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SolverType {
    /// DPM-Solver's default.
    #[serde(alias = "logrho")]
    Midpoint,
    /// DPM-Solver's other one.
    Heun,
    /// UniPC's `B(h) = h`.
    Bh1,
    /// UniPC's default, `B(h) = exp(h) - 1`.
    Bh2,
}

/// The sigma that the last step ends at.
///
/// Example: [`SolverConfig`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinalSigma {
    /// 0.
    #[default]
    Zero,
    /// That of the first timestep.
    SigmaMin,
}

/// Settings of diffusers' schedulers beside betas, spacing and prediction, under its names. Each class
/// reads some of them. A missing key means the class's default.
///
/// ```
/// use ddim::diffusion::{samplers::*, schedule::*};
///
/// let (use_karras_sigmas, final_sigmas_type) = (true, FinalSigma::SigmaMin);
/// let solver = SolverConfig { use_karras_sigmas, final_sigmas_type, ..SolverConfig::default() };
/// assert_eq!(solver.spacing()?, Some(SigmaSpacing::Karras));
/// let scheduler = SchedulerConfig { solver, ..SchedulerConfig::default() };
/// let table = SamplerKind::Euler.table(&scheduler, &SamplerOptions::default())?;
/// assert_eq!(table.steps.len(), 50);
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SolverConfig {
    /// [`SigmaSpacing::Karras`].
    pub use_karras_sigmas: bool,
    /// [`SigmaSpacing::Exponential`].
    pub use_exponential_sigmas: bool,
    /// [`SigmaSpacing::Beta`].
    pub use_beta_sigmas: bool,
    /// Even steps in the logarithm of sigma, the timesteps rounded.
    pub use_lu_lambdas: bool,
    /// Levels of flow matching in the place of those of the betas.
    pub use_flow_sigmas: bool,
    /// Their shift.
    pub flow_shift: f64,
    /// Where the last step ends.
    pub final_sigmas_type: FinalSigma,
    /// The smallest sigma of a spacing; `None` is that of the schedule, 0.002 for EDM.
    pub sigma_min: Option<f64>,
    /// The largest; `None` is that of the schedule, 80 for EDM.
    pub sigma_max: Option<f64>,
    /// EDM's deviation of the images.
    pub sigma_data: f64,
    /// EDM's spacing of sigmas.
    pub sigma_schedule: SigmaSpacing,
    /// Its exponent in Karras' spacing.
    pub rho: f64,
    /// Order of DPM-Solver and UniPC.
    pub solver_order: usize,
    /// Variant of DPM-Solver and UniPC.
    pub solver_type: Option<SolverType>,
    /// What DPM-Solver integrates.
    pub algorithm_type: DpmAlgorithm,
    /// Whether the last steps are of lower order.
    pub lower_order_final: Option<bool>,
    /// Whether the last step is Euler's.
    pub euler_at_final: bool,
    /// Least half logarithm of the signal-to-noise ratio that DPM-Solver begins at.
    #[serde(deserialize_with = "lambda")]
    pub lambda_min_clipped: f64,
    /// Whether UniPC works on predictions of the image.
    pub predict_x0: bool,
    /// Steps that UniPC does not correct.
    pub disable_corrector: Vec<usize>,
    /// Whether PNDM begins with its multistep sums.
    pub skip_prk_steps: bool,
    /// Steps that a latent consistency model was distilled on.
    pub original_inference_steps: usize,
    /// The factor of the timesteps in its boundary condition.
    pub timestep_scaling: f64,
    /// Flow matching's shift of the sigmas.
    pub shift: f64,
    /// Its smallest sigma, to which the others are stretched.
    pub shift_terminal: Option<f64>,
    /// Whether it runs from image to noise.
    pub invert_sigmas: bool,
    /// Whether each of its steps draws new noise.
    pub stochastic_sampling: bool,
}

impl Default for SolverConfig {
    fn default() -> Self {
        Self {
            use_karras_sigmas: false,
            use_exponential_sigmas: false,
            use_beta_sigmas: false,
            use_lu_lambdas: false,
            use_flow_sigmas: false,
            flow_shift: 1.0,
            final_sigmas_type: FinalSigma::Zero,
            sigma_min: None,
            sigma_max: None,
            sigma_data: 0.5,
            sigma_schedule: SigmaSpacing::Karras,
            rho: 7.0,
            solver_order: 2,
            solver_type: None,
            algorithm_type: DpmAlgorithm::default(),
            lower_order_final: None,
            euler_at_final: false,
            lambda_min_clipped: f64::NEG_INFINITY,
            predict_x0: true,
            disable_corrector: Vec::new(),
            skip_prk_steps: false,
            original_inference_steps: 50,
            timestep_scaling: 10.0,
            shift: 1.0,
            shift_terminal: None,
            invert_sigmas: false,
            stochastic_sampling: false,
        }
    }
}

impl SolverConfig {
    /// The spacing of sigmas that the flags name, if any.
    ///
    /// # Errors
    /// If there are several.
    pub fn spacing(&self) -> Result<Option<SigmaSpacing>, ScheduleError> {
        let flags = [
            (self.use_karras_sigmas, SigmaSpacing::Karras),
            (self.use_exponential_sigmas, SigmaSpacing::Exponential),
            (self.use_beta_sigmas, SigmaSpacing::Beta),
            (self.use_lu_lambdas, SigmaSpacing::Lu),
        ];
        let mut named = flags.into_iter().filter(|(set, _)| *set).map(|(_, spacing)| spacing);
        match (named.next(), named.next()) {
            (Some(first), Some(second)) => {
                let found = format!("{first} and {second}");
                Err(ScheduleError::value("sigmas", "one spacing", found))
            }
            (spacing, _) => Ok(spacing),
        }
    }

    pub(super) fn check(&self) -> Result<(), ScheduleError> {
        self.spacing()?;
        let positive = |number: f64| number > 0.0 && number.is_finite();
        for (key, number) in [
            ("flow_shift", self.flow_shift),
            ("shift", self.shift),
            ("sigma_min", self.sigma_min.unwrap_or(1.0)),
            ("sigma_max", self.sigma_max.unwrap_or(1.0)),
            ("sigma_data", self.sigma_data),
            ("rho", self.rho),
            ("timestep_scaling", self.timestep_scaling),
        ] {
            Unexpected::check(positive(number), key, "above 0", number)?;
        }
        let (least, most) = (self.sigma_min.unwrap_or(0.0), self.sigma_max);
        let fits = most.is_none_or(|most| most > least);
        Unexpected::check(fits, "sigma_max", "above sigma_min", most.unwrap_or_default())?;
        let terminal = self.shift_terminal.unwrap_or_default();
        let fits = (0.0..1.0).contains(&terminal);
        Ok(Unexpected::check(fits, "shift_terminal", "0 to 1, without 1", terminal)?)
    }
}

/// A number, or Python's negative infinity.
fn lambda<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    #[derive(Deserialize)]
    enum Word {
        #[serde(rename = "-Infinity")]
        Least,
    }
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a number or -Infinity")]
    enum Bound {
        Number(f64),
        Word(Word),
    }
    Ok(match Bound::deserialize(from)? {
        Bound::Number(number) => number,
        Bound::Word(Word::Least) => f64::NEG_INFINITY,
    })
}

//! Samplers by name.
use super::Churn;
use crate::diffusion::schedule::{Respacing, SigmaSpacing, Spacing};

/// A sampler.
///
/// ```
/// use ddim::diffusion::{
///     samplers::{SamplerKind, SamplerOptions},
///     schedule::SchedulerConfig,
/// };
///
/// let kind: SamplerKind = "unipc".parse()?;
/// assert_eq!((kind, kind.classes()), (SamplerKind::UniPc, &["UniPCMultistepScheduler"][..]));
/// let table = kind.table(&SchedulerConfig::default(), &SamplerOptions::default())?;
/// assert_eq!(table.steps.len(), 50);
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SamplerKind {
    /// Song, Meng, Ermon 2021: *Denoising Diffusion Implicit Models*.
    #[default]
    Ddim,
    /// Ho, Jain, Abbeel 2020: *Denoising Diffusion Probabilistic Models*.
    Ddpm,
    /// DDIM with the larger noise of its appendix D.3.
    SigmaHat,
    /// The probability flow by Euler's method.
    ProbabilityFlow,
    /// The probability flow by Heun's method: Karras et al. 2022, algorithm 1.
    Heun,
    /// DPM-Solver++, multistep: 2M unless the scheduler has another order.
    DpmSolver,
    /// The reverse variance-preserving process.
    VpSde,
    /// Its probability flow.
    VpFlow,
    /// The reverse variance-exploding process.
    VeSde,
    /// The same with Langevin steps.
    PredictorCorrector,
    /// Annealed Langevin dynamics.
    Langevin,
    /// Euler's method on sigmas, and on those of flow matching.
    Euler,
    /// Euler's method with the noise of DDPM.
    EulerAncestral,
    /// EDM's stochastic sampler: Karras et al. 2022, algorithm 2.
    Edm,
    /// DPM-Solver++, multistep, of the stochastic equation.
    DpmSolverSde,
    /// DPM-Solver++, single-step.
    DpmSolverSingle,
    /// UniPC: Zhao et al. 2023.
    UniPc,
    /// PNDM with Runge and Kutta's steps: Liu et al. 2022.
    Pndm,
    /// PNDM without.
    Plms,
    /// Latent consistency models: Luo et al. 2023.
    Lcm,
}

/// Options of a sampling run.
///
/// Example: [`crate::diffusion::samplers`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SamplerOptions {
    /// Steps; `None` is all timesteps for DDPM, 4 for latent consistency models and 50 for the
    /// others.
    pub steps: Option<usize>,
    /// Noise that DDIM adds in every step: see [`DdimOptions`](super::DdimOptions).
    pub eta: f64,
    /// Spacing of the timesteps; `None` is the scheduler's.
    pub spacing: Option<Spacing>,
    /// Timesteps in place of steps and spacing.
    pub timesteps: Option<Vec<usize>>,
    /// The same as guided-diffusion writes it.
    pub respacing: Option<Respacing>,
    /// Leave the predicted image unclipped.
    pub unclipped: bool,
    /// Spacing of the sigmas, where a sampler has some; `None` is the scheduler's.
    pub sigmas: Option<SigmaSpacing>,
    /// Noise that Euler's and Heun's methods add and take out again; `None` is none, of
    /// [`SamplerKind::Edm`] that of [`Churn::IMAGENET`].
    pub churn: Option<Churn>,
    /// A classifier guides, where [`Table::takes_classifier`](super::Table::takes_classifier) then says so.
    pub classifier: bool,
}

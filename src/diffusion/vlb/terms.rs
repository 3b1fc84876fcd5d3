//! The terms of the bound, for one image and in the mean over many.

/// The bound's term of an image at a timestep, or the mean of some.
///
/// Example: [`Vlb`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct VlbTerm {
    /// `L_t` above timestep 0, where it is a KL divergence, and `L_0` there: Ho et al. 2020,
    /// equations 5 and 13; bits per dimension. The normal distribution function is approximated as
    /// in the code released with DDPM.
    pub bits: f64,
    /// The same with the exact distribution function.
    pub exact_bits: f64,
    /// Mean squared error of the predicted image.
    pub x0_error: f64,
    /// Mean squared error of the predicted noise.
    pub epsilon_error: f64,
}

impl VlbTerm {
    /// The term of a row of measures, see [`VariationalBound`](crate::ops::VariationalBound), at a
    /// level that leaves `alpha` of the image's variance: the errors of image and noise are the
    /// same but for their scale.
    pub fn of([bits, exact_bits, x0_error, _]: [f32; 4], alpha: f64) -> Self {
        let x0_error = f64::from(x0_error);
        let epsilon_error = x0_error * alpha / (1.0 - alpha);
        Self { bits: bits.into(), exact_bits: exact_bits.into(), x0_error, epsilon_error }
    }

    pub(super) fn add(&mut self, term: Self, weight: f64) {
        self.bits += weight * term.bits;
        self.exact_bits += weight * term.exact_bits;
        self.x0_error += weight * term.x0_error;
        self.epsilon_error += weight * term.epsilon_error;
    }
}

/// The bound's terms at a timestep, in the mean over images.
///
/// Example: [`Vlb`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VlbLevel {
    /// The timestep.
    pub timestep: usize,
    /// Number of timesteps that it represents, itself among them.
    pub stands_for: usize,
    /// The terms.
    pub mean: VlbTerm,
}

/// The variational bound `L_T + L_{T-1} + .. + L_0` of a data set, Ho et al. 2020, equation 5, in
/// bits per dimension, in the mean over its images.
///
/// ```
/// use ddim::diffusion::{Vlb, VlbLevel, VlbTerm};
///
/// let level = |timestep, stands_for, bits| {
///     let mean = VlbTerm { bits, ..VlbTerm::default() };
///     VlbLevel { timestep, stands_for, mean }
/// };
/// let levels = vec![level(0, 1, 0.5), level(5, 9, 0.25)];
/// let vlb = Vlb { images: 1, prior: 0.0, levels, standard_error: 0.0 };
/// assert_eq!((vlb.decoder(), vlb.divergence(), vlb.is_estimate()), (0.5, 9.0 * 0.25, true));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Vlb {
    /// Number of images.
    pub images: usize,
    /// `L_T`: how far the noisiest images are from noise.
    pub prior: f64,
    /// From timestep 0 on.
    pub levels: Vec<VlbLevel>,
    /// Standard error of the total, from how the images differ; 0 for one.
    pub standard_error: f64,
}

impl Vlb {
    /// `L_0`: what the discretised decoder leaves to be said.
    pub fn decoder(&self) -> f64 {
        self.sum(|timestep| timestep == 0)
    }

    /// The sum of `L_1` to `L_{T-1}`.
    pub fn divergence(&self) -> f64 {
        self.sum(|timestep| timestep > 0)
    }

    /// All terms together.
    pub fn total(&self) -> f64 {
        self.prior + self.divergence() + self.decoder()
    }

    /// Do some timesteps stand for others?
    pub fn is_estimate(&self) -> bool {
        self.levels.iter().any(|level| level.stands_for > 1)
    }

    fn sum(&self, wanted: impl Fn(usize) -> bool) -> f64 {
        let levels = self.levels.iter().filter(|level| wanted(level.timestep));
        levels.map(|level| level.stands_for as f64 * level.mean.bits).sum()
    }
}

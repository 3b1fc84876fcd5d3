//! The families of kernels that compute convolutions, linear layers and their gradients. A new one
//! is a shader, a file here that offers it, a line of a list and a variant of [`Family`].
use super::{Extents, Operands};
use crate::{
    error::Error,
    ops::{Lowering, norm::group_norm::Tiles},
    plan::{Candidate, Family},
    value::ElementType,
};
use Part::{
    Activation, Affine, BiasGradient, Concat, Embedding, Moments, Residual, Turned, Upsample,
};

mod batched;
mod cooperative;
mod direct;
mod product;
mod slots;
mod tiled;
mod window;
mod winograd;
mod winograd_tiles;
mod winograd_weights;

/// What fusion puts around a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The input is two tensors, channels side by side.
    Concat,
    /// A center, a scale and a shift of the input, and perhaps SiLU.
    Affine,
    /// Every pixel of the input stands for 2x2.
    Upsample,
    /// The weight is that of the other direction.
    Turned,
    /// Channels that are added to every pixel of an image.
    Embedding,
    /// A tensor that is added to the output.
    Residual,
    /// SiLU of the output.
    Activation,
    /// Moments of squares of 4x4 pixels of the output.
    Moments,
    /// Beside the gradient of a weight, that of the bias.
    BiasGradient,
}

/// Kernels for these extents and operands; none where the family does not apply.
type Offer = fn(&mut Lowering, Family, &Extents, &Operands) -> Option<Candidate>;

/// A family, the parts that its kernels absorb, and what offers it.
pub(super) type Member = (Family, &'static [Part], Offer);

/// What the tiled kernels absorb.
const TILED: &[Part] = &[Turned, Embedding, Residual, Activation, Moments];

/// The same, of those that read their input in place.
const TILED_IN_PLACE: &[Part] =
    &[Concat, Affine, Upsample, Turned, Embedding, Residual, Activation, Moments];

/// The families that convolve, in either direction. Of several of one family the first is chosen, the
/// others are there to be compared and tested.
pub(super) const CONVOLUTIONS: &[Member] = &[
    (Family::Tiled, TILED_IN_PLACE, tiled::fused),
    (Family::Tiled, TILED, tiled::offer),
    (Family::Tiled, TILED_IN_PLACE, tiled::way::<0>),
    (Family::Tiled, TILED_IN_PLACE, tiled::way::<1>),
    (Family::Tiled, TILED_IN_PLACE, tiled::way::<2>),
    (Family::Tiled, TILED_IN_PLACE, tiled::way::<3>),
    (Family::Tiled, TILED_IN_PLACE, tiled::way::<4>),
    (Family::Tiled, TILED_IN_PLACE, tiled::way::<5>),
    (Family::Tiled, TILED_IN_PLACE, tiled::way::<6>),
    (Family::Tiled, TILED_IN_PLACE, tiled::way::<7>),
    (Family::Subgroup, &[Embedding, Residual, Activation, Moments], direct::offer),
    (Family::Window, &[Embedding, Residual, Activation, Moments], window::offer),
    (Family::Subgroup, &[Concat, Residual, Activation], product::offer),
    (Family::Wide, &[Concat, Residual, Activation], product::offer),
    (Family::Winograd, &[Concat, Affine, Upsample, Embedding, Residual, Moments], winograd::offer),
    (Family::WinogradNarrow, &[Concat, Affine, Upsample, Embedding, Residual], winograd::offer),
    (Family::Cooperative, &[Embedding, Residual, Activation], cooperative::offer),
];

/// The families that compute gradients of weights.
pub(super) const WEIGHT_GRADIENTS: &[Member] = &[
    (Family::Tiled, &[Concat, Affine, Upsample, BiasGradient], slots::fused),
    (Family::Tiled, &[BiasGradient], slots::tiled),
    (Family::Subgroup, &[], slots::subgroup),
    (Family::Wide, &[], slots::wide),
    (Family::Winograd, &[Concat, Affine, Upsample], winograd_weights::offer),
];

/// The candidates of all `families` that apply. An input that a family does not read in place is
/// made dense before its kernels, a weight is turned; moments and the gradient of a bias that it does
/// not write are computed after them; a family that does not absorb another part of the output is no
/// candidate.
pub(super) fn candidates(
    lowering: &mut Lowering,
    families: &[Member],
    extents: &Extents,
    operands: &Operands,
) -> Result<Vec<Candidate>, Error> {
    let (before, dense) = operands.dense(lowering)?;
    let moments = operands.moments_of_output(lowering)?;
    let bias_gradient = operands.bias_gradient(lowering)?;
    let squares = Tiles::of(extents.y(ElementType::F32)).are_squares();
    let mut candidates = Vec::new();
    for &(family, absorbed, offer) in families {
        let takes = |part| absorbed.contains(&part) || !operands.has(part);
        // Of a family's lines a software driver has the first alone.
        let offered = candidates.iter().any(|known: &Candidate| known.family == family);
        if offered && lowering.target().profile.is_software()
            || ![Embedding, Residual, Activation].into_iter().all(takes)
        {
            continue;
        }
        let in_place = [Concat, Affine, Upsample].into_iter().all(takes);
        let own = if in_place { *operands } else { dense };
        let (turned, own) = match takes(Turned) {
            true => (None, own),
            false => own.straight(lowering, extents),
        };
        let own = Operands {
            moments: operands.moments.filter(|_| squares && takes(Moments)),
            dbias: operands.dbias.filter(|_| takes(BiasGradient)),
            ..own
        };
        let Some(mut candidate) = offer(lowering, family, extents, &own) else { continue };
        candidate.packed.splice(0..0, turned);
        let launches = &mut candidate.dispatches;
        // The first launch is the costliest, unless some say themselves what they compute.
        if launches.iter().all(|launch| launch.cost.flops == 0) {
            launches[0].cost.flops = extents.flops();
        }
        if !in_place {
            launches.splice(0..0, before.iter().cloned());
        }
        if own.moments.is_none() {
            launches.extend_from_slice(&moments);
        }
        if own.dbias.is_none() {
            launches.extend_from_slice(&bias_gradient);
        }
        candidate.time = lowering.time(&candidate);
        candidates.push(candidate);
    }
    Ok(candidates)
}

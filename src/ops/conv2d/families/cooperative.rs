//! `shaders/conv2d_cooperative.wgsl`: matrices that a subgroup multiplies together, for whoever allows operands to be
//! rounded to f16.
use super::direct;
use crate::{
    ops::{
        Lowering,
        conv2d::{Extents, Operands},
    },
    plan::{Candidate, Family},
    shaders::conv2d_cooperative::{Forward, Overrides},
    value::{ElementType, Value},
};

/// Where the device has such matrices. A plan with gradients has them for operands that are stored as f16 alone: their
/// gradients have a loss scale, and those in f32 are too small for f16.
pub(super) fn offer(
    lowering: &mut Lowering,
    family: Family,
    extents: &Extents,
    operands: &Operands,
) -> Option<Candidate> {
    let matrices = lowering.target().cooperative_matrices?;
    let [side, lanes] = matrices.workgroup()?;
    let Operands { x0: x, weight, bias, embedding, residual, y, .. } = *operands;
    let is_f16 = |value: Value| lowering.type_of(value).element == ElementType::F16;
    let rounds = !is_f16(x) || !is_f16(weight);
    if lowering.differentiates() && rounds {
        return None;
    }
    let (params, grid) = direct::params(lowering, extents, operands, [side, side / 4]);
    let overrides = Overrides { edge: matrices.edge, side, lanes };
    let kernel = Forward { x, weight, bias, embedding, residual, y };
    Some(Candidate::new(family, vec![kernel.dispatch(params, overrides, grid)]))
}

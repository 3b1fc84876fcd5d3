//! One invocation per pixel and four channels (`shaders/conv2d_plain.wgsl`).
use super::direct;
use crate::{
    ops::{
        Lowering,
        conv2d::{Extents, Operands},
    },
    plan::{Candidate, Family},
    shaders::conv2d_plain,
};

/// For every device.
pub(super) fn offer(
    lowering: &mut Lowering,
    family: Family,
    extents: &Extents,
    operands: &Operands,
) -> Option<Candidate> {
    let (params, _) = direct::params(lowering, extents, operands, [1, 1]);
    let Operands { x0: x, weight, bias, embedding, residual, y, .. } = *operands;
    let kernel = conv2d_plain::Forward { x, weight, bias, embedding, residual, y };
    let invocations = extents.pixels() * extents.out_channels.div_ceil(4);
    Some(Candidate::new(family, vec![kernel.over(params, invocations)]))
}

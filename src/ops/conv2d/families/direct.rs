//! `shaders/conv2d_subgroup.wgsl`, which sums over taps and channels pixel by pixel; rows go round by shuffles.
use super::product;
use crate::{
    ops::{
        Lowering,
        conv2d::{Extents, Operands},
    },
    plan::{Candidate, Family, fold},
    shaders::{conv2d_subgroup, shared::convolution::Params},
};

/// Parameters, and the grid of workgroups that compute `rows` pixels by `columns4` vec4s each.
pub(super) fn params(
    lowering: &Lowering,
    extents: &Extents,
    operands: &Operands,
    [rows, columns4]: [u32; 2],
) -> (Params, [u32; 3]) {
    let spread = extents.spread;
    let out_channels4 = extents.out_channels.div_ceil(4) as u32;
    let column_groups = out_channels4.div_ceil(columns4);
    let (height, width) = (extents.out_height.div_ceil(spread), extents.out_width.div_ceil(spread));
    let params = Params {
        batch: extents.batch as u32,
        in_height: extents.in_height as u32,
        in_width: extents.in_width as u32,
        in_channels: extents.in_channels as u32,
        out_height: extents.out_height as u32,
        out_width: extents.out_width as u32,
        out_channels4,
        out_channels: extents.out_channels as u32,
        kernel_height: extents.kernel[0] as u32,
        kernel_width: extents.kernel[1] as u32,
        stride: extents.stride as u32,
        spread: spread as u32,
        top: extents.top as u32,
        left: extents.left as u32,
        lattice_width: width as u32,
        column_groups,
        silu: operands.activated.into(),
        embedding_pitch4: operands.embedding_pitch4(lowering),
        embedding_first4: operands.embedding_first4 as u32,
        ..Default::default()
    };
    let [y, z, _] = fold((extents.batch * height * width).div_ceil(rows as usize));
    (params, [column_groups * (spread * spread) as u32, y, z])
}

/// Where subgroups have a known size and no product of matrices gives the same sums without
/// coordinates.
pub(super) fn offer(
    lowering: &mut Lowering,
    family: Family,
    extents: &Extents,
    operands: &Operands,
) -> Option<Candidate> {
    let lanes = lowering.target().subgroup.filter(|_| !product::applies(extents, operands))?;
    // As many sums as the widest registers hold, or a software driver keeps in its cache; at least a square of pixels.
    let (least, most) = ((16 / lanes).max(1), (32 / lanes).min(4));
    let rows_per_lane = (extents.pixels() as u32).div_ceil(lanes).clamp(least, most);
    let (params, grid) = params(lowering, extents, operands, [lanes * rows_per_lane, lanes]);
    let packed = product::panels(lowering, lanes, 1, operands.weight);
    let weight = packed.form;
    let Operands { x0: x, bias, embedding, residual, y, moments, .. } = *operands;
    let overrides = conv2d_subgroup::Overrides { lanes, rows_per_lane };
    let kernel = conv2d_subgroup::Forward { x, weight, bias, embedding, residual, y, moments };
    let dispatch = kernel.dispatch(params, overrides, grid);
    Some(Candidate::new(family, vec![dispatch]).with(packed))
}

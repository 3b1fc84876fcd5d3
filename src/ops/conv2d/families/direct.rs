//! The kernels that sum over taps and channels pixel by pixel: `shaders/conv2d_tiled.wgsl`, whose
//! tiles stand in workgroup memory, and `shaders/conv2d_subgroup.wgsl`, whose rows go round by shuffles.
use super::product;
use crate::{
    ops::{
        Lowering,
        conv2d::{Extents, Operands},
    },
    plan::{Candidate, Family, fold},
    shaders::{conv2d_subgroup, conv2d_tiled, shared::convolution::Params},
};

/// Columns of vec4s that a workgroup of the tiled kernel computes.
const COLUMNS4: u32 = 16;

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

/// Products above which the arithmetic of a norm and its SiLU, repeated for each tap and each group of
/// columns, costs a GPU more than a launch that makes the normalized tensor.
const MOST_REPEATED: u64 = 1 << 30;

/// For every device, reading its input in place.
pub(super) fn fused(
    lowering: &mut Lowering,
    family: Family,
    extents: &Extents,
    operands: &Operands,
) -> Option<Candidate> {
    // Eight buffers are WebGPU's limit: the second part of a concatenation has the residual's place.
    let fits = operands.x1.is_none() || operands.residual.is_none();
    (fits && reads_in_place(extents, operands))
        .then(|| tiled(lowering, family, extents, operands))?
}

/// Whether there is something that a GPU had better read in place.
pub(super) fn reads_in_place(extents: &Extents, operands: &Operands) -> bool {
    let Operands { x1, affine, upsample, .. } = *operands;
    let pays = affine.is_none() || extents.flops() <= MOST_REPEATED;
    pays && (x1.is_some() || affine.is_some() || upsample)
}

/// For every device.
pub(super) fn tiled(
    lowering: &mut Lowering,
    family: Family,
    extents: &Extents,
    operands: &Operands,
) -> Option<Candidate> {
    // An invocation of 64 rows keeps 64 sums and 32 numbers of x, and needs some for addresses.
    let rows = if lowering.target().profile.registers() < 160 { 32 } else { 64 };
    let (params, grid) = params(lowering, extents, operands, [rows, COLUMNS4]);
    let Operands { x0, x1, affine, weight, bias, embedding, residual, y, moments, .. } = *operands;
    let split4 = if x1.is_some() { operands.split4 as u32 } else { 0 };
    let params = Params { split4, upsample: operands.upsample.into(), ..params };
    let residual = x1.or(residual);
    let kernel =
        conv2d_tiled::Forward { x: x0, weight, bias, embedding, residual, y, moments, affine };
    let (silu, joined, turned) = (operands.silu, x1.is_some(), operands.turned);
    let overrides = conv2d_tiled::Overrides { rows, silu, joined, turned };
    let mut dispatch = kernel.dispatch(params, overrides, grid);
    dispatch.executed = executed(extents, grid, [rows, 4 * COLUMNS4]);
    Some(Candidate::new(family, vec![dispatch]))
}

/// Operations of a grid of workgroups that go through all rows and columns of their tiles, 16 channels of
/// `x` at a time.
fn executed(extents: &Extents, grid: [u32; 3], [rows, columns]: [u32; 2]) -> u64 {
    let workgroups: u64 = grid.iter().map(|&n| u64::from(n)).product();
    let products = extents.taps() * extents.in_channels.next_multiple_of(16);
    // A phase meets its own taps alone.
    let products = products as u64 / (extents.spread * extents.spread) as u64;
    2 * workgroups * u64::from(rows * columns) * products
}

/// Where subgroups have a known size and no product of matrices gives the same sums without
/// coordinates.
pub(super) fn subgroup(
    lowering: &mut Lowering,
    family: Family,
    extents: &Extents,
    operands: &Operands,
) -> Option<Candidate> {
    let lanes = lowering.target().subgroup.filter(|_| !product::applies(extents, operands))?;
    // As many sums as the widest registers hold, or a software driver keeps in its cache; at least
    // a square of pixels.
    let (least, most) = ((16 / lanes).max(1), (32 / lanes).min(4));
    let rows_per_lane = (extents.pixels() as u32).div_ceil(lanes).clamp(least, most);
    let overrides = conv2d_subgroup::Overrides { lanes, rows_per_lane };
    let (params, grid) = params(lowering, extents, operands, [lanes * rows_per_lane, lanes]);
    let packed = product::panels(lowering, lanes, 1, operands.weight);
    let weight = packed.form;
    let Operands { x0: x, bias, embedding, residual, y, moments, .. } = *operands;
    let kernel = conv2d_subgroup::Forward { x, weight, bias, embedding, residual, y, moments };
    Some(Candidate::new(family, vec![kernel.dispatch(params, overrides, grid)]).with(packed))
}

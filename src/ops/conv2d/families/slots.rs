//! Weight gradients as sums over all pixels, cut into slots that are added in order:
//! `shaders/conv2d_weight_gradient_{tiled,subgroup}.wgsl`, and `outer_wide.wgsl`, which loads two
//! numbers at a time. Of their operands `weight` is `dy` and `y` is `dweight`.
use super::direct;
use crate::{
    ops::{
        Lowering,
        conv2d::{Extents, Operands},
        kit::fold_slots,
    },
    plan::{Candidate, Dispatch, Family},
    shaders::{
        conv2d_weight_gradient_subgroup, conv2d_weight_gradient_tiled, outer_wide,
        shared::weight_gradient::Params,
    },
    value::Value,
};

/// vec4s of rows, and of columns, that a workgroup of the tiled kernel computes.
const TILE4: usize = 16;

/// For every device, reading its input in place.
pub(super) fn fused(
    lowering: &mut Lowering,
    family: Family,
    extents: &Extents,
    operands: &Operands,
) -> Option<Candidate> {
    let reads = direct::reads_in_place(extents, operands);
    reads.then(|| tiled(lowering, family, extents, operands))?
}

/// For every device.
pub(super) fn tiled(
    lowering: &mut Lowering,
    family: Family,
    extents: &Extents,
    operands: &Operands,
) -> Option<Candidate> {
    // Rows of few pixels take more iterations to walk.
    let longest = if extents.out_width < 4 { LONGEST_SLOT / 4 } else { LONGEST_SLOT / 2 };
    let split = Split::new(lowering, extents, [TILE4; 2], longest, operands.y);
    let Operands { x0: x, x1, affine, weight: dy, dbias, .. } = *operands;
    let split4 = if x1.is_some() { operands.split4 as u32 } else { 0 };
    let params = Params { split4, upsample: operands.upsample.into(), ..split.params };
    let partial = dbias.map(|dbias| fold_slots::slots(lowering, split.slots, dbias));
    let dweight = split.partial;
    let kernel =
        conv2d_weight_gradient_tiled::Forward { x, x1, affine, dy, dweight, dbias: partial };
    let overrides = conv2d_weight_gradient_tiled::Overrides { silu: operands.silu };
    let mut sums = kernel.dispatch(params, overrides, split.grid);
    let workgroups: u64 = split.grid.iter().map(|&n| u64::from(n)).product();
    let products = (4 * TILE4).pow(2) * split.params.slot_pixels.next_multiple_of(16) as usize;
    sums.executed = 2 * workgroups * products as u64;
    let (Some(partial), Some(dbias)) = (partial, dbias) else {
        return Some(split.candidate(lowering, family, sums, operands.y));
    };
    let (weights, bias) = ([dweight, operands.y], [partial, dbias]);
    let fold = fold_slots::fold_both(lowering, split.slots, weights, bias);
    Some(Candidate::new(family, [sums].into_iter().chain(fold).collect()))
}

/// Where subgroups have a known size.
pub(super) fn subgroup(
    lowering: &mut Lowering,
    family: Family,
    extents: &Extents,
    operands: &Operands,
) -> Option<Candidate> {
    let lanes = lowering.target().subgroup?;
    let split = Split::new(lowering, extents, [lanes as usize; 2], LONGEST_SLOT, operands.y);
    let Operands { x0: x, weight: dy, .. } = *operands;
    let kernel = conv2d_weight_gradient_subgroup::Forward { x, dy, dweight: split.partial };
    let overrides = conv2d_weight_gradient_subgroup::Overrides { lanes, ..Default::default() };
    let sums = kernel.dispatch(split.params, overrides, split.grid);
    Some(split.candidate(lowering, family, sums, operands.y))
}

/// Of products of matrices, on software drivers.
pub(super) fn wide(
    lowering: &mut Lowering,
    family: Family,
    extents: &Extents,
    operands: &Operands,
) -> Option<Candidate> {
    let lanes = lowering.target().subgroup.filter(|_| extents.is_product())?;
    let tile = [OUTER_ROWS4, 2 * lanes as usize];
    let split = Split::new(lowering, extents, tile, LONGEST_SLOT, operands.y);
    let rows = [split.params.pixels, split.params.slot_pixels];
    let values = [operands.x0, operands.weight, split.partial];
    let sums = outer(lowering, lanes, extents, rows, split.grid[2], values)?;
    Some(split.candidate(lowering, family, sums, operands.y))
}

/// vec4s of rows of `dweight` that a workgroup of the wide kernel computes.
const OUTER_ROWS4: usize = 4;

/// Outer products of `x` and `dy`, of so many rows, summed in slots; none where these cannot be
/// read in pairs or the tiles do not fit `dweight`.
pub(super) fn outer(
    lowering: &Lowering,
    lanes: u32,
    extents: &Extents,
    [rows, slot_rows]: [u32; 2],
    slots: u32,
    [x, dy, dweight]: [Value; 3],
) -> Option<Dispatch> {
    let fits = extents.in_channels.is_multiple_of(4 * OUTER_ROWS4)
        && extents.out_channels.is_multiple_of(8 * lanes as usize)
        && lowering.in_pairs(&[x, dy]);
    let [in_channels8, out_channels8] =
        [extents.in_channels, extents.out_channels].map(|channels| channels as u32 / 8);
    let params = outer_wide::Params { rows, slot_rows, in_channels8, out_channels8 };
    let grid = [out_channels8 / lanes, in_channels8 / 2, slots];
    let kernel = outer_wide::Forward { x, dy, dweight };
    let mut dispatch = kernel.dispatch(params, outer_wide::Overrides { lanes }, grid);
    dispatch.cost.flops = extents.flops();
    fits.then_some(dispatch)
}

/// Parameters of the direct kernels.
pub(super) fn params(extents: &Extents, slot_pixels: usize) -> Params {
    Params {
        in_height: extents.in_height as u32,
        in_width: extents.in_width as u32,
        in_channels: extents.in_channels as u32,
        out_height: extents.out_height as u32,
        out_width: extents.out_width as u32,
        out_channels4: extents.out_channels.div_ceil(4) as u32,
        kernel_height: extents.kernel[0] as u32,
        kernel_width: extents.kernel[1] as u32,
        stride: extents.stride as u32,
        top: extents.top as u32,
        left: extents.left as u32,
        pixels: extents.pixels() as u32,
        slot_pixels: slot_pixels as u32,
        ..Default::default()
    }
}

/// A weight gradient cut into tiles and slots.
struct Split {
    params: Params,
    grid: [u32; 3],
    slots: usize,
    partial: Value,
}

/// Workgroups that keep a software driver's threads, or a large GPU, busy.
const SOFTWARE_WORKGROUPS: usize = 16;
const GPU_WORKGROUPS: usize = 512;
/// Operands of a slot that stay in a core's cache while one tile after another reads them.
const CACHE_BYTES: usize = 1 << 20;
/// Pixels below which a slot costs more to add than it saves.
const SLOT_PIXELS: usize = 64;
/// Pixels of a slot that every driver's loops still walk to the end.
const LONGEST_SLOT: usize = 1 << 16;

impl Split {
    /// For workgroups of `rows4` vec4s of rows by `columns4` vec4s of columns, and slots of at most
    /// `longest` pixels.
    fn new(
        lowering: &mut Lowering,
        extents: &Extents,
        [rows4, columns4]: [usize; 2],
        longest: usize,
        dweight: Value,
    ) -> Self {
        let of = lowering.type_of(dweight);
        let tiles_down = (extents.taps() * extents.in_channels.div_ceil(4)).div_ceil(rows4);
        let tiles_across = extents.out_channels.div_ceil(4).div_ceil(columns4);
        let target = lowering.target();
        let operands = 4 * (extents.in_channels + extents.out_channels) * extents.pixels();
        let (workgroups, cached) = if target.profile.is_software() {
            (SOFTWARE_WORKGROUPS, operands.div_ceil(CACHE_BYTES))
        } else {
            (GPU_WORKGROUPS, 1)
        };
        let wanted = workgroups.div_ceil(tiles_down * tiles_across);
        let fitting = (target.max_binding / of.bytes()).max(1) as usize;
        let useful = wanted.max(cached).min(extents.pixels() / SLOT_PIXELS);
        let slots = useful.max(extents.pixels().div_ceil(longest)).clamp(1, fitting);
        let slot_pixels = extents.pixels().div_ceil(slots);
        let slots = extents.pixels().div_ceil(slot_pixels);
        let params = params(extents, slot_pixels);
        let grid = [tiles_across as u32, tiles_down as u32, slots as u32];
        Self { params, grid, slots, partial: fold_slots::slots(lowering, slots, dweight) }
    }

    /// The sums of the slots, then the slots'.
    fn candidate(
        &self,
        lowering: &Lowering,
        family: Family,
        sums: Dispatch,
        dweight: Value,
    ) -> Candidate {
        let fold = fold_slots::fold(lowering, self.slots, self.partial, dweight);
        Candidate::new(family, [sums].into_iter().chain(fold).collect())
    }
}

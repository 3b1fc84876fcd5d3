//! Weight gradients as sums over all pixels, cut into slots that are added in order:
//! `shaders/conv2d_weight_gradient_{tiled,subgroup}.wgsl`, and `outer_wide.wgsl`, which loads two
//! numbers at a time. Of their operands `weight` is `dy` and `y` is `dweight`.
use super::tiled;
use crate::{
    ops::{
        Lowering,
        conv2d::{Extents, Operands},
        kit::fold_slots,
    },
    plan::{Candidate, Cost, Dispatch, Family},
    shaders::{
        conv2d_weight_gradient_subgroup, conv2d_weight_gradient_tiled, outer_wide,
        shared::weight_gradient::Params,
    },
    value::Value,
};
use std::time::Duration;

/// vec4s of rows, and of columns, that a workgroup of the tiled kernel computes.
const TILE4: usize = 16;

/// For every device, reading its input in place.
pub(super) fn fused(
    lowering: &mut Lowering,
    family: Family,
    extents: &Extents,
    operands: &Operands,
) -> Option<Candidate> {
    let tiles = Tiles::of(extents, [TILE4; 2]);
    let slots = tiles.slots(lowering, extents, longest(extents), operands.y);
    let time = tiles.time(lowering, extents, operands.y, slots);
    let repeated = if operands.affine.is_some() { tiled::REPEATED } else { 0.0 };
    tiled::reads_in_place(lowering, extents, operands, time.map(|time| time.mul_f64(repeated)))
        .then(|| tiled(lowering, family, extents, operands))?
}

/// Pixels of the longest slot of the tiled kernel: rows of few pixels take more iterations to walk.
fn longest(extents: &Extents) -> usize {
    if extents.out_width < 4 { LONGEST_SLOT / 4 } else { LONGEST_SLOT / 2 }
}

/// For every device.
pub(super) fn tiled(
    lowering: &mut Lowering,
    family: Family,
    extents: &Extents,
    operands: &Operands,
) -> Option<Candidate> {
    let split = Split::new(lowering, extents, [TILE4; 2], longest(extents), operands.y);
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
    let products = (4 * TILE4).pow(2) * (split.params.slot_pixels as usize).next_multiple_of(DEPTH);
    sums.executed = 2 * workgroups * products as u64;
    sums.parts = split.slots as u32;
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

/// Tiles that `dweight` is cut into.
struct Tiles {
    count: usize,
    /// Elements of one.
    elements: usize,
}

impl Tiles {
    /// Tiles of `rows4` vec4s of rows by `columns4` vec4s of columns.
    fn of(extents: &Extents, [rows4, columns4]: [usize; 2]) -> Self {
        let [down, across] = tiles(extents, [rows4, columns4]);
        Self { count: down * across, elements: 16 * rows4 * columns4 }
    }

    /// How many slots the pixels are cut into: those that take a GPU least time by its model.
    fn slots(
        &self,
        lowering: &Lowering,
        extents: &Extents,
        longest: usize,
        dweight: Value,
    ) -> usize {
        let (target, pixels) = (lowering.target(), extents.pixels());
        let fitting = (target.max_binding / lowering.type_of(dweight).bytes()).max(1) as usize;
        let least = pixels.div_ceil(longest).clamp(1, fitting);
        let most = (pixels / SLOT_PIXELS).clamp(least, fitting);
        if target.profile.is_software() {
            let cached = operand_bytes(extents).div_ceil(CACHE_BYTES);
            return SOFTWARE_WORKGROUPS.div_ceil(self.count).max(cached).clamp(least, most);
        }
        let time = |slots| self.time(lowering, extents, dweight, slots);
        let timed = (least..=most).filter_map(|slots| Some((time(slots)?, slots)));
        let fastest = timed.min_by_key(|(time, _)| *time).map(|(_, slots)| slots);
        fastest.unwrap_or_else(|| GPU_WORKGROUPS.div_ceil(self.count).clamp(least, most))
    }

    /// How long so many slots take, and the launch that adds them; none if the device's rates are not
    /// known.
    fn time(
        &self,
        lowering: &Lowering,
        extents: &Extents,
        dweight: Value,
        slots: usize,
    ) -> Option<Duration> {
        let (profile, of) = (lowering.target().profile, lowering.type_of(dweight));
        let workgroups = (self.count * slots) as u64;
        let products = self.elements * extents.pixels().div_ceil(slots).next_multiple_of(DEPTH);
        let partial = slots as u64 * of.bytes();
        let bytes = operand_bytes(extents) as u64 + partial;
        let flops = 2 * workgroups * products as u64;
        let sums = profile.work(workgroups, LANES, Cost { flops, bytes })?;
        if slots == 1 {
            return Some(sums);
        }
        Some(sums + profile.pass(of.vectors() as u64, partial + of.bytes())?)
    }
}

/// Tiles below each other, and beside each other.
fn tiles(extents: &Extents, [rows4, columns4]: [usize; 2]) -> [usize; 2] {
    let rows = extents.taps() * extents.in_channels.div_ceil(4);
    [rows.div_ceil(rows4), extents.out_channels.div_ceil(4).div_ceil(columns4)]
}

/// Bytes of `x` and `dy`.
fn operand_bytes(extents: &Extents) -> usize {
    4 * (extents.in_channels + extents.out_channels) * extents.pixels()
}

/// A weight gradient cut into tiles and slots.
struct Split {
    params: Params,
    grid: [u32; 3],
    slots: usize,
    partial: Value,
}

/// Workgroups that keep a software driver's threads, or a large GPU of unknown rates, busy.
const SOFTWARE_WORKGROUPS: usize = 16;
const GPU_WORKGROUPS: usize = 512;
/// Invocations of a workgroup of the tiled kernel, and pixels of its step.
const LANES: u32 = 64;
const DEPTH: usize = 16;
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
        tile: [usize; 2],
        longest: usize,
        dweight: Value,
    ) -> Self {
        let slots = Tiles::of(extents, tile).slots(lowering, extents, longest, dweight);
        let slot_pixels = extents.pixels().div_ceil(slots);
        let slots = extents.pixels().div_ceil(slot_pixels);
        let params = params(extents, slot_pixels);
        let [down, across] = tiles(extents, tile);
        let grid = [across as u32, down as u32, slots as u32];
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

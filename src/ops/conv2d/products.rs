//! Lowering of convolutions and linear layers to the two families of product kernels: subgroups
//! that pass their rows round by shuffles, and tiles in workgroup memory.
use super::Extents;
use crate::{
    error::Error,
    ops::{Lowering, fold_slots, lowering::offer},
    plan::{Candidate, Dispatch, Target, fold},
    shaders::{
        conv2d_subgroup, conv2d_tiled, conv2d_turn_weight, conv2d_weight_gradient_subgroup,
        conv2d_weight_gradient_tiled,
    },
    value::{TensorType, Value},
};

/// Rows and columns of vec4s that a workgroup of the tiled kernels computes.
const TILE_ROWS: usize = 64;
const TILE_COLUMNS4: usize = 16;

/// Lowers `y = x * weight + bias`.
pub(in crate::ops) fn forward(
    lowering: &mut Lowering,
    op: &str,
    extents: &Extents,
    [x, weight, y]: [Value; 3],
    bias: Option<Value>,
) -> Result<(), Error> {
    let params = conv2d_subgroup::Params {
        batch: extents.batch as u32,
        in_height: extents.in_height as u32,
        in_width: extents.in_width as u32,
        in_channels: extents.in_channels as u32,
        out_height: extents.out_height as u32,
        out_width: extents.out_width as u32,
        out_channels4: extents.out_channels.div_ceil(4) as u32,
        kernel_height: extents.kernel[0] as u32,
        kernel_width: extents.kernel[1] as u32,
        stride: extents.stride as u32,
        spread: 1,
        top: extents.top as u32,
        left: extents.left as u32,
        lattice_width: 0,
        column_groups: 0,
    };
    let candidates = candidates(lowering.target(), params, [x, weight, y], bias);
    Ok(lowering.choose(op, candidates)?)
}

/// Lowers `dx` from `dy` and the weight: the same sum over the turned weight.
pub(in crate::ops) fn input_gradient(
    lowering: &mut Lowering,
    op: &str,
    extents: &Extents,
    [dy, weight, dx]: [Value; 3],
) -> Result<(), Error> {
    let [kernel_height, kernel_width] = extents.kernel;
    let (taps, channels) = (extents.taps(), extents.in_channels);
    let turned = TensorType::f32(&[taps, extents.out_channels, channels]);
    let turned = lowering.scratch(turned.with_element(lowering.type_of(weight).element));
    let overrides = conv2d_turn_weight::Overrides::default();
    let blocks = taps * extents.out_channels.div_ceil(4) * channels.div_ceil(4);
    lowering.push(conv2d_turn_weight::Forward { weight, turned }.dispatch(
        conv2d_turn_weight::Params {
            taps: taps as u32,
            in_channels: channels as u32,
            out_channels: extents.out_channels as u32,
        },
        overrides,
        fold(blocks.div_ceil(overrides.workgroup as usize)),
    ))?;
    let params = conv2d_subgroup::Params {
        batch: extents.batch as u32,
        in_height: extents.out_height as u32,
        in_width: extents.out_width as u32,
        in_channels: extents.out_channels as u32,
        out_height: extents.in_height as u32,
        out_width: extents.in_width as u32,
        out_channels4: channels.div_ceil(4) as u32,
        kernel_height: kernel_height as u32,
        kernel_width: kernel_width as u32,
        stride: 1,
        spread: extents.stride as u32,
        top: (kernel_height - 1 - extents.top) as u32,
        left: (kernel_width - 1 - extents.left) as u32,
        lattice_width: 0,
        column_groups: 0,
    };
    let candidates = candidates(lowering.target(), params, [dy, turned, dx], None);
    Ok(lowering.choose(op, candidates)?)
}

/// Both families, the better one first; `params` still lacks what depends on the tiling.
fn candidates(
    target: &Target,
    params: conv2d_subgroup::Params,
    [x, weight, y]: [Value; 3],
    bias: Option<Value>,
) -> Vec<Candidate> {
    let tiled = tiled_params(params, TILE_ROWS, TILE_COLUMNS4, 1);
    let kernel = conv2d_tiled::Forward { x, weight, bias, y };
    let overrides = conv2d_tiled::Overrides::default();
    let dispatch = kernel.dispatch(bytemuck::cast(tiled.0), overrides, tiled.1);
    let mut candidates = vec![Candidate { name: "tiled", dispatches: vec![dispatch] }];
    if let Some(lanes) = target.subgroup {
        // Neighbouring taps share what they load where neighbouring outputs have neighbouring
        // sources; in narrow images the zeros between the rows would eat the gain.
        let shares = params.stride == 1 && params.spread == 1 && params.kernel_width == 3;
        let taps = if shares && params.out_width >= 16 { 3 } else { 1 };
        // As many sums as the widest registers hold, or a software driver keeps in its cache.
        let rows_per_lane = (32 / lanes).min(4);
        let overrides = conv2d_subgroup::Overrides { lanes, rows_per_lane, taps };
        let rows = lanes * rows_per_lane;
        let (params, grid) = tiled_params(params, rows as usize, lanes as usize, taps);
        let kernel = conv2d_subgroup::Forward { x, weight, bias, y };
        let dispatches = vec![kernel.dispatch(params, overrides, grid)];
        offer(target, &mut candidates, Candidate { name: "subgroup", dispatches });
    }
    candidates
}

/// Completes `params`, and the grid, for workgroups of `rows` pixels by `columns4` vec4s.
fn tiled_params(
    params: conv2d_subgroup::Params,
    rows: usize,
    columns4: usize,
    taps: u32,
) -> (conv2d_subgroup::Params, [u32; 3]) {
    let spread = params.spread;
    let mut lattice_width = params.out_width.div_ceil(spread);
    if taps > 1 {
        // The zeros right of a row and those left of the next may be the same pixels.
        let beyond = params.out_width + params.kernel_width - 1 - params.left;
        lattice_width = params.out_width + taps - 1 - params.left.min(beyond - params.in_width);
    }
    let lattice_height = params.out_height.div_ceil(spread);
    let column_groups = params.out_channels4.div_ceil(columns4 as u32);
    let pixels = params.batch as usize * lattice_height as usize * lattice_width as usize;
    let [y, z, _] = fold(pixels.div_ceil(rows));
    let params = conv2d_subgroup::Params { lattice_width, column_groups, ..params };
    (params, [column_groups * spread * spread, y, z])
}

/// Lowers `dweight` from `x` and `dy`.
pub(in crate::ops) fn weight_gradient(
    lowering: &mut Lowering,
    op: &str,
    extents: &Extents,
    [x, dy, dweight]: [Value; 3],
) -> Result<(), Error> {
    let target = lowering.target().clone();
    let mut candidates = vec![{
        let (tile, rows4) = (TILE_COLUMNS4, TILE_COLUMNS4);
        let split = Split::new(lowering, extents, rows4, tile, dweight);
        let kernel = conv2d_weight_gradient_tiled::Forward { x, dy, dweight: split.partial };
        let overrides = conv2d_weight_gradient_tiled::Overrides::default();
        let params = bytemuck::cast(split.params);
        split.candidate(lowering, "tiled", kernel.dispatch(params, overrides, split.grid), dweight)
    }];
    if let Some(lanes) = target.subgroup {
        let overrides = conv2d_weight_gradient_subgroup::Overrides {
            lanes,
            ..conv2d_weight_gradient_subgroup::Overrides::default()
        };
        let split = Split::new(lowering, extents, lanes as usize, lanes as usize, dweight);
        let kernel = conv2d_weight_gradient_subgroup::Forward { x, dy, dweight: split.partial };
        let dispatch = kernel.dispatch(split.params, overrides, split.grid);
        let subgroup = split.candidate(lowering, "subgroup", dispatch, dweight);
        offer(&target, &mut candidates, subgroup);
    }
    Ok(lowering.choose(op, candidates)?)
}

/// A weight gradient cut into tiles and slots.
struct Split {
    params: conv2d_weight_gradient_subgroup::Params,
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

impl Split {
    /// For workgroups of `rows4` vec4s of rows by `columns4` vec4s of columns.
    fn new(
        lowering: &mut Lowering,
        extents: &Extents,
        rows4: usize,
        columns4: usize,
        dweight: Value,
    ) -> Self {
        let of = lowering.type_of(dweight);
        let tiles_down = (extents.taps() * extents.in_channels.div_ceil(4)).div_ceil(rows4);
        let tiles_across = extents.out_channels.div_ceil(4).div_ceil(columns4);
        let target = lowering.target();
        let operands = 4 * (extents.in_channels + extents.out_channels) * extents.pixels();
        let (workgroups, cached) = if target.software {
            (SOFTWARE_WORKGROUPS, operands.div_ceil(CACHE_BYTES))
        } else {
            (GPU_WORKGROUPS, 1)
        };
        let wanted = workgroups.div_ceil(tiles_down * tiles_across);
        let fitting = (target.max_binding / of.bytes()).max(1) as usize;
        let slots = wanted.max(cached).min(extents.pixels() / SLOT_PIXELS).clamp(1, fitting);
        let slot_pixels = extents.pixels().div_ceil(slots);
        let slots = extents.pixels().div_ceil(slot_pixels);
        let params = conv2d_weight_gradient_subgroup::Params {
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
        };
        let grid = [tiles_across as u32, tiles_down as u32, slots as u32];
        Self { params, grid, slots, partial: fold_slots::slots(lowering, slots, dweight) }
    }

    fn candidate(
        &self,
        lowering: &Lowering,
        name: &'static str,
        product: Dispatch,
        dweight: Value,
    ) -> Candidate {
        let fold = fold_slots::fold(lowering, self.slots, self.partial, dweight);
        Candidate { name, dispatches: [product].into_iter().chain(fold).collect() }
    }
}

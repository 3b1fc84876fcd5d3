//! Lowering of convolutions and linear layers to the two families of product kernels: subgroups
//! that pass their rows round by shuffles, and tiles in workgroup memory. Above 300 lines, for both families are
//! offered from here.
use super::{
    Extents, Operands,
    operands::in_order,
    window,
    winograd::{self, Tile},
};
use crate::{
    error::Error,
    ops::{Lowering, SliceChannels, layout::concat::rows_of, norm::group_norm::Tiles},
    plan::{Candidate, Dispatch, OpClass, Packed, Problem, fold},
    shaders::{
        conv2d_subgroup, conv2d_tiled, conv2d_turn_weight, panels, product_subgroup, product_wide,
    },
    value::{ElementType, TensorType, Value},
};

/// Rows and columns of vec4s that a workgroup of the tiled kernels computes.
const TILE_ROWS: usize = 64;
pub(super) const TILE_COLUMNS4: usize = 16;

/// The panels of a weight: the form that subgroups read, `depth` rows of a lane side by side.
fn panels(lowering: &mut Lowering, lanes: u32, depth: u32, weight: Value) -> Packed {
    let of = lowering.type_of(weight);
    let (rows, columns4) = (of.rows(), of.pitch() / 4);
    let width = 4 * lanes as usize;
    let panels = TensorType::f32(&[of.pitch().div_ceil(width), rows, width]);
    let name = if depth == 1 { "panels" } else { "panels of pairs" };
    let form = lowering.packed(weight, name, panels.with_element(of.element));
    let overrides = panels::Overrides { width: lanes, ..Default::default() };
    let params = panels::Params { rows: rows as u32, columns4: columns4 as u32, depth };
    let grid = fold((rows * columns4).div_ceil(overrides.workgroup as usize));
    let kernel = panels::Forward { weight, panels: form };
    Packed { of: weight, form, dispatch: kernel.dispatch(params, overrides, grid) }
}

/// Matrix products of one shape, one per pair of matrices.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product {
    /// Pairs.
    pub batch: usize,
    /// Rows of x and y.
    pub rows: usize,
    /// Columns of x, rows of the weight.
    pub in_channels: usize,
    /// Columns of the weight and of y.
    pub out_channels: usize,
}

impl Product {
    /// The most rows of a weight that a lane can read at once, side by side in its form: two where
    /// it reads pairs of numbers as integers of 64 bits.
    pub fn depth(&self, lowering: &Lowering, operands: &Operands) -> u32 {
        let Operands { x0, x1, weight, residual, y, .. } = *operands;
        let sources: Vec<Value> = [x0].into_iter().chain(x1).collect();
        let f32 = |value: Value| lowering.type_of(value).element == ElementType::F32;
        let others = [weight, y].into_iter().chain(residual).all(f32);
        if others && lowering.in_pairs(&sources) { 2 } else { 1 }
    }

    /// The products by subgroups of this size, of weights of this [`Product::depth`].
    pub fn dispatch(&self, lanes: u32, depth: u32, operands: &Operands) -> Dispatch {
        let most = (32 / lanes).min(4);
        let rows_per_lane = (self.rows.div_ceil(lanes as usize) as u32).clamp(most.min(2), most);
        let row_groups = self.rows.div_ceil((lanes * rows_per_lane) as usize);
        let out_channels4 = self.out_channels.div_ceil(4) as u32;
        let params = product_subgroup::Params {
            rows: self.rows as u32,
            in_channels: self.in_channels as u32,
            split4: operands.split4 as u32,
            out_channels4,
            batch: self.batch as u32,
            row_groups: row_groups as u32,
            silu: operands.activated.into(),
            ..Default::default()
        };
        let Operands { x0, x1, weight, bias, residual, y, .. } = *operands;
        let [y_groups, z_groups, _] = fold(self.batch * row_groups);
        let grid = [out_channels4.div_ceil(lanes), y_groups, z_groups];
        if depth == 2 {
            let overrides = product_wide::Overrides { lanes, rows_per_lane };
            let kernel = product_wide::Forward { x0, x1, weight, bias, residual, y };
            return kernel.dispatch(params, overrides, grid);
        }
        let overrides = product_subgroup::Overrides { lanes, rows_per_lane };
        let kernel = product_subgroup::Forward { x0, x1, weight, bias, residual, y };
        kernel.dispatch(params, overrides, grid)
    }
}

/// Lowers a convolution, or a linear layer as one of a single tap.
pub(in crate::ops) fn forward(
    lowering: &mut Lowering,
    op: &str,
    extents: &Extents,
    operands: &Operands,
) -> Result<(), Error> {
    let class = if lowering.trains() { OpClass::TrainedConvolution } else { OpClass::Convolution };
    convolve(lowering, op, class, extents, operands)
}

/// Products of a sum, of channels and taps, that the loops of every family still walk to the end.
const LONGEST_SUM: usize = 1 << 17;

/// Lowers the convolution of any direction.
fn convolve(
    lowering: &mut Lowering,
    op: &str,
    class: OpClass,
    extents: &Extents,
    operands: &Operands,
) -> Result<(), Error> {
    let longest = (LONGEST_SUM / extents.taps()).next_multiple_of(16);
    if extents.in_channels > longest {
        return in_parts(lowering, op, class, extents, operands, longest);
    }
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
        silu: operands.activated.into(),
        embedding_pitch4: operands.embedding_pitch4(lowering),
        embedding_first4: operands.embedding_first4 as u32,
        ..Default::default()
    };
    // Kernels write the moments of squares; of runs, others do.
    let squares = Tiles::of(extents.y(ElementType::F32)).are_squares();
    let within = Operands { moments: operands.moments.filter(|_| squares), ..*operands };
    let (before, dense) = within.dense(lowering)?;
    let after = operands.after(lowering)?;
    let mut candidates = candidates(lowering, params, &dense);
    candidates.extend(window::forward(lowering, &params, &dense));
    for candidate in &mut candidates {
        // The costliest of them, whatever stands around it.
        candidate.dispatches[0].cost.flops = extents.flops();
        *candidate = in_order(&before, candidate.clone(), &after);
    }
    let product = extents.is_product() && operands.embedding.is_none();
    if let (Some(lanes), true) = (lowering.target().subgroup, product) {
        let product = Product {
            batch: 1,
            rows: extents.pixels(),
            in_channels: extents.in_channels,
            out_channels: extents.out_channels,
        };
        // It reads a concatenation in place, and nothing else.
        let side_by_side = operands.affine.is_none() && !operands.upsample;
        let (before, operands) =
            if side_by_side { (&[][..], operands) } else { (&before[..], &dense) };
        // The same sums as the convolution's, without its coordinates.
        candidates.retain(|candidate| candidate.name != "subgroup");
        for depth in 1..=product.depth(lowering, operands) {
            let packed = panels(lowering, lanes, depth, operands.weight);
            let operands = Operands { weight: packed.form, ..*operands };
            let mut dispatch = product.dispatch(lanes, depth, &operands);
            dispatch.cost.flops = extents.flops();
            let name = if depth == 1 { "subgroup" } else { "wide" };
            let candidate = in_order(before, Candidate::new(name, vec![dispatch]), &after);
            candidates.push(candidate.with(packed));
        }
    }
    for tile in [Tile::Wide, Tile::Narrow] {
        let winograd = winograd::forward(lowering, tile, extents, &within);
        candidates.extend(winograd.map(|winograd| in_order(&[], winograd, &after)));
    }
    let class = if extents.is_product() { OpClass::Product } else { class };
    Ok(lowering.choose(op, problem(class, extents), candidates)?)
}

/// Lowers a convolution whose sums are too long: run of channels by run of channels, each adding
/// what those before it gave.
fn in_parts(
    lowering: &mut Lowering,
    op: &str,
    class: OpClass,
    extents: &Extents,
    operands: &Operands,
    longest: usize,
) -> Result<(), Error> {
    let (before, dense) = operands.dense(lowering)?;
    before.into_iter().try_for_each(|dispatch| lowering.push(dispatch))?;
    let mut part = Operands { activated: false, moments: None, ..dense };
    for start in (0..extents.in_channels).step_by(longest) {
        let count = longest.min(extents.in_channels - start);
        part.x0 = lowering.nested(SliceChannels { start, count }, &[dense.x0])?;
        part.split4 = count.div_ceil(4);
        part.weight = rows_of(lowering, dense.weight, start, count)?;
        if start + count == extents.in_channels {
            part =
                Operands { y: dense.y, activated: dense.activated, moments: dense.moments, ..part };
        } else {
            part.y = lowering.scratch(lowering.type_of(dense.y));
        }
        let extents = Extents { in_channels: count, ..*extents };
        convolve(lowering, op, class, &extents, &part)?;
        part = Operands { bias: None, embedding: None, residual: Some(part.y), ..part };
    }
    Ok(())
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
    let operands = Operands::new(dy, extents.out_channels, turned, dx);
    if extents.stride == 1 {
        return convolve(lowering, op, OpClass::InputGradient, &extents.turned(), &operands);
    }
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
        silu: operands.activated.into(),
        ..Default::default()
    };
    let candidates = candidates(lowering, params, &operands);
    Ok(lowering.choose(op, problem(OpClass::InputGradient, extents), candidates)?)
}

/// What the choice between families goes by.
pub(super) fn problem(class: OpClass, extents: &Extents) -> Problem {
    let channels = extents.in_channels.min(extents.out_channels);
    Problem::new(class, extents.pixels(), channels, extents.out_channels)
}

/// Both direct families; `params` still lacks what depends on the tiling.
fn candidates(
    lowering: &mut Lowering,
    params: conv2d_subgroup::Params,
    operands: &Operands,
) -> Vec<Candidate> {
    let Operands { x0: x, weight, bias, embedding, residual, y, .. } = *operands;
    let tiled = tiled_params(params, TILE_ROWS, TILE_COLUMNS4);
    let kernel = conv2d_tiled::Forward { x, weight, bias, embedding, residual, y };
    let overrides = conv2d_tiled::Overrides::default();
    let dispatch = kernel.dispatch(tiled.0, overrides, tiled.1);
    let mut candidates = vec![Candidate::new("tiled", vec![dispatch])];
    let target = lowering.target().clone();
    if let Some(lanes) = target.subgroup {
        // As many sums as the widest registers hold, or a software driver keeps in its cache.
        let most = (32 / lanes).min(4);
        let pixels = params.batch * params.out_height * params.out_width;
        // At least a square of pixels.
        let rows_per_lane = pixels.div_ceil(lanes).clamp((16 / lanes).max(1), most);
        let overrides = conv2d_subgroup::Overrides { lanes, rows_per_lane };
        let rows = lanes * rows_per_lane;
        let (params, grid) = tiled_params(params, rows as usize, lanes as usize);
        let packed = panels(lowering, lanes, 1, weight);
        let weight = packed.form;
        let moments = operands.moments;
        let kernel = conv2d_subgroup::Forward { x, weight, bias, embedding, residual, y, moments };
        let dispatches = vec![kernel.dispatch(params, overrides, grid)];
        candidates.push(Candidate::new("subgroup", dispatches).with(packed));
    }
    candidates
}

/// Completes `params`, and the grid, for workgroups of `rows` pixels by `columns4` vec4s.
fn tiled_params(
    params: conv2d_subgroup::Params,
    rows: usize,
    columns4: usize,
) -> (conv2d_subgroup::Params, [u32; 3]) {
    let spread = params.spread;
    let lattice_width = params.out_width.div_ceil(spread);
    let lattice_height = params.out_height.div_ceil(spread);
    let column_groups = params.out_channels4.div_ceil(columns4 as u32);
    let pixels = params.batch as usize * lattice_height as usize * lattice_width as usize;
    let [y, z, _] = fold(pixels.div_ceil(rows));
    let params = conv2d_subgroup::Params { lattice_width, column_groups, ..params };
    (params, [column_groups * spread * spread, y, z])
}

//! Lowering of 3x3 convolutions of stride 1, and of their weight gradients, to minimal filtering:
//! spread the tiles, multiply matrices, gather (`shaders/winograd.wgsl`).
use super::{
    product::{self, Product},
    slots,
    winograd_tiles::{Part, Tile, parts},
};
use crate::{
    ops::{
        Lowering,
        conv2d::{Extents, Operands},
    },
    plan::{Candidate, Dispatch, Family, Packed, fold},
    shaders::{conv2d_weight_gradient_subgroup, winograd},
    value::{ElementType, TensorType, Value},
};

/// Filters that a software driver keeps from run to run. Larger ones take less time to make than a direct
/// convolution of 128 pixels takes, and together more memory than the weights.
const KEPT_BYTES: u64 = 96 << 20;

/// Spread tiles of a part of the images, where a gradient of weights is summed in parts.
const SPREAD_BYTES: u64 = 8 << 20;

/// The same, in terms of their products, which each part writes and reads: fewer parts, where these are large.
const SPREAD_PRODUCTS: u64 = 4;

/// Whether minimal filtering applies.
fn applies(extents: &Extents) -> bool {
    extents.kernel == [3, 3] && extents.stride == 1 && extents.spread == 1
}

fn params(tile: Tile, extents: &Extents, operands: &Operands) -> winograd::Params {
    let [_, tiles_down, tiles_across] = tile.count(extents);
    let in_channels4 = extents.in_channels.div_ceil(4);
    winograd::Params {
        batch: extents.batch as u32,
        first: 0,
        in_height: extents.in_height as u32,
        in_width: extents.in_width as u32,
        in_channels4: in_channels4 as u32,
        split4: operands.split4 as u32,
        in_channels: extents.in_channels as u32,
        out_height: extents.out_height as u32,
        out_width: extents.out_width as u32,
        out_channels4: extents.out_channels.div_ceil(4) as u32,
        top: extents.top as u32,
        left: extents.left as u32,
        tiles_across: tiles_across as u32,
        tiles_down: tiles_down as u32,
        upsample: operands.upsample.into(),
        ..Default::default()
    }
}

/// `invocations` in workgroups.
fn grid(invocations: usize) -> [u32; 3] {
    fold(invocations.div_ceil(winograd::Overrides::default().workgroup as usize))
}

/// Bytes of a launch that takes a share, so many tiles of so many, of tensors that it binds whole,
/// and all of its scratch.
fn moved(
    lowering: &Lowering,
    whole: &[Option<Value>],
    [tiles, of]: [usize; 2],
    scratch: Value,
) -> u64 {
    let bytes = |value: Value| lowering.type_of(value).bytes();
    let whole: u64 = whole.iter().flatten().map(|value| bytes(*value)).sum();
    whole * tiles as u64 / of as u64 + bytes(scratch)
}

/// `y` of a convolution, fused or not, where its tensors fit a binding.
pub(super) fn offer(
    lowering: &mut Lowering,
    family: Family,
    extents: &Extents,
    operands: &Operands,
) -> Option<Candidate> {
    let tile = Tile::of(family);
    let target = lowering.target().clone();
    let lanes = target.subgroup.filter(|_| applies(extents))?;
    let (in_channels, out_channels) = (extents.in_channels, extents.out_channels);
    let out_channels4 = out_channels.div_ceil(4);
    let panel = lanes as usize;
    let panels = out_channels4.div_ceil(panel);
    let filters_of = TensorType::f32(&[tile.places(), panels, in_channels, 4 * panel]);
    let parts = parts(&target, tile, extents, filters_of)?;
    let [_, down, across] = tile.count(extents);
    let all = extents.batch * down * across;
    let tiles = |part: &Part| part.images * part.rows * across;
    let most = parts.iter().map(tiles).max()?;
    let mut product = Product { batch: tile.places(), rows: 0, in_channels, out_channels };
    let Operands { x0, x1, affine, bias, embedding, residual, y, moments, .. } = *operands;
    let spread_x = lowering.scratch(tile.spread(most, in_channels));
    let sums = lowering.scratch(tile.spread(most, out_channels));
    let kept = !target.profile.is_software() || filters_of.bytes() <= KEPT_BYTES;
    let filters = lowering.packed(operands.weight, family.name(), filters_of, kept);
    let multiplied = Operands::new(spread_x, in_channels, filters, sums);
    let depth = product::depth(lowering, &multiplied);
    let base = winograd::Params {
        embedding_pitch4: operands.embedding_pitch4(lowering),
        embedding_first4: operands.embedding_first4 as u32,
        panel: panel as u32,
        depth,
        ..params(tile, extents, operands)
    };
    let plain = winograd::Overrides { narrow: tile == Tile::Narrow, ..Default::default() };
    let overrides = winograd::Overrides { silu: operands.silu, ..plain };
    let mut dispatches = Vec::new();
    for part in parts {
        let (rows, share) = (tiles(&part), [tiles(&part), all]);
        let params = part.params(base);
        let input = winograd::Input { x0, x1, affine, spread: spread_x };
        let invocations = rows * base.in_channels4 as usize;
        let mut input = input.dispatch(params, overrides, grid(invocations));
        input.work.bytes = moved(lowering, &[Some(x0), x1, affine], share, spread_x);
        dispatches.push(input);
        product.rows = rows;
        let mut multiply = product.dispatch(lanes, depth, &multiplied);
        multiply.cost.flops = extents.flops() * rows as u64 / all as u64;
        dispatches.push(multiply);
        let squares = part.images * part.rows.div_ceil(2) * across;
        let output = winograd::Output { products: sums, bias, embedding, residual, y, moments };
        let mut output = output.dispatch(params, plain, grid(squares * out_channels4));
        output.work.bytes = moved(lowering, &[embedding, residual, Some(y), moments], share, sums);
        dispatches.push(output);
    }
    let filtering = winograd::Filters { weight: operands.weight, spread: filters };
    let dispatch = filtering.dispatch(base, plain, grid(in_channels * out_channels4));
    let packed = Packed { of: operands.weight, form: filters, dispatch, kept };
    Some(Candidate::new(family, dispatches).with(packed))
}

/// Images whose tiles are spread at a time for a gradient of weights: all, or, where numbers are stored in halves to
/// save memory, so many that their tiles, which are f32, take little.
fn images_at_once(
    lowering: &Lowering,
    extents: &Extents,
    operands: &Operands,
    products: TensorType,
) -> usize {
    let [batch, down, across] = Tile::Wide.count(extents);
    if lowering.type_of(operands.x0).element == ElementType::F32 {
        return batch;
    }
    let channels = extents.in_channels.max(extents.out_channels);
    let one = Tile::Wide.spread(down * across, channels).bytes();
    let most = SPREAD_BYTES.max(SPREAD_PRODUCTS * products.bytes());
    let fitting = usize::try_from(most.min(lowering.target().max_binding) / one);
    let parts = batch.div_ceil(fitting.unwrap_or(batch).clamp(1, batch));
    batch.div_ceil(parts)
}

/// `dweight` of `dy`, the operands' `y` and `weight`, where the spread tiles fit a binding.
pub(super) fn weight_gradient(
    lowering: &mut Lowering,
    family: Family,
    extents: &Extents,
    operands: &Operands,
) -> Option<Candidate> {
    let target = lowering.target().clone();
    let lanes = target.subgroup.filter(|_| applies(extents))?;
    let (in_channels, out_channels) = (extents.in_channels, extents.out_channels);
    let tile = Tile::Wide;
    let [batch, down, across] = tile.count(extents);
    let products_of = TensorType::f32(&[tile.places(), in_channels, out_channels]);
    let images = images_at_once(lowering, extents, operands, products_of);
    let spread_of = |channels| tile.spread(images * down * across, channels);
    let largest = spread_of(in_channels.max(out_channels)).bytes().max(products_of.bytes());
    if largest > target.max_binding {
        return None;
    }
    let spreads = Spreads {
        x: lowering.scratch(spread_of(in_channels)),
        dy: lowering.scratch(spread_of(out_channels)),
        products: lowering.scratch(products_of),
    };
    let all = params(tile, extents, operands);
    let mut dispatches = Vec::new();
    for first in (0..batch).step_by(images) {
        let own = images.min(batch - first);
        let params = winograd::Params {
            batch: own as u32,
            first: first as u32,
            adds: (first > 0).into(),
            ..all
        };
        let tiles = [own, batch].map(|images| images * down * across);
        dispatches.extend(spreads.gradient(lowering, lanes, extents, operands, params, tiles));
    }
    Some(Candidate::new(family, dispatches))
}

/// What the launches of a gradient of weights leave to each other.
struct Spreads {
    x: Value,
    dy: Value,
    products: Value,
}

impl Spreads {
    /// The gradient of some images, of so many tiles of so many in all.
    fn gradient(
        &self,
        lowering: &Lowering,
        lanes: u32,
        extents: &Extents,
        operands: &Operands,
        params: winograd::Params,
        share: [usize; 2],
    ) -> [Dispatch; 4] {
        let [rows, all] = share;
        let Operands { x0, x1, affine, weight: dy, y: dweight, .. } = *operands;
        let [in_channels4, out_channels4] =
            [extents.in_channels, extents.out_channels].map(|channels| channels.div_ceil(4));
        let overrides = winograd::Overrides::default();
        let silu = winograd::Overrides { silu: operands.silu, ..overrides };
        let input = winograd::Input { x0, x1, affine, spread: self.x };
        let mut input = input.dispatch(params, silu, grid(rows * in_channels4));
        input.work.bytes = moved(lowering, &[Some(x0), x1, affine], share, self.x);
        let gradient = winograd::OutputGradient { dy, spread: self.dy };
        let mut gradient = gradient.dispatch(params, overrides, grid(rows * out_channels4));
        gradient.work.bytes = moved(lowering, &[Some(dy)], share, self.dy);
        let values = [self.x, self.dy, self.products];
        let places = Tile::Wide.places();
        let mut multiply = outer_products(lowering, lanes, places, extents, rows, values);
        multiply.cost.flops = extents.flops() * rows as u64 / all as u64;
        let filters = winograd::FiltersGradient { products: self.products, dweight };
        let filters =
            filters.dispatch(params, overrides, grid(extents.in_channels * out_channels4));
        [input, gradient, multiply, filters]
    }
}

/// The product of the spread tiles at each place: the weight gradient of one tap, whose slots
/// are the places.
fn outer_products(
    lowering: &Lowering,
    lanes: u32,
    places: usize,
    extents: &Extents,
    rows: usize,
    [x, dy, dweight]: [Value; 3],
) -> Dispatch {
    let pixels = [(places * rows) as u32, rows as u32];
    let values = [x, dy, dweight];
    if let Some(wide) = slots::outer(lowering, lanes, extents, pixels, places as u32, values) {
        return wide;
    }
    let overrides = conv2d_weight_gradient_subgroup::Overrides { lanes, ..Default::default() };
    let tiles = Extents::product(places * rows, extents.in_channels, extents.out_channels);
    let params = slots::params(&tiles, rows);
    let grid = [tiles.out_channels, tiles.in_channels].map(|n| n.div_ceil(4 * lanes as usize));
    let grid = [grid[0] as u32, grid[1] as u32, places as u32];
    let kernel = conv2d_weight_gradient_subgroup::Forward { x, dy, dweight };
    let mut dispatch = kernel.dispatch(params, overrides, grid);
    dispatch.cost.flops = extents.flops();
    dispatch
}

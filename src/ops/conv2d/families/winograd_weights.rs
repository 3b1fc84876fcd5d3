//! Gradients of the weights of 3x3 convolutions of stride 1 by minimal filtering, on devices with small subgroups of fixed
//! size: spread the tiles of both sides, sum their outer products, gather (`shaders/winograd.wgsl`).
use super::{
    slots,
    winograd::{applies, grid, moved, params},
    winograd_tiles::Tile,
};
use crate::{
    ops::{
        Lowering,
        conv2d::{Extents, Operands},
    },
    plan::{Candidate, Dispatch, Family},
    shaders::{conv2d_weight_gradient_subgroup, winograd},
    value::{ElementType, TensorType, Value},
};

/// Spread tiles of a part of the images, where a gradient of weights is summed in parts: of numbers that are stored
/// in f32, and of halves, which save memory.
const SPREAD_BYTES: u64 = 32 << 20;
const SPREAD_HALVES: u64 = 8 << 20;

/// The same, in terms of their products, which each part writes and reads: fewer parts, where these are large.
const SPREAD_PRODUCTS: u64 = 4;

/// Images whose tiles are spread at a time for a gradient of weights: so many that their tiles, which are f32, take
/// little beside the activations.
fn images_at_once(
    lowering: &Lowering,
    extents: &Extents,
    operands: &Operands,
    products: TensorType,
) -> usize {
    let [batch, down, across] = Tile::Wide.count(extents);
    let spread = match lowering.type_of(operands.x0).element {
        ElementType::F32 => SPREAD_BYTES,
        _ => SPREAD_HALVES,
    };
    let channels = extents.in_channels.max(extents.out_channels);
    let one = Tile::Wide.spread(down * across, channels).bytes();
    let most = spread.max(SPREAD_PRODUCTS * products.bytes());
    let fitting = usize::try_from(most.min(lowering.target().max_binding) / one);
    let parts = batch.div_ceil(fitting.unwrap_or(batch).clamp(1, batch));
    batch.div_ceil(parts)
}

/// `dweight` of `dy`, the operands' `y` and `weight`, where the spread tiles fit a binding.
pub(super) fn offer(
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

//! Products of pairs of matrices by tiles in workgroup memory: `batched` of `shaders/conv2d_tiled.wgsl`.
use super::{
    direct,
    product::Product,
    tiled::{DEPTH, TILES, Tile},
};
use crate::{
    ops::{
        Lowering,
        conv2d::{Extents, Operands},
    },
    plan::Dispatch,
    shaders::conv2d_tiled,
};

/// The products by the tile that takes the device least time by its model; of a device whose rates are not known, by the
/// larger one that its registers hold. None where a grid has not so many rows of tiles.
pub(super) fn dispatch(
    lowering: &Lowering,
    product: &Product,
    operands: &Operands,
) -> Option<Dispatch> {
    let of = |tile| launch(lowering, product, operands, tile);
    let fitting = TILES.into_iter().filter(|tile| tile.fits(lowering.target()));
    let timed =
        fitting.filter_map(of).filter_map(|launch| Some((lowering.counted(&launch)?, launch)));
    let best =
        timed.min_by_key(|(time, launch)| (*time, launch.executed)).map(|(_, launch)| launch);
    best.or_else(|| of(Tile::usual(lowering.target())?))
}

fn launch(
    lowering: &Lowering,
    product: &Product,
    operands: &Operands,
    tile: Tile,
) -> Option<Dispatch> {
    let Tile { rows, columns4, lanes, .. } = tile;
    let Product { batch, in_channels, out_channels, .. } = *product;
    let extents = Extents::product(product.rows, in_channels, out_channels);
    let (params, [across, down, deep]) =
        direct::params(lowering, &extents, operands, [rows, columns4]);
    // The third axis is that of the pairs.
    if deep > 1 {
        return None;
    }
    let Operands { x0: x, weight, y: parts, .. } = *operands;
    let kernel = conv2d_tiled::Batched { x, weight, residual: None, affine: None, parts };
    let overrides = conv2d_tiled::Overrides { rows, columns4, lanes, ..Default::default() };
    let mut launch = kernel.dispatch(params, overrides, [across, down, batch as u32]);
    let workgroups = u64::from(across) * u64::from(down) * batch as u64;
    launch.executed = workgroups * tile.executed(in_channels.next_multiple_of(DEPTH) as u64);
    Some(launch)
}

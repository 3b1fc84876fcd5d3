//! Convolutions of stride 1, with rows of three taps and few output channels, by lanes that hold
//! windows of the image (`shaders/conv2d_window.wgsl`).
use super::direct;
use crate::{
    ops::{
        Lowering,
        conv2d::{Extents, Operands},
    },
    plan::{Candidate, Family, fold},
    shaders::conv2d_window,
};

/// Taps in a row, for which the kernel is written.
const TAPS: usize = 3;
/// vec4s of channels that a lane computes: more gained nothing and take seconds to compile.
const COLUMNS4: u32 = 2;
/// Pixels in a row, and rows, of what a lane computes.
const SIDE: usize = 4;

/// `y`, where the geometry fits.
pub(super) fn offer(
    lowering: &mut Lowering,
    family: Family,
    extents: &Extents,
    operands: &Operands,
) -> Option<Candidate> {
    let fits = extents.kernel[1] == TAPS && extents.stride == 1 && extents.spread == 1;
    // The windows fill more registers than a GPU has.
    let target = lowering.target();
    let lanes = target.subgroup.filter(|_| fits && target.profile.is_software())?;
    let columns4 = (extents.out_channels.div_ceil(4) as u32).min(COLUMNS4);
    let overrides = conv2d_window::Overrides { lanes, columns4 };
    let side = |pixels: usize| pixels.div_ceil(SIDE);
    let squares = extents.batch * side(extents.out_height) * side(extents.out_width);
    let (params, [columns, ..]) =
        direct::params(lowering, extents, operands, [SIDE as u32, columns4]);
    let [y, z, _] = fold(squares.div_ceil(lanes as usize));
    let grid = [columns, y, z];
    let Operands { x0: x, weight, bias, embedding, residual, y, moments, .. } = *operands;
    let kernel = conv2d_window::Forward { x, weight, bias, embedding, residual, y, moments };
    Some(Candidate::new(family, vec![kernel.dispatch(params, overrides, grid)]))
}

//! Lowering of 3x3 convolutions of stride 1 with few output channels to lanes that hold windows of
//! the image (`shaders/conv2d_window.wgsl`).
use super::Operands;
use crate::{
    ops::Lowering,
    plan::{Candidate, fold},
    shaders::{conv2d_subgroup, conv2d_window},
};

/// Taps in a row, for which the kernel is written.
const TAPS: u32 = 3;
/// vec4s of channels that a lane computes: more gained nothing and take seconds to compile.
const COLUMNS4: u32 = 2;
/// Pixels in a row, and rows, of what a lane computes.
const SIDE: u32 = 4;

/// `y` of the convolution that `direct` describes; none where its geometry does not fit.
pub(super) fn forward(
    lowering: &Lowering,
    direct: &conv2d_subgroup::Params,
    operands: &Operands,
) -> Option<Candidate> {
    let fits = direct.kernel_width == TAPS && direct.stride == 1 && direct.spread == 1;
    let lanes = lowering.target().subgroup.filter(|_| fits)?;
    let squares_across = direct.out_width.div_ceil(SIDE);
    let squares_down = direct.out_height.div_ceil(SIDE);
    let params = conv2d_window::Params {
        batch: direct.batch,
        in_height: direct.in_height,
        in_width: direct.in_width,
        in_channels: direct.in_channels,
        out_height: direct.out_height,
        out_width: direct.out_width,
        out_channels4: direct.out_channels4,
        kernel_height: direct.kernel_height,
        top: direct.top,
        left: direct.left,
        squares_across,
        squares_down,
        embedding_pitch4: direct.embedding_pitch4,
        embedding_first4: direct.embedding_first4,
        silu: direct.silu,
        ..Default::default()
    };
    let columns4 = direct.out_channels4.min(COLUMNS4);
    let squares = direct.batch * squares_down * squares_across;
    let [y, z, _] = fold(squares.div_ceil(lanes) as usize);
    let grid = [direct.out_channels4.div_ceil(columns4), y, z];
    let Operands { x0: x, weight, bias, embedding, residual, y, moments, .. } = *operands;
    let kernel = conv2d_window::Forward { x, weight, bias, embedding, residual, y, moments };
    let overrides = conv2d_window::Overrides { lanes, columns4 };
    Some(Candidate::new("window", vec![kernel.dispatch(params, overrides, grid)]))
}

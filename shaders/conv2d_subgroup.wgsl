// Convolution, as a matrix product of output pixels and output channels, for both directions:
//   y[n, oy, ox, :] = bias + embedding[n, :] + residual[n, oy, ox, :] + sum over (ky, kx, c) of x[n, iy, ix, c] weight[ky, kx, c, :]
//   with iy spread = oy stride + ky - top  and  ix spread = ox stride + kx - left
// over the taps whose source pixel exists, and SiLU of that if asked.  Spread 1 convolves.  Stride 1, the forward stride as spread and the weight
// transposed and turned give the input gradient (Dumoulin, Visin 2016, "A guide to convolution arithmetic", chapter 4).
// The output is cut in spread x spread phases of pixels that share their taps, so no tap is visited in vain.
// Tiling: a subgroup computes LANES * ROWS_PER_LANE pixels of a phase by LANES * 4 channels. Each lane loads four
// channels of its own pixels and four weights of its own columns; x goes round by shuffles, the sums stay in registers.
// Where moments are wanted, 16 pixels that follow each other are a square of 4 x 4.
// The weight is cut into panels of LANES vec4 of columns: see panels.wgsl.
// tile: LANES = 8
// tile: ROWS_PER_LANE = 2
// import: fours, panels_of_fours, convolution_subgroup
// iterations: down = kernel_height.div_ceil(spread.max(1))
// iterations: across = kernel_width.div_ceil(spread.max(1))
// iterations: forward = down + down * across * (in_channels.div_ceil(4) + 2) + down + 8

@group(0) @binding(1) var<storage, read> x: array<activation4>;
@group(0) @binding(2) var<storage, read> weight: array<weight4>;

fn unit_at(place: u32, inside: bool) -> Unit {
    return select(vec4<f32>(), unit_of(x[place]), inside);
}

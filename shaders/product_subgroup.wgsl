// Matrix products, one for each of `batch` pairs of matrices:
//   y[n, row, :] = activation(sum over k of x[n, row, k] weight[n, k, :] + bias + residual[n, row, :])
// where x may stand in two matrices, side by side.
// Tiling: a subgroup computes LANES * ROWS_PER_LANE rows by LANES * 4 columns. Each lane loads four elements of its own
// rows of x and four weights of its own columns; x goes round by shuffles, the sums stay in registers.
// The weight is cut into panels of LANES vec4 of columns: see panels.wgsl.
// tile: LANES = 8
// tile: ROWS_PER_LANE = 4
// import: fours, panels_of_fours, matrices
// iterations: forward = in_channels.div_ceil(4) + 4

@group(0) @binding(1) var<storage, read> x0: array<activation4>;
@group(0) @binding(2) var<storage, read> x1: array<activation4>;
@group(0) @binding(3) var<storage, read> weight: array<weight4>;

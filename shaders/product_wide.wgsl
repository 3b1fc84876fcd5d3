// The products of product_subgroup.wgsl for software drivers, which charge for a load by the lane and the element,
// however wide it is: an element is 64 bits here, two numbers. `in_channels`, and those in each of two x, are a multiple
// of 8, and a lane finds the weights of two rows side by side: see panels.wgsl, a depth of 2.
// Tiling: as there, but a lane loads eight elements of its own rows and eight weights of its own columns.
// tile: LANES = 8
// tile: ROWS_PER_LANE = 4
// import: eights, panels_of_eights, matrices
// iterations: forward = in_channels.div_ceil(8) + 4

@group(0) @binding(1) var<storage, read> x0: array<vec4<u64>>;
@group(0) @binding(2) var<storage, read> x1: array<vec4<u64>>;
@group(0) @binding(3) var<storage, read> weight: array<vec4<u64>>;

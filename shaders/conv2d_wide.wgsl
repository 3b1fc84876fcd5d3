// The convolution of conv2d_subgroup.wgsl (the same sum) for software drivers, which charge for a load by the lane and the
// element, however wide it is: an element is 64 bits here, two numbers. `in_channels` is a multiple of 8, and a lane finds the
// weights of two rows side by side: see panels.wgsl, a depth of 2.
// Tiling: as there, but a lane loads eight channels of its own pixels and eight weights of its own columns.
// tile: LANES = 8
// tile: ROWS_PER_LANE = 4
// import: eights, panels_of_eights, convolution_subgroup
// iterations: down = kernel_height.div_ceil(spread.max(1))
// iterations: across = kernel_width.div_ceil(spread.max(1))
// iterations: forward = down + down * across * (in_channels.div_ceil(8) + 2) + down + 8

@group(0) @binding(1) var<storage, read> x: array<vec4<u64>>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<u64>>;

fn unit_at(place: u32, inside: bool) -> Unit {
    let unit = unit_of(x[place]);
    return Unit(select(vec4<f32>(), unit.even, inside), select(vec4<f32>(), unit.odd, inside));
}

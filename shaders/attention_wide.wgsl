// Attention as in attention_subgroup.wgsl for software drivers, which charge for a load by the lane and the element,
// however wide it is: an element is 64 bits here, two numbers. LANES divide a head's eights of channels.
// Tiling: as there, but a lane loads eight channels of its queries and keys, and owns COLUMNS eights of every query.
// tile: LANES = 8
// tile: ROWS_PER_LANE = 2
// tile: COLUMNS = 1
// import: eights, attention_forward
// iterations: forward = keys.div_ceil(4 * LANES) * (head4 / 2 + LANES + 3) + 4

@group(0) @binding(1) var<storage, read> q: array<vec4<u64>>;
@group(0) @binding(2) var<storage, read> k: array<vec4<u64>>;
@group(0) @binding(3) var<storage, read> v: array<vec4<u64>>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;
// [batch, heads, queries].
@group(0) @binding(5) var<storage, read_write> log_sum_exp: array<f32>;

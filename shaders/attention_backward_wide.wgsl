// Gradients of attention as in attention_backward_subgroup.wgsl for software drivers, which charge for a load by the lane
// and the element, however wide it is: an element is 64 bits here, two numbers. LANES divide a head's eights of channels.
// Tiling: as there, but a lane loads eight channels of tokens, and owns COLUMNS eights of each gradient.
// tile: LANES = 8
// tile: ROWS_PER_LANE = 1
// tile: COLUMNS = 1
// import: eights, attention_gradients
// iterations: query = keys.div_ceil(4 * LANES) * (head4 / 2 + LANES + 3) + 4
// iterations: key_value = queries.div_ceil(4 * LANES) * (head4 / 2 + LANES + 3) + 4

@group(0) @binding(1) var<storage, read> q: array<vec4<u64>>;
@group(0) @binding(2) var<storage, read> k: array<vec4<u64>>;
@group(0) @binding(3) var<storage, read> v: array<vec4<u64>>;
@group(0) @binding(4) var<storage, read> dy: array<vec4<u64>>;
// [batch, heads, queries], both.
@group(0) @binding(5) var<storage, read> log_sum_exp: array<f32>;
@group(0) @binding(6) var<storage, read> delta: array<f32>;
@group(0) @binding(7) var<storage, read_write> dq: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> dk: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> dv: array<vec4<f32>>;

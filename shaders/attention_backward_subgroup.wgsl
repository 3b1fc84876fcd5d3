// Gradients of attention as in attention_backward.wgsl, for devices whose subgroups have a known size.
//   p  = exp(scale * q k^T - log_sum_exp)        delta = rowsum(dy * y)
//   ds = scale * p * (dy v^T - delta)
//   dq = ds k      dk = ds^T q      dv = p^T dy
// Tiling: as in attention_subgroup.wgsl a subgroup of LANES owns ROWS_PER_LANE * LANES rows of one head (queries for dq,
// keys for dk and dv) while the other tokens pass by 4 * LANES at a time, and a lane owns COLUMNS vec4s of each gradient.
// tile: LANES = 8
// tile: ROWS_PER_LANE = 1
// tile: COLUMNS = 2
// import: fours, attention_gradients
// iterations: query = keys.div_ceil(4 * LANES) * (head4 + LANES + 3) + LANES * ROWS_PER_LANE + 4
// iterations: key_value = queries.div_ceil(4 * LANES) * (head4 + LANES + 3) + LANES * ROWS_PER_LANE + 4

@group(0) @binding(1) var<storage, read> q: array<activation4>;
@group(0) @binding(2) var<storage, read> k: array<activation4>;
@group(0) @binding(3) var<storage, read> v: array<activation4>;
@group(0) @binding(4) var<storage, read> dy: array<activation4>;
// [batch, heads, queries], both.
@group(0) @binding(5) var<storage, read> log_sum_exp: array<f32>;
@group(0) @binding(6) var<storage, read> delta: array<f32>;
@group(0) @binding(7) var<storage, read_write> dq: array<activation4>;
@group(0) @binding(7) var<storage, read_write> dk: array<activation4>;
@group(0) @binding(8) var<storage, read_write> dv: array<activation4>;

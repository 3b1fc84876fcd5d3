// Attention as in attention.wgsl, for devices whose subgroups have a known size: nothing passes through workgroup memory.
//   y = softmax(scale * q k^T) v per head        log_sum_exp = maximum + log(sum of exp(score - maximum)) per row
// Tiling: a subgroup of LANES owns ROWS_PER_LANE * LANES queries of one head; keys pass by 4 * LANES at a time, four to a
// lane. For the scores a lane loads its queries and its keys and the queries go round; for y a lane owns COLUMNS vec4s
// of every query and the weights go round. A head begins at a vec4.
// tile: LANES = 8
// tile: ROWS_PER_LANE = 2
// tile: COLUMNS = 2
// import: fours, attention_forward
// iterations: forward = keys.div_ceil(4 * LANES) * (head4 + LANES + 3) + 4

@group(0) @binding(1) var<storage, read> q: array<activation4>;
@group(0) @binding(2) var<storage, read> k: array<activation4>;
@group(0) @binding(3) var<storage, read> v: array<activation4>;
@group(0) @binding(4) var<storage, read_write> y: array<activation4>;
// [batch, heads, queries].
@group(0) @binding(5) var<storage, read_write> log_sum_exp: array<f32>;

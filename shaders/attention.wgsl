// Attention: y = softmax(scale * q k^T) v, each head on its own channels.  Vaswani et al. 2017, eq. 1.
// If CAUSAL, over the keys up to the query's own position.
// Online softmax (Milakov and Gimelshein 2018, algorithm 3), so that no tokens x tokens tensor exists; what stays for
// the backward pass is log_sum_exp = maximum + log(sum of exp(score - maximum)) of each row.
// Tiling: a workgroup of 64 lanes, LANES of them along a head, owns 64 / LANES * ROWS queries of it; keys pass by
// 4 * LANES at a time. A lane scores ROWS queries against four keys, then owns ROWS x COLUMNS vec4s of y. 16 channels of
// queries and keys, then the values of 4 * STEPS keys, stand in workgroup memory. A head begins at a vec4.
// tile: LANES = 8
// tile: ROWS = 4
// tile: COLUMNS = 2
// import: attention
// iterations: scores = head4.div_ceil(4) * 6
// iterations: sums = 6 * LANES * COLUMNS.div_ceil(8) + 2 * LANES + 3
// iterations: forward = keys.div_ceil(4 * LANES) * (scores + sums + 1) + 4

@group(0) @binding(1) var<storage, read> q: array<activation4>;
@group(0) @binding(2) var<storage, read> k: array<activation4>;
@group(0) @binding(3) var<storage, read> v: array<activation4>;
@group(0) @binding(4) var<storage, read_write> y: array<activation4>;
// [batch, heads, queries].
@group(0) @binding(5) var<storage, read_write> log_sum_exp: array<f32>;

const KEYS = 4u * LANES;
const GROUPS = 64u / LANES;
const TILE_ROWS = GROUPS * ROWS;
// One more than the vec4s of a row, so that rows begin in different banks.
const PITCH = LANES + 1u;
// vec4s of channels of a score's products at a time.
const DEPTH = 4u;
// Quadruples of keys whose values stand in workgroup memory together.
const STEPS = max(1u, 4u / COLUMNS);
const WIDTH4 = COLUMNS * LANES;
const VALUES = 4u * STEPS * WIDTH4;
const LOWEST = -3.0e38;

// Of queries, then the weights.
var<workgroup> rows: array<vec4<f32>, TILE_ROWS * max(DEPTH, PITCH)>;
// Of keys, then of values.
var<workgroup> tile: array<vec4<f32>, max(DEPTH * KEYS, VALUES)>;
// Of each row and lane: the highest score, in the end the sum of the weights.
var<workgroup> partial: array<f32, TILE_ROWS * LANES>;

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    // A lane's rows are GROUPS apart, its keys LANES: neighbours read neighbouring vec4s.
    let row = lane / LANES;
    let column = lane % LANES;
    let own = head_of(group, groups);
    let first_query = group.x * TILE_ROWS;
    let last_channel4 = params.head4 - 1u;
    let queries = own.image * params.queries * params.pitch4 + own.first4;
    let keys = own.image * params.keys * params.pitch4 + params.k_first4 + own.first4;
    let values = own.image * params.keys * params.pitch4 + params.v_first4 + own.first4;

    var sum: array<vec4<f32>, ROWS * COLUMNS>;
    // Of a row, the same in all its lanes; and the lane's part of the sum of its weights.
    var maximum: array<f32, ROWS>;
    var total: array<f32, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        maximum[r] = LOWEST;
    }

    let keys_end = keys_before(first_query + TILE_ROWS);
    for (var block = 0u; block < keys_end; block += KEYS) {
        var score: array<vec4<f32>, ROWS>;
        for (var c = 0u; c < params.head4; c += DEPTH) {
            // The tiles of the step before are still being read.
            workgroupBarrier();
            // Four lanes fetch a token's channels.
            let channel4 = c + lane % DEPTH;
            let inside = channel4 < params.head4;
            for (var i = 0u; i * 16u < TILE_ROWS; i++) {
                let own_row = i * 16u + lane / DEPTH;
                let token = min(first_query + own_row, params.queries - 1u);
                let fetched = widen_activation(q[queries + token * params.pitch4 + min(channel4, last_channel4)]);
                if own_row < TILE_ROWS {
                    rows[lane % DEPTH * TILE_ROWS + own_row] = select(vec4<f32>(), fetched, inside);
                }
            }
            for (var i = 0u; i < KEYS / 16u; i++) {
                let own_key = i * 16u + lane / DEPTH;
                let token = min(block + own_key, params.keys - 1u);
                let fetched = widen_activation(k[keys + token * params.pitch4 + min(channel4, last_channel4)]);
                tile[lane % DEPTH * KEYS + own_key] = select(vec4<f32>(), fetched, inside);
            }
            workgroupBarrier();
            for (var d = 0u; d < DEPTH; d++) {
                let first = d * KEYS + column;
                let b = transpose(
                    mat4x4<f32>(tile[first], tile[first + LANES], tile[first + 2u * LANES], tile[first + 3u * LANES]),
                );
                for (var r = 0u; r < ROWS; r++) {
                    let a = rows[d * TILE_ROWS + r * GROUPS + row];
                    score[r] = fma(vec4<f32>(a.x), b[0], score[r]);
                    score[r] = fma(vec4<f32>(a.y), b[1], score[r]);
                    score[r] = fma(vec4<f32>(a.z), b[2], score[r]);
                    score[r] = fma(vec4<f32>(a.w), b[3], score[r]);
                }
            }
        }
        let key = vec4<u32>(block + column) + LANES * vec4<u32>(0u, 1u, 2u, 3u);
        let exists = key < vec4<u32>(params.keys);
        for (var r = 0u; r < ROWS; r++) {
            let seen = exists & sees(first_query + r * GROUPS + row, key);
            score[r] = select(vec4<f32>(LOWEST), params.scale * score[r], seen);
            let highest = max(max(score[r].x, score[r].y), max(score[r].z, score[r].w));
            partial[(r * GROUPS + row) * LANES + column] = highest;
        }
        workgroupBarrier();
        for (var r = 0u; r < ROWS; r++) {
            var highest = maximum[r];
            for (var i = 0u; i < LANES; i++) {
                highest = max(highest, partial[(r * GROUPS + row) * LANES + i]);
            }
            let factor = exp(maximum[r] - highest);
            let weight = exp(score[r] - highest);
            rows[(r * GROUPS + row) * PITCH + column] = weight;
            maximum[r] = highest;
            total[r] = fma(total[r], factor, dot(weight, vec4<f32>(1.0)));
            for (var j = 0u; j < COLUMNS; j++) {
                sum[r * COLUMNS + j] *= factor;
            }
        }

        for (var first = 0u; first < LANES; first += STEPS) {
            // The tile of the step before is still being read.
            workgroupBarrier();
            for (var i = 0u; i * 64u < VALUES; i++) {
                let place = i * 64u + lane;
                let number = place / WIDTH4;
                let token = min(block + first + number / 4u + number % 4u * LANES, params.keys - 1u);
                let fetched = v[values + token * params.pitch4 + min(place % WIDTH4, last_channel4)];
                if place < VALUES {
                    tile[place] = widen_activation(fetched);
                }
            }
            workgroupBarrier();
            for (var step = 0u; step < STEPS; step++) {
                var a: array<vec4<f32>, ROWS>;
                for (var r = 0u; r < ROWS; r++) {
                    a[r] = rows[(r * GROUPS + row) * PITCH + first + step];
                }
                for (var c = 0u; c < 4u; c++) {
                    for (var j = 0u; j < COLUMNS; j++) {
                        let b = tile[(step * 4u + c) * WIDTH4 + j * LANES + column];
                        for (var r = 0u; r < ROWS; r++) {
                            sum[r * COLUMNS + j] = fma(vec4<f32>(a[r][c]), b, sum[r * COLUMNS + j]);
                        }
                    }
                }
            }
        }
    }

    for (var r = 0u; r < ROWS; r++) {
        partial[(r * GROUPS + row) * LANES + column] = total[r];
    }
    workgroupBarrier();
    for (var r = 0u; r < ROWS; r++) {
        var sum_of_weights = 0.0;
        for (var i = 0u; i < LANES; i++) {
            sum_of_weights += partial[(r * GROUPS + row) * LANES + i];
        }
        let token = first_query + r * GROUPS + row;
        if column == 0u && token < row_pitch() {
            let value = maximum[r] + log_of_sum(sum_of_weights);
            log_sum_exp[own.index * row_pitch() + token] = select(0.0, value, token < params.queries);
        }
        for (var j = 0u; j < COLUMNS; j++) {
            let channel4 = column + LANES * j;
            if token < params.queries && channel4 < params.head4 {
                let index = (own.image * params.queries + token) * params.channels4 + own.first4 + channel4;
                y[index] = narrow_activation(1.0 / sum_of_weights * sum[r * COLUMNS + j]);
            }
        }
    }
}

// Attention as in attention.wgsl, for devices whose subgroups have a known size: nothing passes through workgroup memory.
//   y = softmax(scale * q k^T) v per head        log_sum_exp = maximum + log(sum of exp(score - maximum)) per row
// Tiling: a subgroup of LANES owns ROWS_PER_LANE * LANES queries of one head; keys pass by 4 * LANES at a time, four to a
// lane. For the scores a lane loads its queries and its keys and the queries go round; for y a lane owns COLUMNS vec4s
// of every query and the weights go round. A head begins at a vec4.
// tile: LANES = 8
// tile: ROWS_PER_LANE = 2
// tile: COLUMNS = 2
// import: combine, attention
// iterations: forward = keys.div_ceil(4 * LANES) * (head4 + LANES + 3) + 4

@group(0) @binding(1) var<storage, read> q: array<activation4>;
@group(0) @binding(2) var<storage, read> k: array<activation4>;
@group(0) @binding(3) var<storage, read> v: array<activation4>;
@group(0) @binding(4) var<storage, read_write> y: array<activation4>;
// [batch, heads, queries].
@group(0) @binding(5) var<storage, read_write> log_sum_exp: array<f32>;

const ROWS = ROWS_PER_LANE * LANES;
const KEYS = 4u * LANES;
const LOWEST = -3.0e38;

@compute @workgroup_size(LANES)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let own = head_of(group, groups);
    let first_query = group.x * ROWS;
    let first_key = own.image * params.keys;

    var query: array<u32, ROWS_PER_LANE>;
    for (var r = 0u; r < ROWS_PER_LANE; r++) {
        let token = min(first_query + r * LANES + lane, params.queries - 1u);
        query[r] = (own.image * params.queries + token) * params.pitch4 + own.first4;
    }
    var column: array<u32, COLUMNS>;
    for (var j = 0u; j < COLUMNS; j++) {
        column[j] = own.first4 + min(lane + j * LANES, params.head4 - 1u);
    }
    var sum: array<vec4<f32>, ROWS * COLUMNS>;
    // Of a row: its maximum, and the lane's share of the sum of its weights.
    var maximum: array<f32, ROWS>;
    var total: array<f32, ROWS>;
    for (var i = 0u; i < ROWS; i++) {
        maximum[i] = LOWEST;
    }

    for (var block = 0u; block < params.keys; block += KEYS) {
        var key: array<u32, 4>;
        for (var s = 0u; s < 4u; s++) {
            let token = min(block + s * LANES + lane, params.keys - 1u);
            key[s] = (first_key + token) * params.pitch4 + params.k_first4 + own.first4;
        }
        var weight: array<vec4<f32>, ROWS>;
        for (var c = 0u; c < params.head4; c++) {
            var a: array<vec4<f32>, ROWS_PER_LANE>;
            for (var r = 0u; r < ROWS_PER_LANE; r++) {
                a[r] = widen_activation(q[query[r] + c]);
            }
            let b = transpose(mat4x4<f32>(
                widen_activation(k[key[0] + c]),
                widen_activation(k[key[1] + c]),
                widen_activation(k[key[2] + c]),
                widen_activation(k[key[3] + c]),
            ));
            for (var r = 0u; r < ROWS_PER_LANE; r++) {
                for (var i = 0u; i < LANES; i++) {
                    weight[r * LANES + i] += combine(subgroupShuffle(a[r], i), b);
                }
            }
        }

        let token = vec4<u32>(block + lane) + LANES * vec4<u32>(0u, 1u, 2u, 3u);
        let exists = token < vec4<u32>(params.keys);
        for (var i = 0u; i < ROWS; i++) {
            let score = select(vec4<f32>(LOWEST), params.scale * weight[i], exists);
            let highest = max(max(score.x, score.y), max(score.z, score.w));
            let new_maximum = max(maximum[i], subgroupMax(highest));
            let factor = exp(maximum[i] - new_maximum);
            weight[i] = exp(score - new_maximum);
            total[i] = fma(total[i], factor, dot(weight[i], vec4<f32>(1.0)));
            maximum[i] = new_maximum;
            for (var j = 0u; j < COLUMNS; j++) {
                sum[i * COLUMNS + j] *= factor;
            }
        }

        for (var l = 0u; l < LANES; l++) {
            for (var j = 0u; j < COLUMNS; j++) {
                var b: mat4x4<f32>;
                for (var s = 0u; s < 4u; s++) {
                    let token = min(block + s * LANES + l, params.keys - 1u);
                    b[s] = widen_activation(v[(first_key + token) * params.pitch4 + params.v_first4 + column[j]]);
                }
                for (var i = 0u; i < ROWS; i++) {
                    // Short sums meet a longer one, which rounds less and is read a quarter as often.
                    sum[i * COLUMNS + j] += combine(subgroupShuffle(weight[i], l), b);
                }
            }
        }
    }

    let pitch = (params.queries + 3u) / 4u * 4u;
    let first_row = own.index * pitch;
    for (var i = 0u; i < ROWS; i++) {
        let token = first_query + i;
        let row_total = subgroupAdd(total[i]);
        if token < params.queries {
            for (var j = 0u; j < COLUMNS; j++) {
                if lane + j * LANES < params.head4 {
                    let index = (own.image * params.queries + token) * params.channels4 + column[j];
                    y[index] = narrow_activation((1.0 / row_total) * sum[i * COLUMNS + j]);
                }
            }
        }
        if lane == 0u && token < pitch {
            log_sum_exp[first_row + token] = select(0.0, maximum[i] + log(row_total), token < params.queries);
        }
    }
}

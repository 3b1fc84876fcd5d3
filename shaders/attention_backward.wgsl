// Gradients of attention, the weights recomputed from log_sum_exp.  Dao et al. 2022, algorithm 4, without its atomics.
//   p  = exp(scale * q k^T - log_sum_exp)        delta = rowsum(dy * y)
//   ds = scale * p * (dy v^T - delta)
//   dq = ds k      dk = ds^T q      dv = p^T dy
// If CAUSAL, p is zero of the keys past the query's own position.
// Tiling: as in the forward pass a workgroup of 64 lanes owns 64 / LANES * ROWS rows of one head (queries for dq, keys for
// dk and dv) while the other tokens pass by 4 * LANES at a time; a lane makes ROWS x 4 weights and owns ROWS x COLUMNS
// vec4s of each gradient. A head begins at a vec4.
// tile: LANES = 8
// tile: ROWS = 4
// tile: COLUMNS = 2
// import: attention, invocation
// iterations: row_sums = head4 + 1
// iterations: block = head4 + LANES + 3 + if ROWS * COLUMNS > 8 { 5 * LANES + 1 } else { 0 }
// iterations: query = keys.div_ceil(4 * LANES) * block + 4
// iterations: key_value = queries.div_ceil(4 * LANES) * block + 4

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
@group(0) @binding(5) var<storage, read> y: array<activation4>;
@group(0) @binding(6) var<storage, read_write> delta_out: array<f32>;

override WORKGROUP: u32 = 64u;

const BLOCK = 4u * LANES;
const TILE_ROWS = 64u / LANES * ROWS;
// One more than the vec4s of a row, so that rows begin in different banks.
const PITCH = LANES + 1u;

var<workgroup> weights: array<vec4<f32>, TILE_ROWS * PITCH>;
var<workgroup> slopes: array<vec4<f32>, TILE_ROWS * PITCH>;

// One invocation per query and head.
@compute @workgroup_size(WORKGROUP)
fn row_sums(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let pitch = row_pitch();
    let row = invocation(id, groups);
    if row >= params.batch * params.heads * pitch {
        return;
    }
    let image_head = row / pitch;
    let token = row - image_head * pitch;
    let image = image_head / params.heads;
    let head = image_head - image * params.heads;
    var sum = vec4<f32>();
    if token < params.queries {
        let first = (image * params.queries + token) * params.channels4 + head * params.head4;
        for (var i = first; i < first + params.head4; i++) {
            sum = fma(widen_activation(dy[i]), widen_activation(y[i]), sum);
        }
    }
    delta_out[row] = dot(sum, vec4<f32>(1.0));
}

@compute @workgroup_size(64)
fn query(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = lane / LANES * ROWS;
    let column = lane % LANES;
    let own = head_of(group, groups);
    let first_query = group.x * TILE_ROWS;
    let first_key = own.image * params.keys;

    var query: array<u32, ROWS>;
    var row_log_sum: array<f32, ROWS>;
    var row_delta: array<f32, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        let token = min(first_query + row + r, params.queries - 1u);
        query[r] = (own.image * params.queries + token) * params.channels4 + own.first4;
        let statistic = own.index * row_pitch() + token;
        row_log_sum[r] = log_sum_exp[statistic];
        row_delta[r] = delta[statistic];
    }
    var sum: array<vec4<f32>, ROWS * COLUMNS>;

    let keys_end = keys_before(first_query + TILE_ROWS);
    for (var block = 0u; block < keys_end; block += BLOCK) {
        var key: array<u32, 4>;
        for (var i = 0u; i < 4u; i++) {
            let token = min(block + 4u * column + i, params.keys - 1u);
            key[i] = (first_key + token) * params.channels4 + own.first4;
        }
        var score: array<vec4<f32>, ROWS>;
        var slope: array<vec4<f32>, ROWS>;
        for (var c = 0u; c < params.head4; c++) {
            let b = transposed(k[key[0] + c], k[key[1] + c], k[key[2] + c], k[key[3] + c]);
            let d = transposed(v[key[0] + c], v[key[1] + c], v[key[2] + c], v[key[3] + c]);
            for (var r = 0u; r < ROWS; r++) {
                score[r] += b * widen_activation(q[query[r] + c]);
                slope[r] += d * widen_activation(dy[query[r] + c]);
            }
        }
        let keys = vec4<u32>(block + 4u * column) + vec4<u32>(0u, 1u, 2u, 3u);
        let exists = keys < vec4<u32>(params.keys);
        for (var r = 0u; r < ROWS; r++) {
            let weight = exp(params.scale * score[r] - row_log_sum[r]);
            let ds = params.scale * weight * (slope[r] - row_delta[r]);
            let seen = exists & sees(first_query + row + r, keys);
            slopes[(row + r) * PITCH + column] = select(vec4<f32>(), ds, seen);
        }
        workgroupBarrier();

        for (var i = 0u; i < LANES; i++) {
            var a: array<vec4<f32>, ROWS>;
            for (var r = 0u; r < ROWS; r++) {
                a[r] = slopes[(row + r) * PITCH + i];
            }
            for (var c = 0u; c < 4u; c++) {
                let token = min(block + 4u * i + c, params.keys - 1u);
                let value = (first_key + token) * params.channels4 + own.first4;
                for (var j = 0u; j < COLUMNS; j++) {
                    let b = widen_activation(k[value + min(column + LANES * j, params.head4 - 1u)]);
                    for (var r = 0u; r < ROWS; r++) {
                        sum[r * COLUMNS + j] = fma(vec4<f32>(a[r][c]), b, sum[r * COLUMNS + j]);
                    }
                }
            }
        }
        workgroupBarrier();
    }

    for (var r = 0u; r < ROWS; r++) {
        for (var j = 0u; j < COLUMNS; j++) {
            let channel4 = column + LANES * j;
            if first_query + row + r < params.queries && channel4 < params.head4 {
                dq[query[r] + channel4] = narrow_activation(sum[r * COLUMNS + j]);
            }
        }
    }
}

@compute @workgroup_size(64)
fn key_value(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = lane / LANES * ROWS;
    let column = lane % LANES;
    let own = head_of(group, groups);
    let first_key = group.x * TILE_ROWS;
    let first_query = own.image * params.queries;
    let first_statistic = own.index * row_pitch();

    var key: array<u32, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        let token = min(first_key + row + r, params.keys - 1u);
        key[r] = (own.image * params.keys + token) * params.channels4 + own.first4;
    }
    var key_sum: array<vec4<f32>, ROWS * COLUMNS>;
    var value_sum: array<vec4<f32>, ROWS * COLUMNS>;

    for (var block = first_query_of(first_key, BLOCK); block < params.queries; block += BLOCK) {
        var query: array<u32, 4>;
        var row_log_sum: vec4<f32>;
        var row_delta: vec4<f32>;
        for (var i = 0u; i < 4u; i++) {
            let token = min(block + 4u * column + i, params.queries - 1u);
            query[i] = (first_query + token) * params.channels4 + own.first4;
            row_log_sum[i] = log_sum_exp[first_statistic + token];
            row_delta[i] = delta[first_statistic + token];
        }
        var score: array<vec4<f32>, ROWS>;
        var slope: array<vec4<f32>, ROWS>;
        for (var c = 0u; c < params.head4; c++) {
            let b = transposed(q[query[0] + c], q[query[1] + c], q[query[2] + c], q[query[3] + c]);
            let d = transposed(dy[query[0] + c], dy[query[1] + c], dy[query[2] + c], dy[query[3] + c]);
            for (var r = 0u; r < ROWS; r++) {
                score[r] += b * widen_activation(k[key[r] + c]);
                slope[r] += d * widen_activation(v[key[r] + c]);
            }
        }
        let queries = vec4<u32>(block + 4u * column) + vec4<u32>(0u, 1u, 2u, 3u);
        let exists = queries < vec4<u32>(params.queries);
        for (var r = 0u; r < ROWS; r++) {
            let seen = exists & seen_by(first_key + row + r, queries);
            let weight = select(vec4<f32>(), exp(params.scale * score[r] - row_log_sum), seen);
            weights[(row + r) * PITCH + column] = weight;
            slopes[(row + r) * PITCH + column] = params.scale * weight * (slope[r] - row_delta);
        }
        workgroupBarrier();

        for (var i = 0u; i < LANES; i++) {
            var a: array<vec4<f32>, ROWS>;
            var b: array<vec4<f32>, ROWS>;
            for (var r = 0u; r < ROWS; r++) {
                a[r] = slopes[(row + r) * PITCH + i];
                b[r] = weights[(row + r) * PITCH + i];
            }
            for (var c = 0u; c < 4u; c++) {
                let token = min(block + 4u * i + c, params.queries - 1u);
                let first = (first_query + token) * params.channels4 + own.first4;
                for (var j = 0u; j < COLUMNS; j++) {
                    let channel4 = min(column + LANES * j, params.head4 - 1u);
                    let query_value = widen_activation(q[first + channel4]);
                    let gradient = widen_activation(dy[first + channel4]);
                    for (var r = 0u; r < ROWS; r++) {
                        key_sum[r * COLUMNS + j] = fma(vec4<f32>(a[r][c]), query_value, key_sum[r * COLUMNS + j]);
                        value_sum[r * COLUMNS + j] = fma(vec4<f32>(b[r][c]), gradient, value_sum[r * COLUMNS + j]);
                    }
                }
            }
        }
        workgroupBarrier();
    }

    for (var r = 0u; r < ROWS; r++) {
        for (var j = 0u; j < COLUMNS; j++) {
            let channel4 = column + LANES * j;
            if first_key + row + r < params.keys && channel4 < params.head4 {
                dk[key[r] + channel4] = narrow_activation(key_sum[r * COLUMNS + j]);
                dv[key[r] + channel4] = narrow_activation(value_sum[r * COLUMNS + j]);
            }
        }
    }
}

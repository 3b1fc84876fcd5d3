// Gradients of attention as in attention_backward.wgsl, for devices whose subgroups have a known size.
//   p  = exp(scale * q k^T - log_sum_exp)        delta = rowsum(dy * y)
//   ds = scale * p * (dy v^T - delta)
//   dq = ds k      dk = ds^T q      dv = p^T dy
// Tiling: as in attention_subgroup.wgsl a subgroup of LANES owns ROWS_PER_LANE * LANES rows of one head (queries for dq,
// keys for dk and dv) while the other tokens pass by 4 * LANES at a time, and a lane owns COLUMNS vec4s of each gradient.
// tile: LANES = 8
// tile: ROWS_PER_LANE = 1
// tile: COLUMNS = 2
// import: combine, attention
// iterations: query = keys.div_ceil(4 * LANES) * (head4 + LANES + 3) + 4
// iterations: key_value = queries.div_ceil(4 * LANES) * (head4 + LANES + 3) + 4

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

const ROWS = ROWS_PER_LANE * LANES;
const BLOCK = 4u * LANES;

// The four tokens of a block that a lane holds.
fn tokens_of(block: u32, lane: u32) -> vec4<u32> {
    return vec4<u32>(block + lane) + LANES * vec4<u32>(0u, 1u, 2u, 3u);
}

fn first_statistic(image_head: u32) -> u32 {
    return image_head * ((params.queries + 3u) / 4u * 4u);
}

@compute @workgroup_size(LANES)
fn query(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let own = head_of(group, groups);
    let first_row = group.x * ROWS;
    let first_query = own.image * params.queries;
    let first_key = own.image * params.keys;

    var row: array<u32, ROWS_PER_LANE>;
    var log_sum: array<f32, ROWS_PER_LANE>;
    var mean: array<f32, ROWS_PER_LANE>;
    for (var r = 0u; r < ROWS_PER_LANE; r++) {
        let token = min(first_row + r * LANES + lane, params.queries - 1u);
        row[r] = (first_query + token) * params.channels4 + own.first4;
        log_sum[r] = log_sum_exp[first_statistic(own.index) + token];
        mean[r] = delta[first_statistic(own.index) + token];
    }
    var column: array<u32, COLUMNS>;
    for (var j = 0u; j < COLUMNS; j++) {
        column[j] = own.first4 + min(lane + j * LANES, params.head4 - 1u);
    }
    var sum: array<vec4<f32>, ROWS * COLUMNS>;

    for (var block = 0u; block < params.keys; block += BLOCK) {
        let token = tokens_of(block, lane);
        let key = (first_key + min(token, vec4<u32>(params.keys - 1u))) * params.channels4 + own.first4;
        var score: array<vec4<f32>, ROWS>;
        var slope: array<vec4<f32>, ROWS>;
        for (var c = 0u; c < params.head4; c++) {
            let b = transpose(mat4x4<f32>(
                widen_activation(k[key.x + c]),
                widen_activation(k[key.y + c]),
                widen_activation(k[key.z + c]),
                widen_activation(k[key.w + c]),
            ));
            let d = transpose(mat4x4<f32>(
                widen_activation(v[key.x + c]),
                widen_activation(v[key.y + c]),
                widen_activation(v[key.z + c]),
                widen_activation(v[key.w + c]),
            ));
            for (var r = 0u; r < ROWS_PER_LANE; r++) {
                let query_value = widen_activation(q[row[r] + c]);
                let gradient = widen_activation(dy[row[r] + c]);
                for (var i = 0u; i < LANES; i++) {
                    let at = r * LANES + i;
                    score[at] += combine(subgroupShuffle(query_value, i), b);
                    slope[at] += combine(subgroupShuffle(gradient, i), d);
                }
            }
        }

        let exists = token < vec4<u32>(params.keys);
        for (var r = 0u; r < ROWS_PER_LANE; r++) {
            for (var i = 0u; i < LANES; i++) {
                let at = r * LANES + i;
                let weight = exp(params.scale * score[at] - subgroupShuffle(log_sum[r], i));
                let ds = params.scale * weight * (slope[at] - subgroupShuffle(mean[r], i));
                slope[at] = select(vec4<f32>(), ds, exists);
            }
        }

        for (var l = 0u; l < LANES; l++) {
            for (var j = 0u; j < COLUMNS; j++) {
                var b: mat4x4<f32>;
                for (var s = 0u; s < 4u; s++) {
                    let token = min(block + s * LANES + l, params.keys - 1u);
                    b[s] = widen_activation(k[(first_key + token) * params.channels4 + column[j]]);
                }
                for (var i = 0u; i < ROWS; i++) {
                    sum[i * COLUMNS + j] += combine(subgroupShuffle(slope[i], l), b);
                }
            }
        }
    }

    for (var i = 0u; i < ROWS; i++) {
        for (var j = 0u; j < COLUMNS; j++) {
            if first_row + i < params.queries && lane + j * LANES < params.head4 {
                let index = (first_query + first_row + i) * params.channels4 + column[j];
                dq[index] = narrow_activation(sum[i * COLUMNS + j]);
            }
        }
    }
}

@compute @workgroup_size(LANES)
fn key_value(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let own = head_of(group, groups);
    let first_row = group.x * ROWS;
    let first_query = own.image * params.queries;
    let first_key = own.image * params.keys;

    var row: array<u32, ROWS_PER_LANE>;
    for (var r = 0u; r < ROWS_PER_LANE; r++) {
        let token = min(first_row + r * LANES + lane, params.keys - 1u);
        row[r] = (first_key + token) * params.channels4 + own.first4;
    }
    var column: array<u32, COLUMNS>;
    for (var j = 0u; j < COLUMNS; j++) {
        column[j] = own.first4 + min(lane + j * LANES, params.head4 - 1u);
    }
    var key_sum: array<vec4<f32>, ROWS * COLUMNS>;
    var value_sum: array<vec4<f32>, ROWS * COLUMNS>;

    for (var block = 0u; block < params.queries; block += BLOCK) {
        let token = min(tokens_of(block, lane), vec4<u32>(params.queries - 1u));
        let query = (first_query + token) * params.channels4 + own.first4;
        let statistic = first_statistic(own.index) + token;
        let log_sum = vec4<f32>(
            log_sum_exp[statistic.x],
            log_sum_exp[statistic.y],
            log_sum_exp[statistic.z],
            log_sum_exp[statistic.w],
        );
        let mean = vec4<f32>(delta[statistic.x], delta[statistic.y], delta[statistic.z], delta[statistic.w]);
        var weight: array<vec4<f32>, ROWS>;
        var slope: array<vec4<f32>, ROWS>;
        for (var c = 0u; c < params.head4; c++) {
            let b = transpose(mat4x4<f32>(
                widen_activation(q[query.x + c]),
                widen_activation(q[query.y + c]),
                widen_activation(q[query.z + c]),
                widen_activation(q[query.w + c]),
            ));
            let d = transpose(mat4x4<f32>(
                widen_activation(dy[query.x + c]),
                widen_activation(dy[query.y + c]),
                widen_activation(dy[query.z + c]),
                widen_activation(dy[query.w + c]),
            ));
            for (var r = 0u; r < ROWS_PER_LANE; r++) {
                let key = widen_activation(k[row[r] + c]);
                let value = widen_activation(v[row[r] + c]);
                for (var i = 0u; i < LANES; i++) {
                    let at = r * LANES + i;
                    weight[at] += combine(subgroupShuffle(key, i), b);
                    slope[at] += combine(subgroupShuffle(value, i), d);
                }
            }
        }

        let exists = tokens_of(block, lane) < vec4<u32>(params.queries);
        for (var i = 0u; i < ROWS; i++) {
            weight[i] = select(vec4<f32>(), exp(params.scale * weight[i] - log_sum), exists);
            slope[i] = params.scale * weight[i] * (slope[i] - mean);
        }

        for (var l = 0u; l < LANES; l++) {
            for (var j = 0u; j < COLUMNS; j++) {
                var b: mat4x4<f32>;
                var d: mat4x4<f32>;
                for (var s = 0u; s < 4u; s++) {
                    let token = first_query + min(block + s * LANES + l, params.queries - 1u);
                    b[s] = widen_activation(q[token * params.channels4 + column[j]]);
                    d[s] = widen_activation(dy[token * params.channels4 + column[j]]);
                }
                for (var i = 0u; i < ROWS; i++) {
                    key_sum[i * COLUMNS + j] += combine(subgroupShuffle(slope[i], l), b);
                    value_sum[i * COLUMNS + j] += combine(subgroupShuffle(weight[i], l), d);
                }
            }
        }
    }

    for (var i = 0u; i < ROWS; i++) {
        for (var j = 0u; j < COLUMNS; j++) {
            if first_row + i < params.keys && lane + j * LANES < params.head4 {
                let index = (first_key + first_row + i) * params.channels4 + column[j];
                dk[index] = narrow_activation(key_sum[i * COLUMNS + j]);
                dv[index] = narrow_activation(value_sum[i * COLUMNS + j]);
            }
        }
    }
}

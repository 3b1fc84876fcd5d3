// Gradients of attention as in attention_backward_subgroup.wgsl for software drivers, which charge for a load by the lane
// and the element, however wide it is: an element is 64 bits here, two numbers. LANES divide a head's eights of channels.
// Tiling: as there, but a lane loads eight channels of tokens, and owns COLUMNS eights of each gradient.
// tile: LANES = 8
// tile: ROWS_PER_LANE = 1
// tile: COLUMNS = 1
// import: split
// iterations: query = keys.div_ceil(4 * LANES) * (head8 + LANES + 3) + 4
// iterations: key_value = queries.div_ceil(4 * LANES) * (head8 + LANES + 3) + 4

struct Params {
    /// Images.
    batch: u32,
    /// Queries of an image.
    queries: u32,
    /// Keys of an image.
    keys: u32,
    /// Eights of channels of a token.
    channels8: u32,
    /// Those of a head: COLUMNS * LANES.
    head8: u32,
    /// Heads of a token.
    heads: u32,
    /// Multiplies the products q k^T.
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
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

const ROWS = ROWS_PER_LANE * LANES;
const BLOCK = 4u * LANES;

// The four tokens of a block that a lane holds.
fn tokens_of(block: u32, lane: u32) -> vec4<u32> {
    return vec4<u32>(block + lane) + LANES * vec4<u32>(0u, 1u, 2u, 3u);
}

fn first_statistic(image_head: u32) -> u32 {
    return image_head * ((params.queries + 3u) / 4u * 4u);
}

// Workgroups: (tiles of queries, heads, batch), or all heads of the batch folded into y and z.
@compute @workgroup_size(LANES)
fn query(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    // Past the last head of the last image the last one is computed again.
    let image_head = min(group.z * groups.y + group.y, params.batch * params.heads - 1u);
    let image = image_head / params.heads;
    let head = (image_head - image * params.heads) * params.head8;
    let first_row = group.x * ROWS;
    let first_query = image * params.queries;
    let first_key = image * params.keys;

    var row: array<u32, ROWS_PER_LANE>;
    var log_sum: array<f32, ROWS_PER_LANE>;
    var mean: array<f32, ROWS_PER_LANE>;
    for (var r = 0u; r < ROWS_PER_LANE; r++) {
        let token = min(first_row + r * LANES + lane, params.queries - 1u);
        row[r] = (first_query + token) * params.channels8 + head;
        log_sum[r] = log_sum_exp[first_statistic(image_head) + token];
        mean[r] = delta[first_statistic(image_head) + token];
    }
    var column: array<u32, COLUMNS>;
    for (var j = 0u; j < COLUMNS; j++) {
        column[j] = head + lane + j * LANES;
    }
    var even_sum: array<vec4<f32>, ROWS * COLUMNS>;
    var odd_sum: array<vec4<f32>, ROWS * COLUMNS>;

    for (var block = 0u; block < params.keys; block += BLOCK) {
        let token = tokens_of(block, lane);
        let key = (first_key + min(token, vec4<u32>(params.keys - 1u))) * params.channels8 + head;
        var score: array<vec4<f32>, ROWS>;
        var slope: array<vec4<f32>, ROWS>;
        for (var c = 0u; c < params.head8; c++) {
            let b = across(k[key.x + c], k[key.y + c], k[key.z + c], k[key.w + c]);
            let d = across(v[key.x + c], v[key.y + c], v[key.z + c], v[key.w + c]);
            for (var r = 0u; r < ROWS_PER_LANE; r++) {
                let query_value = q[row[r] + c];
                let gradient = dy[row[r] + c];
                for (var i = 0u; i < LANES; i++) {
                    let at = r * LANES + i;
                    score[at] += product(firsts(query_value), seconds(query_value), i, b);
                    slope[at] += product(firsts(gradient), seconds(gradient), i, d);
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
                var b: Split;
                for (var s = 0u; s < 4u; s++) {
                    let token = min(block + s * LANES + l, params.keys - 1u);
                    let pairs = k[(first_key + token) * params.channels8 + column[j]];
                    b.even[s] = firsts(pairs);
                    b.odd[s] = seconds(pairs);
                }
                for (var i = 0u; i < ROWS; i++) {
                    let slopes = subgroupShuffle(slope[i], l);
                    even_sum[i * COLUMNS + j] += combine(slopes, b.even);
                    odd_sum[i * COLUMNS + j] += combine(slopes, b.odd);
                }
            }
        }
    }

    for (var i = 0u; i < ROWS; i++) {
        for (var j = 0u; j < COLUMNS; j++) {
            if first_row + i < params.queries {
                let index = 2u * ((first_query + first_row + i) * params.channels8 + column[j]);
                dq[index] = lower(even_sum[i * COLUMNS + j], odd_sum[i * COLUMNS + j]);
                dq[index + 1u] = upper(even_sum[i * COLUMNS + j], odd_sum[i * COLUMNS + j]);
            }
        }
    }
}

// Workgroups: (tiles of keys, heads, batch), or folded too.
@compute @workgroup_size(LANES)
fn key_value(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    // Past the last head of the last image the last one is computed again.
    let image_head = min(group.z * groups.y + group.y, params.batch * params.heads - 1u);
    let image = image_head / params.heads;
    let head = (image_head - image * params.heads) * params.head8;
    let first_row = group.x * ROWS;
    let first_query = image * params.queries;
    let first_key = image * params.keys;

    var row: array<u32, ROWS_PER_LANE>;
    for (var r = 0u; r < ROWS_PER_LANE; r++) {
        let token = min(first_row + r * LANES + lane, params.keys - 1u);
        row[r] = (first_key + token) * params.channels8 + head;
    }
    var column: array<u32, COLUMNS>;
    for (var j = 0u; j < COLUMNS; j++) {
        column[j] = head + lane + j * LANES;
    }
    var even_keys: array<vec4<f32>, ROWS * COLUMNS>;
    var odd_keys: array<vec4<f32>, ROWS * COLUMNS>;
    var even_values: array<vec4<f32>, ROWS * COLUMNS>;
    var odd_values: array<vec4<f32>, ROWS * COLUMNS>;

    for (var block = 0u; block < params.queries; block += BLOCK) {
        let token = min(tokens_of(block, lane), vec4<u32>(params.queries - 1u));
        let query = (first_query + token) * params.channels8 + head;
        let statistic = first_statistic(image_head) + token;
        let log_sum = vec4<f32>(
            log_sum_exp[statistic.x],
            log_sum_exp[statistic.y],
            log_sum_exp[statistic.z],
            log_sum_exp[statistic.w],
        );
        let mean = vec4<f32>(delta[statistic.x], delta[statistic.y], delta[statistic.z], delta[statistic.w]);
        var weight: array<vec4<f32>, ROWS>;
        var slope: array<vec4<f32>, ROWS>;
        for (var c = 0u; c < params.head8; c++) {
            let b = across(q[query.x + c], q[query.y + c], q[query.z + c], q[query.w + c]);
            let d = across(dy[query.x + c], dy[query.y + c], dy[query.z + c], dy[query.w + c]);
            for (var r = 0u; r < ROWS_PER_LANE; r++) {
                let key = k[row[r] + c];
                let value = v[row[r] + c];
                for (var i = 0u; i < LANES; i++) {
                    let at = r * LANES + i;
                    weight[at] += product(firsts(key), seconds(key), i, b);
                    slope[at] += product(firsts(value), seconds(value), i, d);
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
                var b: Split;
                var d: Split;
                for (var s = 0u; s < 4u; s++) {
                    let token = first_query + min(block + s * LANES + l, params.queries - 1u);
                    let query_pairs = q[token * params.channels8 + column[j]];
                    let gradient_pairs = dy[token * params.channels8 + column[j]];
                    b.even[s] = firsts(query_pairs);
                    b.odd[s] = seconds(query_pairs);
                    d.even[s] = firsts(gradient_pairs);
                    d.odd[s] = seconds(gradient_pairs);
                }
                for (var i = 0u; i < ROWS; i++) {
                    let slopes = subgroupShuffle(slope[i], l);
                    let weights = subgroupShuffle(weight[i], l);
                    even_keys[i * COLUMNS + j] += combine(slopes, b.even);
                    odd_keys[i * COLUMNS + j] += combine(slopes, b.odd);
                    even_values[i * COLUMNS + j] += combine(weights, d.even);
                    odd_values[i * COLUMNS + j] += combine(weights, d.odd);
                }
            }
        }
    }

    for (var i = 0u; i < ROWS; i++) {
        for (var j = 0u; j < COLUMNS; j++) {
            if first_row + i < params.keys {
                let index = 2u * ((first_key + first_row + i) * params.channels8 + column[j]);
                dk[index] = lower(even_keys[i * COLUMNS + j], odd_keys[i * COLUMNS + j]);
                dk[index + 1u] = upper(even_keys[i * COLUMNS + j], odd_keys[i * COLUMNS + j]);
                dv[index] = lower(even_values[i * COLUMNS + j], odd_values[i * COLUMNS + j]);
                dv[index + 1u] = upper(even_values[i * COLUMNS + j], odd_values[i * COLUMNS + j]);
            }
        }
    }
}

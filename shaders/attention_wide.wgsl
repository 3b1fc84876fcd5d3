// Attention as in attention_subgroup.wgsl for software drivers, which charge for a load by the lane and the element,
// however wide it is: an element is 64 bits here, two numbers. LANES divide a head's eights of channels.
// Tiling: as there, but a lane loads eight channels of its queries and keys, and owns COLUMNS eights of every query.
// tile: LANES = 8
// tile: ROWS_PER_LANE = 2
// tile: COLUMNS = 1
// import: split
// iterations: forward = keys.div_ceil(4 * LANES) * (head8 + LANES + 3) + 4

struct Params {
    /// Images.
    batch: u32,
    /// Queries of an image.
    queries: u32,
    /// Keys of an image.
    keys: u32,
    /// Eights of channels of a token of y.
    channels8: u32,
    /// Those from a token of q, k or v to the next: q, k and v may be parts of one tensor.
    pitch8: u32,
    /// Those before the first token's part of k.
    k_first8: u32,
    /// And of v.
    v_first8: u32,
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
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;
// [batch, heads, queries].
@group(0) @binding(5) var<storage, read_write> log_sum_exp: array<f32>;

const ROWS = ROWS_PER_LANE * LANES;
const KEYS = 4u * LANES;
const LOWEST = -3.0e38;

// Workgroups: (tiles of queries, heads, batch), or all heads of the batch folded into y and z.
@compute @workgroup_size(LANES)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    // Past the last head of the last image the last one is computed again.
    let image_head = min(group.z * groups.y + group.y, params.batch * params.heads - 1u);
    let image = image_head / params.heads;
    let head = (image_head - image * params.heads) * params.head8;
    let first_query = group.x * ROWS;
    let first_key = image * params.keys;

    var query: array<u32, ROWS_PER_LANE>;
    for (var r = 0u; r < ROWS_PER_LANE; r++) {
        let token = min(first_query + r * LANES + lane, params.queries - 1u);
        query[r] = (image * params.queries + token) * params.pitch8 + head;
    }
    var column: array<u32, COLUMNS>;
    for (var j = 0u; j < COLUMNS; j++) {
        column[j] = head + lane + j * LANES;
    }
    // Of each eight, the channels of even numbers and those of odd ones.
    var even_sum: array<vec4<f32>, ROWS * COLUMNS>;
    var odd_sum: array<vec4<f32>, ROWS * COLUMNS>;
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
            key[s] = (first_key + token) * params.pitch8 + params.k_first8 + head;
        }
        var weight: array<vec4<f32>, ROWS>;
        for (var c = 0u; c < params.head8; c++) {
            var even: array<vec4<f32>, ROWS_PER_LANE>;
            var odd: array<vec4<f32>, ROWS_PER_LANE>;
            for (var r = 0u; r < ROWS_PER_LANE; r++) {
                let pairs = q[query[r] + c];
                even[r] = firsts(pairs);
                odd[r] = seconds(pairs);
            }
            let keys = across(k[key[0] + c], k[key[1] + c], k[key[2] + c], k[key[3] + c]);
            for (var r = 0u; r < ROWS_PER_LANE; r++) {
                for (var i = 0u; i < LANES; i++) {
                    weight[r * LANES + i] += product(even[r], odd[r], i, keys);
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
                even_sum[i * COLUMNS + j] *= factor;
                odd_sum[i * COLUMNS + j] *= factor;
            }
        }

        for (var l = 0u; l < LANES; l++) {
            for (var j = 0u; j < COLUMNS; j++) {
                var even: mat4x4<f32>;
                var odd: mat4x4<f32>;
                for (var s = 0u; s < 4u; s++) {
                    let token = min(block + s * LANES + l, params.keys - 1u);
                    let pairs = v[(first_key + token) * params.pitch8 + params.v_first8 + column[j]];
                    even[s] = firsts(pairs);
                    odd[s] = seconds(pairs);
                }
                for (var i = 0u; i < ROWS; i++) {
                    // Short sums meet a longer one, which rounds less and is read a quarter as often.
                    let weights = subgroupShuffle(weight[i], l);
                    even_sum[i * COLUMNS + j] += combine(weights, even);
                    odd_sum[i * COLUMNS + j] += combine(weights, odd);
                }
            }
        }
    }

    let pitch = (params.queries + 3u) / 4u * 4u;
    let first_row = image_head * pitch;
    for (var i = 0u; i < ROWS; i++) {
        let token = first_query + i;
        let row_total = subgroupAdd(total[i]);
        if token < params.queries {
            for (var j = 0u; j < COLUMNS; j++) {
                let index = 2u * ((image * params.queries + token) * params.channels8 + column[j]);
                let even = (1.0 / row_total) * even_sum[i * COLUMNS + j];
                let odd = (1.0 / row_total) * odd_sum[i * COLUMNS + j];
                y[index] = lower(even, odd);
                y[index + 1u] = upper(even, odd);
            }
        }
        if lane == 0u && token < pitch {
            log_sum_exp[first_row + token] = select(0.0, maximum[i] + log(row_total), token < params.queries);
        }
    }
}

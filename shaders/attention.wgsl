// Attention: y = softmax(scale * q k^T) v, each head on its own channels.  Vaswani et al. 2017, eq. 1.
// Online softmax (Milakov and Gimelshein 2018, algorithm 3), so that no tokens x tokens tensor exists; what stays for
// the backward pass is log_sum_exp = maximum + log(sum of exp(score - maximum)) of each row.
// Tiling: a workgroup of 64 lanes, LANES of them along a head, owns 64 / LANES * ROWS queries of it; keys pass by
// 4 * LANES at a time. A lane scores ROWS queries against four keys, then owns ROWS x COLUMNS vec4s of y. A head begins
// at a vec4.
// tile: LANES = 8
// tile: ROWS = 4
// tile: COLUMNS = 2
// import: attention
// iterations: block = head4 + LANES + 3 + if ROWS * COLUMNS > 8 { 5 * LANES + 1 } else { 0 }
// iterations: forward = keys.div_ceil(4 * LANES) * block + 4

@group(0) @binding(1) var<storage, read> q: array<activation4>;
@group(0) @binding(2) var<storage, read> k: array<activation4>;
@group(0) @binding(3) var<storage, read> v: array<activation4>;
@group(0) @binding(4) var<storage, read_write> y: array<activation4>;
// [batch, heads, queries].
@group(0) @binding(5) var<storage, read_write> log_sum_exp: array<f32>;

const KEYS = 4u * LANES;
const TILE_ROWS = 64u / LANES * ROWS;
// One more than the vec4s of a row, so that rows begin in different banks.
const PITCH = LANES + 1u;
const LOWEST = -3.0e38;

var<workgroup> weights: array<vec4<f32>, TILE_ROWS * PITCH>;
var<workgroup> factors: array<f32, TILE_ROWS>;

@compute @workgroup_size(64)
fn forward(
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
    for (var r = 0u; r < ROWS; r++) {
        let token = min(first_query + row + r, params.queries - 1u);
        query[r] = (own.image * params.queries + token) * params.pitch4 + own.first4;
    }
    var sum: array<vec4<f32>, ROWS * COLUMNS>;
    // Of row `lane`, for the first TILE_ROWS lanes.
    var maximum = LOWEST;
    var total = 0.0;

    for (var block = 0u; block < params.keys; block += KEYS) {
        var key: array<u32, 4>;
        for (var i = 0u; i < 4u; i++) {
            let token = min(block + 4u * column + i, params.keys - 1u);
            key[i] = (first_key + token) * params.pitch4 + params.k_first4 + own.first4;
        }
        var score: array<vec4<f32>, ROWS>;
        for (var c = 0u; c < params.head4; c++) {
            let b = transposed(k[key[0] + c], k[key[1] + c], k[key[2] + c], k[key[3] + c]);
            for (var r = 0u; r < ROWS; r++) {
                let a = widen_activation(q[query[r] + c]);
                score[r] += b * a;
            }
        }
        let exists = vec4<u32>(block + 4u * column) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.keys);
        for (var r = 0u; r < ROWS; r++) {
            weights[(row + r) * PITCH + column] = select(vec4<f32>(LOWEST), params.scale * score[r], exists);
        }
        workgroupBarrier();

        if lane < TILE_ROWS {
            var highest = vec4<f32>(maximum);
            for (var i = 0u; i < LANES; i++) {
                highest = max(highest, weights[lane * PITCH + i]);
            }
            let new_maximum = max(max(highest.x, highest.y), max(highest.z, highest.w));
            let factor = exp(maximum - new_maximum);
            var added = vec4<f32>();
            for (var i = 0u; i < LANES; i++) {
                let weight = exp(weights[lane * PITCH + i] - new_maximum);
                weights[lane * PITCH + i] = weight;
                added += weight;
            }
            maximum = new_maximum;
            total = fma(total, factor, dot(added, vec4<f32>(1.0)));
            factors[lane] = factor;
        }
        workgroupBarrier();

        for (var r = 0u; r < ROWS; r++) {
            let factor = factors[row + r];
            for (var j = 0u; j < COLUMNS; j++) {
                sum[r * COLUMNS + j] *= factor;
            }
        }
        for (var i = 0u; i < LANES; i++) {
            var a: array<vec4<f32>, ROWS>;
            for (var r = 0u; r < ROWS; r++) {
                a[r] = weights[(row + r) * PITCH + i];
            }
            for (var c = 0u; c < 4u; c++) {
                let token = min(block + 4u * i + c, params.keys - 1u);
                let value = (first_key + token) * params.pitch4 + params.v_first4 + own.first4;
                for (var j = 0u; j < COLUMNS; j++) {
                    let b = widen_activation(v[value + min(column + LANES * j, params.head4 - 1u)]);
                    for (var r = 0u; r < ROWS; r++) {
                        sum[r * COLUMNS + j] = fma(vec4<f32>(a[r][c]), b, sum[r * COLUMNS + j]);
                    }
                }
            }
        }
        workgroupBarrier();
    }

    if lane < TILE_ROWS {
        factors[lane] = 1.0 / total;
        let token = first_query + lane;
        if token < row_pitch() {
            let value = maximum + log(total);
            log_sum_exp[own.index * row_pitch() + token] = select(0.0, value, token < params.queries);
        }
    }
    workgroupBarrier();
    for (var r = 0u; r < ROWS; r++) {
        for (var j = 0u; j < COLUMNS; j++) {
            let channel4 = column + LANES * j;
            let token = first_query + row + r;
            if token < params.queries && channel4 < params.head4 {
                let index = (own.image * params.queries + token) * params.channels4 + own.first4 + channel4;
                y[index] = narrow_activation(factors[row + r] * sum[r * COLUMNS + j]);
            }
        }
    }
}

// Attention: y = softmax(scale * q k^T) v, each head on its own channels.  Vaswani et al. 2017, eq. 1.
// If causal, over the keys up to the query's own position.
// Online softmax (Milakov and Gimelshein 2018, algorithm 3), so that no tokens x tokens tensor exists; what stays for
// the backward pass is log_sum_exp = maximum + log(sum of exp(score - maximum)) of each row.
// Tiling: shared/attention_tiles.wgsl; the rows are queries, and keys and values pass by. Where queries are few, several
// workgroups share theirs: each goes over a slot of the keys (`split`), and the slots are merged in their order (`fold`), so
// that a result does not depend on who finished first. A head begins at a vec4.
// tile: LANES = 8
// tile: ROWS = 4
// tile: COLUMNS = 2
// import: attention, attention_tiles, invocation
// iterations: scores = head4.div_ceil(4) * 6
// iterations: sums = 6 * LANES * COLUMNS.div_ceil(8) + 2 * LANES + 3
// iterations: forward = keys.div_ceil(4 * LANES) * (scores + sums + 1) + 4
// iterations: split = slot_tokens.div_ceil(4 * LANES) * (scores + sums + 1) + 4
// iterations: fold = 2 * keys.div_ceil(slot_tokens.max(1)) + 2

@group(0) @binding(1) var<storage, read> q: array<activation4>;
@group(0) @binding(2) var<storage, read> k: array<activation4>;
@group(0) @binding(3) var<storage, read> v: array<activation4>;
@group(0) @binding(4) var<storage, read_write> y: array<activation4>;
// [batch, heads, queries].
@group(0) @binding(5) var<storage, read_write> log_sum_exp: array<f32>;
// Of each slot the sums of weighted values, as y: written, then read.
@group(0) @binding(4) var<storage, read_write> parts: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> partial: array<vec4<f32>>;
// Of each slot maximum and sum of a row's weights: [slots, batch * heads, queries].
@group(0) @binding(5) var<storage, read_write> statistics: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> row_statistics: array<vec2<f32>>;

override WORKGROUP: u32 = 64u;

const LOWEST = -3.0e38;

// Of each row and lane: the highest score, in the end the sum of the weights.
var<workgroup> of_lanes: array<f32, TILE_ROWS * LANES>;

fn operand_at(which: u32, place: u32) -> vec4<f32> {
    if which == QUERIES {
        return widen_activation(q[place]);
    }
    if which == KEYS {
        return widen_activation(k[place]);
    }
    return widen_activation(v[place]);
}

// Over the keys from `first_key` to `end`: of a lane's rows the sums of weighted values, the highest score, the same in all
// lanes of a row, and the sum of the weights, of all its lanes.
fn attend(
    sum: ptr<function, array<vec4<f32>, ROWS * COLUMNS>>,
    maximum: ptr<function, array<f32, ROWS>>,
    total: ptr<function, array<f32, ROWS>>,
    own: Head,
    first_query: u32,
    first_key: u32,
    end: u32,
    lane: u32,
) {
    let queries = Side(own.image * params.queries * params.pitch4 + own.first4, params.pitch4, params.queries);
    let first4 = own.image * params.keys * params.pitch4 + own.first4;
    let keys = Side(first4 + params.k_first4, params.pitch4, params.keys);
    let values = Side(first4 + params.v_first4, params.pitch4, params.keys);
    for (var r = 0u; r < ROWS; r++) {
        (*maximum)[r] = LOWEST;
    }
    for (var block = first_key; block < end; block += BLOCK) {
        var score: array<vec4<f32>, ROWS>;
        products(&score, vec2<u32>(QUERIES, KEYS), queries, keys, first_query, block, lane);
        let unseen = queries_before(first_query, own_tokens(block, lane));
        for (var r = 0u; r < ROWS; r++) {
            let seen = unseen <= vec4<u32>(own_row(r, lane));
            score[r] = select(vec4<f32>(LOWEST), params.scale * score[r], seen);
            let highest = max(max(score[r].x, score[r].y), max(score[r].z, score[r].w));
            of_lanes[own_row(r, lane) * LANES + lane % LANES] = highest;
        }
        workgroupBarrier();
        for (var r = 0u; r < ROWS; r++) {
            var highest = (*maximum)[r];
            for (var i = 0u; i < LANES; i++) {
                highest = max(highest, of_lanes[own_row(r, lane) * LANES + i]);
            }
            let factor = exp((*maximum)[r] - highest);
            let weight = exp(score[r] - highest);
            keep(r, lane, weight);
            (*maximum)[r] = highest;
            (*total)[r] = fma((*total)[r], factor, dot(weight, vec4<f32>(1.0)));
            for (var j = 0u; j < COLUMNS; j++) {
                (*sum)[r * COLUMNS + j] *= factor;
            }
        }
        add_tokens(sum, VALUES, values, block, lane);
    }
    // The highest scores that stand here were read before the barriers of `add_tokens`.
    for (var r = 0u; r < ROWS; r++) {
        of_lanes[own_row(r, lane) * LANES + lane % LANES] = (*total)[r];
    }
    workgroupBarrier();
    for (var r = 0u; r < ROWS; r++) {
        var of_row = 0.0;
        for (var i = 0u; i < LANES; i++) {
            of_row += of_lanes[own_row(r, lane) * LANES + i];
        }
        (*total)[r] = of_row;
    }
}

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let own = head_of(group, groups);
    let first_query = group.x * TILE_ROWS;
    var sum: array<vec4<f32>, ROWS * COLUMNS>;
    var maximum: array<f32, ROWS>;
    var total: array<f32, ROWS>;
    attend(&sum, &maximum, &total, own, first_query, 0u, keys_before(first_query + TILE_ROWS), lane);
    for (var r = 0u; r < ROWS; r++) {
        let token = first_query + own_row(r, lane);
        if lane % LANES == 0u && token < row_pitch() {
            let value = maximum[r] + log_of_sum(total[r]);
            log_sum_exp[own.index * row_pitch() + token] = select(0.0, value, token < params.queries);
        }
        for (var j = 0u; j < COLUMNS; j++) {
            let channel4 = lane % LANES + LANES * j;
            if token < params.queries && channel4 < params.head4 {
                let index = (own.image * params.queries + token) * params.channels4 + own.first4 + channel4;
                y[index] = narrow_activation(1.0 / total[r] * sum[r * COLUMNS + j]);
            }
        }
    }
}

@compute @workgroup_size(64)
fn split(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let own = head_of(group, groups);
    let own_slot = slot_of(group.x, params.queries);
    let slot = own_slot.index;
    let first_query = own_slot.first_row;
    let first_key = slot * params.slot_tokens;
    let end = min(first_key + params.slot_tokens, keys_before(first_query + TILE_ROWS));
    var sum: array<vec4<f32>, ROWS * COLUMNS>;
    var maximum: array<f32, ROWS>;
    var total: array<f32, ROWS>;
    attend(&sum, &maximum, &total, own, first_query, first_key, end, lane);
    let first_row = slot * params.batch * params.heads + own.index;
    for (var r = 0u; r < ROWS; r++) {
        let token = first_query + own_row(r, lane);
        if lane % LANES == 0u && token < params.queries {
            statistics[first_row * row_pitch() + token] = vec2<f32>(maximum[r], total[r]);
        }
        for (var j = 0u; j < COLUMNS; j++) {
            let channel4 = lane % LANES + LANES * j;
            if token < params.queries && channel4 < params.head4 {
                let row = (slot * params.batch + own.image) * params.queries + token;
                parts[row * params.channels4 + own.first4 + channel4] = sum[r * COLUMNS + j];
            }
        }
    }
}

// One invocation for each vec4 of y; and of rows that only log_sum_exp has.
@compute @workgroup_size(WORKGROUP)
fn fold(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = invocation(id, groups);
    let row = index / params.channels4;
    if row >= params.batch * row_pitch() {
        return;
    }
    let channel4 = index - row * params.channels4;
    let image = row / row_pitch();
    let token = row - image * row_pitch();
    let head = channel4 / params.head4;
    let statistic = (image * params.heads + head) * row_pitch() + token;
    let step = params.batch * params.heads * row_pitch();
    let is_first = channel4 == head * params.head4;
    if token >= params.queries {
        if is_first {
            log_sum_exp[statistic] = 0.0;
        }
        return;
    }
    // Those of which the query sees a key.
    let slots = (keys_before(token + 1u) + params.slot_tokens - 1u) / params.slot_tokens;
    var maximum = LOWEST;
    for (var slot = 0u; slot < slots; slot++) {
        maximum = max(maximum, row_statistics[slot * step + statistic].x);
    }
    var total = 0.0;
    var sum = vec4<f32>();
    for (var slot = 0u; slot < slots; slot++) {
        let own = row_statistics[slot * step + statistic];
        let factor = exp(own.x - maximum);
        let place = ((slot * params.batch + image) * params.queries + token) * params.channels4 + channel4;
        total = fma(own.y, factor, total);
        sum = fma(vec4<f32>(factor), partial[place], sum);
    }
    y[(image * params.queries + token) * params.channels4 + channel4] = narrow_activation(1.0 / total * sum);
    if is_first {
        log_sum_exp[statistic] = maximum + log_of_sum(total);
    }
}

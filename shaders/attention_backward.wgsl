// Gradients of attention, the weights recomputed from log_sum_exp.  Dao et al. 2022, algorithm 4, without its atomics.
//   p  = exp(scale * q k^T - log_sum_exp)        delta = rowsum(dy * y)
//   ds = scale * p * (dy v^T - delta)
//   dq = ds k      dk = ds^T q      dv = p^T dy
// If causal, p is zero of the keys past the query's own position.
// Tiling: shared/attention_tiles.wgsl; the rows are queries for dq, keys for dk and dv. Where they are few, several
// workgroups share them: each goes over a slot of the other side (`query_split`, `key_value_split`), and fold_slots.wgsl
// adds the slots in their order. A head begins at a vec4.
// tile: LANES = 8
// tile: ROWS = 4
// tile: COLUMNS = 2
// import: attention, attention_tiles, invocation
// iterations: row_sums = head4 + 1
// iterations: sums = 6 * LANES * COLUMNS.div_ceil(8) + 2 * LANES + 3
// iterations: scores = 2 * (head4.div_ceil(4) * 6)
// iterations: query = keys.div_ceil(4 * LANES) * (scores + sums + 1) + 4
// iterations: query_split = slot_tokens.div_ceil(4 * LANES) * (scores + sums + 1) + 4
// iterations: key_value = queries.div_ceil(4 * LANES) * (scores + 2 * sums + 1) + 4
// iterations: key_value_split = slot_tokens.div_ceil(4 * LANES) * (scores + 2 * sums + 1) + 4

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
// Sums of each slot: [slots, batch, queries or keys, channels].
@group(0) @binding(7) var<storage, read_write> query_parts: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> key_parts: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> value_parts: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> y: array<activation4>;
@group(0) @binding(6) var<storage, read_write> delta_out: array<f32>;

override WORKGROUP: u32 = 64u;

fn operand_at(which: u32, place: u32) -> vec4<f32> {
    if which == QUERIES {
        return widen_activation(q[place]);
    }
    if which == KEYS {
        return widen_activation(k[place]);
    }
    if which == VALUES {
        return widen_activation(v[place]);
    }
    return widen_activation(dy[place]);
}

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

fn query_side(own: Head) -> Side {
    return Side(own.image * params.queries * params.channels4 + own.first4, params.channels4, params.queries);
}

fn key_side(own: Head) -> Side {
    return Side(own.image * params.keys * params.channels4 + own.first4, params.channels4, params.keys);
}

// A lane's sums of dq, over the keys from `first_key` to `end`.
fn add_keys(
    sum: ptr<function, array<vec4<f32>, ROWS * COLUMNS>>,
    own: Head,
    first_query: u32,
    first_key: u32,
    end: u32,
    lane: u32,
) {
    let queries = query_side(own);
    let keys = key_side(own);
    var row_log_sum: array<f32, ROWS>;
    var row_delta: array<f32, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        let token = min(first_query + own_row(r, lane), params.queries - 1u);
        row_log_sum[r] = log_sum_exp[own.index * row_pitch() + token];
        row_delta[r] = delta[own.index * row_pitch() + token];
    }
    for (var block = first_key; block < end; block += BLOCK) {
        var score: array<vec4<f32>, ROWS>;
        var slope: array<vec4<f32>, ROWS>;
        products(&score, vec2<u32>(QUERIES, KEYS), queries, keys, first_query, block, lane);
        products(&slope, vec2<u32>(GRADIENTS, VALUES), queries, keys, first_query, block, lane);
        // What was multiplied is still being read.
        workgroupBarrier();
        let unseen = queries_before(first_query, own_tokens(block, lane));
        for (var r = 0u; r < ROWS; r++) {
            let weight = exp(params.scale * score[r] - row_log_sum[r]);
            let ds = params.scale * weight * (slope[r] - row_delta[r]);
            keep(r, lane, select(vec4<f32>(), ds, unseen <= vec4<u32>(own_row(r, lane))));
        }
        add_tokens(sum, KEYS, keys, block, lane);
    }
}

@compute @workgroup_size(64)
fn query(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let own = head_of(group, groups);
    let first_query = group.x * TILE_ROWS;
    var sum: array<vec4<f32>, ROWS * COLUMNS>;
    add_keys(&sum, own, first_query, 0u, keys_before(first_query + TILE_ROWS), lane);
    for (var r = 0u; r < ROWS; r++) {
        let token = first_query + own_row(r, lane);
        for (var j = 0u; j < COLUMNS; j++) {
            let channel4 = lane % LANES + LANES * j;
            if token < params.queries && channel4 < params.head4 {
                dq[place_of(query_side(own), token, channel4)] = narrow_activation(sum[r * COLUMNS + j]);
            }
        }
    }
}

@compute @workgroup_size(64)
fn query_split(
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
    add_keys(&sum, own, first_query, first_key, end, lane);
    let before = slot * params.batch * params.queries * params.channels4;
    for (var r = 0u; r < ROWS; r++) {
        let token = first_query + own_row(r, lane);
        for (var j = 0u; j < COLUMNS; j++) {
            let channel4 = lane % LANES + LANES * j;
            if token < params.queries && channel4 < params.head4 {
                query_parts[before + place_of(query_side(own), token, channel4)] = sum[r * COLUMNS + j];
            }
        }
    }
}

// A lane's sums of dk and dv, over the queries from `first_query` to `end`.
fn add_queries(
    key_sum: ptr<function, array<vec4<f32>, ROWS * COLUMNS>>,
    value_sum: ptr<function, array<vec4<f32>, ROWS * COLUMNS>>,
    own: Head,
    first_key: u32,
    first_query: u32,
    end: u32,
    lane: u32,
) {
    let queries = query_side(own);
    let keys = key_side(own);
    let statistics = own.index * row_pitch();
    for (var block = first_query; block < end; block += BLOCK) {
        var score: array<vec4<f32>, ROWS>;
        var slope: array<vec4<f32>, ROWS>;
        products(&score, vec2<u32>(KEYS, QUERIES), keys, queries, first_key, block, lane);
        products(&slope, vec2<u32>(VALUES, GRADIENTS), keys, queries, first_key, block, lane);
        // What was multiplied is still being read.
        workgroupBarrier();
        let query = own_tokens(block, lane);
        let seen_keys = keys_seen(first_key, query);
        let row = vec4<u32>(statistics) + min(query, vec4<u32>(params.queries - 1u));
        let row_log_sum = vec4<f32>(log_sum_exp[row.x], log_sum_exp[row.y], log_sum_exp[row.z], log_sum_exp[row.w]);
        let row_delta = vec4<f32>(delta[row.x], delta[row.y], delta[row.z], delta[row.w]);
        for (var r = 0u; r < ROWS; r++) {
            let seen = vec4<u32>(own_row(r, lane)) < seen_keys;
            let weight = select(vec4<f32>(), exp(params.scale * score[r] - row_log_sum), seen);
            slope[r] = params.scale * weight * (slope[r] - row_delta);
            keep(r, lane, weight);
        }
        add_tokens(value_sum, GRADIENTS, queries, block, lane);
        // The weights are still being read.
        workgroupBarrier();
        for (var r = 0u; r < ROWS; r++) {
            keep(r, lane, slope[r]);
        }
        add_tokens(key_sum, QUERIES, queries, block, lane);
    }
}

@compute @workgroup_size(64)
fn key_value(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let own = head_of(group, groups);
    let first_key = group.x * TILE_ROWS;
    var key_sum: array<vec4<f32>, ROWS * COLUMNS>;
    var value_sum: array<vec4<f32>, ROWS * COLUMNS>;
    let first_query = first_query_of(first_key, BLOCK);
    add_queries(&key_sum, &value_sum, own, first_key, first_query, params.queries, lane);
    for (var r = 0u; r < ROWS; r++) {
        let token = first_key + own_row(r, lane);
        for (var j = 0u; j < COLUMNS; j++) {
            let channel4 = lane % LANES + LANES * j;
            if token < params.keys && channel4 < params.head4 {
                let place = place_of(key_side(own), token, channel4);
                dk[place] = narrow_activation(key_sum[r * COLUMNS + j]);
                dv[place] = narrow_activation(value_sum[r * COLUMNS + j]);
            }
        }
    }
}

@compute @workgroup_size(64)
fn key_value_split(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let own = head_of(group, groups);
    let own_slot = slot_of(group.x, params.keys);
    let slot = own_slot.index;
    let first_key = own_slot.first_row;
    let first_query = max(slot * params.slot_tokens, first_query_of(first_key, BLOCK));
    let end = min((slot + 1u) * params.slot_tokens, params.queries);
    var key_sum: array<vec4<f32>, ROWS * COLUMNS>;
    var value_sum: array<vec4<f32>, ROWS * COLUMNS>;
    add_queries(&key_sum, &value_sum, own, first_key, first_query, end, lane);
    let before = slot * params.batch * params.keys * params.channels4;
    for (var r = 0u; r < ROWS; r++) {
        let token = first_key + own_row(r, lane);
        for (var j = 0u; j < COLUMNS; j++) {
            let channel4 = lane % LANES + LANES * j;
            if token < params.keys && channel4 < params.head4 {
                let place = before + place_of(key_side(own), token, channel4);
                key_parts[place] = key_sum[r * COLUMNS + j];
                value_parts[place] = value_sum[r * COLUMNS + j];
            }
        }
    }
}

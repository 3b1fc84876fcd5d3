// The body of the kernels of attention's gradients for subgroups. The importer binds the tensors and says what a Unit of
// channels is (fours or eights).
// import: attention

const ROWS = ROWS_PER_LANE * LANES;
const BLOCK = 4u * LANES;

// The four tokens of a block that a lane holds.
fn tokens_of(block: u32, lane: u32) -> vec4<u32> {
    return vec4<u32>(block + lane) + LANES * vec4<u32>(0u, 1u, 2u, 3u);
}

@compute @workgroup_size(LANES)
fn query(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let own = head_of(group, groups);
    let head = own.first4 / UNIT4;
    let head_units = params.head4 / UNIT4;
    let pitch = params.channels4 / UNIT4;
    let first_row = group.x * ROWS;
    let first_query = own.image * params.queries;
    let first_key = own.image * params.keys;
    let first_statistic = own.index * row_pitch();

    var row: array<u32, ROWS_PER_LANE>;
    var log_sum: array<f32, ROWS_PER_LANE>;
    var mean: array<f32, ROWS_PER_LANE>;
    for (var r = 0u; r < ROWS_PER_LANE; r++) {
        let token = min(first_row + r * LANES + lane, params.queries - 1u);
        row[r] = (first_query + token) * pitch + head;
        log_sum[r] = log_sum_exp[first_statistic + token];
        mean[r] = delta[first_statistic + token];
    }
    var column: array<u32, COLUMNS>;
    for (var j = 0u; j < COLUMNS; j++) {
        column[j] = head + min(lane + j * LANES, head_units - 1u);
    }
    var sum: array<Unit, ROWS * COLUMNS>;

    let keys_end = keys_before(first_row + ROWS);
    for (var block = 0u; block < keys_end; block += BLOCK) {
        let token = tokens_of(block, lane);
        let key = (first_key + min(token, vec4<u32>(params.keys - 1u))) * pitch + head;
        var score: array<vec4<f32>, ROWS>;
        var slope: array<vec4<f32>, ROWS>;
        for (var c = 0u; c < head_units; c++) {
            let b = across(unit_of(k[key.x + c]), unit_of(k[key.y + c]), unit_of(k[key.z + c]), unit_of(k[key.w + c]));
            let d = across(unit_of(v[key.x + c]), unit_of(v[key.y + c]), unit_of(v[key.z + c]), unit_of(v[key.w + c]));
            for (var r = 0u; r < ROWS_PER_LANE; r++) {
                let query_value = unit_of(q[row[r] + c]);
                let gradient = unit_of(dy[row[r] + c]);
                for (var i = 0u; i < LANES; i++) {
                    let at = r * LANES + i;
                    score[at] += product(query_value, i, b);
                    slope[at] += product(gradient, i, d);
                }
            }
        }

        let unseen = queries_before(first_row, token);
        for (var r = 0u; r < ROWS_PER_LANE; r++) {
            for (var i = 0u; i < LANES; i++) {
                let at = r * LANES + i;
                let weight = exp(params.scale * score[at] - subgroupShuffle(log_sum[r], i));
                let ds = params.scale * weight * (slope[at] - subgroupShuffle(mean[r], i));
                slope[at] = select(vec4<f32>(), ds, unseen <= vec4<u32>(at));
            }
        }

        for (var l = 0u; l < LANES; l++) {
            for (var j = 0u; j < COLUMNS; j++) {
                var b: Columns;
                for (var s = 0u; s < 4u; s++) {
                    let token = min(block + s * LANES + l, params.keys - 1u);
                    insert(&b, s, unit_of(k[(first_key + token) * pitch + column[j]]));
                }
                for (var i = 0u; i < ROWS; i++) {
                    sum[i * COLUMNS + j] = added(sum[i * COLUMNS + j], subgroupShuffle(slope[i], l), b);
                }
            }
        }
    }

    for (var i = 0u; i < ROWS; i++) {
        for (var j = 0u; j < COLUMNS; j++) {
            if first_row + i < params.queries && lane + j * LANES < head_units {
                let index = (first_query + first_row + i) * pitch + column[j];
                dq[UNIT4 * index] = first_four(sum[i * COLUMNS + j]);
                if UNIT4 == 2u {
                    dq[UNIT4 * index + 1u] = second_four(sum[i * COLUMNS + j]);
                }
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
    let head = own.first4 / UNIT4;
    let head_units = params.head4 / UNIT4;
    let pitch = params.channels4 / UNIT4;
    let first_row = group.x * ROWS;
    let first_query = own.image * params.queries;
    let first_key = own.image * params.keys;

    var row: array<u32, ROWS_PER_LANE>;
    for (var r = 0u; r < ROWS_PER_LANE; r++) {
        let token = min(first_row + r * LANES + lane, params.keys - 1u);
        row[r] = (first_key + token) * pitch + head;
    }
    var column: array<u32, COLUMNS>;
    for (var j = 0u; j < COLUMNS; j++) {
        column[j] = head + min(lane + j * LANES, head_units - 1u);
    }
    var key_sum: array<Unit, ROWS * COLUMNS>;
    var value_sum: array<Unit, ROWS * COLUMNS>;

    for (var block = first_query_of(first_row, BLOCK); block < params.queries; block += BLOCK) {
        let token = min(tokens_of(block, lane), vec4<u32>(params.queries - 1u));
        let query = (first_query + token) * pitch + head;
        let at = own.index * row_pitch() + token;
        let log_sum = vec4<f32>(log_sum_exp[at.x], log_sum_exp[at.y], log_sum_exp[at.z], log_sum_exp[at.w]);
        let mean = vec4<f32>(delta[at.x], delta[at.y], delta[at.z], delta[at.w]);
        var weight: array<vec4<f32>, ROWS>;
        var slope: array<vec4<f32>, ROWS>;
        for (var c = 0u; c < head_units; c++) {
            let b = across(unit_of(q[query.x + c]), unit_of(q[query.y + c]), unit_of(q[query.z + c]), unit_of(q[query.w + c]));
            let d =
                across(unit_of(dy[query.x + c]), unit_of(dy[query.y + c]), unit_of(dy[query.z + c]), unit_of(dy[query.w + c]));
            for (var r = 0u; r < ROWS_PER_LANE; r++) {
                let key = unit_of(k[row[r] + c]);
                let value = unit_of(v[row[r] + c]);
                for (var i = 0u; i < LANES; i++) {
                    let at = r * LANES + i;
                    weight[at] += product(key, i, b);
                    slope[at] += product(value, i, d);
                }
            }
        }

        let seen_keys = keys_seen(first_row, tokens_of(block, lane));
        for (var i = 0u; i < ROWS; i++) {
            let seen = vec4<u32>(i) < seen_keys;
            weight[i] = select(vec4<f32>(), exp(params.scale * weight[i] - log_sum), seen);
            slope[i] = params.scale * weight[i] * (slope[i] - mean);
        }

        for (var l = 0u; l < LANES; l++) {
            for (var j = 0u; j < COLUMNS; j++) {
                var b: Columns;
                var d: Columns;
                for (var s = 0u; s < 4u; s++) {
                    let token = first_query + min(block + s * LANES + l, params.queries - 1u);
                    insert(&b, s, unit_of(q[token * pitch + column[j]]));
                    insert(&d, s, unit_of(dy[token * pitch + column[j]]));
                }
                for (var i = 0u; i < ROWS; i++) {
                    let at = i * COLUMNS + j;
                    key_sum[at] = added(key_sum[at], subgroupShuffle(slope[i], l), b);
                    value_sum[at] = added(value_sum[at], subgroupShuffle(weight[i], l), d);
                }
            }
        }
    }

    for (var i = 0u; i < ROWS; i++) {
        for (var j = 0u; j < COLUMNS; j++) {
            // With a function for each store lavapipe takes 1.5 times as long.
            if first_row + i < params.keys && lane + j * LANES < head_units {
                let index = (first_key + first_row + i) * pitch + column[j];
                dk[UNIT4 * index] = first_four(key_sum[i * COLUMNS + j]);
                if UNIT4 == 2u {
                    dk[UNIT4 * index + 1u] = second_four(key_sum[i * COLUMNS + j]);
                }
                dv[UNIT4 * index] = first_four(value_sum[i * COLUMNS + j]);
                if UNIT4 == 2u {
                    dv[UNIT4 * index + 1u] = second_four(value_sum[i * COLUMNS + j]);
                }
            }
        }
    }
}

// The body of the attention kernels for subgroups. The importer binds the tensors and says what a Unit of channels is (fours
// or eights).
// import: attention

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
    let head = own.first4 / UNIT4;
    let head_units = params.head4 / UNIT4;
    let pitch = params.pitch4 / UNIT4;
    let first_query = group.x * ROWS;
    let first_key = own.image * params.keys;

    var query: array<u32, ROWS_PER_LANE>;
    for (var r = 0u; r < ROWS_PER_LANE; r++) {
        let token = min(first_query + r * LANES + lane, params.queries - 1u);
        query[r] = (own.image * params.queries + token) * pitch + head;
    }
    var column: array<u32, COLUMNS>;
    for (var j = 0u; j < COLUMNS; j++) {
        column[j] = head + min(lane + j * LANES, head_units - 1u);
    }
    var sum: array<Unit, ROWS * COLUMNS>;
    // Of a row: its maximum, and the lane's share of the sum of its weights.
    var maximum: array<f32, ROWS>;
    var total: array<f32, ROWS>;
    for (var i = 0u; i < ROWS; i++) {
        maximum[i] = LOWEST;
    }

    let keys_end = keys_before(first_query + ROWS);
    for (var block = 0u; block < keys_end; block += KEYS) {
        var key: array<u32, 4>;
        for (var s = 0u; s < 4u; s++) {
            let token = min(block + s * LANES + lane, params.keys - 1u);
            key[s] = (first_key + token) * pitch + params.k_first4 / UNIT4 + head;
        }
        var weight: array<vec4<f32>, ROWS>;
        for (var c = 0u; c < head_units; c++) {
            var a: array<Unit, ROWS_PER_LANE>;
            for (var r = 0u; r < ROWS_PER_LANE; r++) {
                a[r] = unit_of(q[query[r] + c]);
            }
            let b = across(unit_of(k[key[0] + c]), unit_of(k[key[1] + c]), unit_of(k[key[2] + c]), unit_of(k[key[3] + c]));
            for (var r = 0u; r < ROWS_PER_LANE; r++) {
                for (var i = 0u; i < LANES; i++) {
                    weight[r * LANES + i] += product(a[r], i, b);
                }
            }
        }

        let token = vec4<u32>(block + lane) + LANES * vec4<u32>(0u, 1u, 2u, 3u);
        let unseen = queries_before(first_query, token);
        for (var i = 0u; i < ROWS; i++) {
            let seen = unseen <= vec4<u32>(i);
            let score = select(vec4<f32>(LOWEST), params.scale * weight[i], seen);
            let highest = max(max(score.x, score.y), max(score.z, score.w));
            let new_maximum = max(maximum[i], subgroupMax(highest));
            let factor = exp(maximum[i] - new_maximum);
            weight[i] = exp(score - new_maximum);
            total[i] = fma(total[i], factor, dot(weight[i], vec4<f32>(1.0)));
            maximum[i] = new_maximum;
            for (var j = 0u; j < COLUMNS; j++) {
                sum[i * COLUMNS + j] = scaled(factor, sum[i * COLUMNS + j]);
            }
        }

        for (var l = 0u; l < LANES; l++) {
            for (var j = 0u; j < COLUMNS; j++) {
                var b: Columns;
                for (var s = 0u; s < 4u; s++) {
                    let token = min(block + s * LANES + l, params.keys - 1u);
                    insert(&b, s, unit_of(v[(first_key + token) * pitch + params.v_first4 / UNIT4 + column[j]]));
                }
                for (var i = 0u; i < ROWS; i++) {
                    sum[i * COLUMNS + j] = added(sum[i * COLUMNS + j], subgroupShuffle(weight[i], l), b);
                }
            }
        }
    }

    let first_row = own.index * row_pitch();
    for (var i = 0u; i < ROWS; i++) {
        let token = first_query + i;
        let row_total = subgroupAdd(total[i]);
        if token < params.queries {
            for (var j = 0u; j < COLUMNS; j++) {
                if lane + j * LANES < head_units {
                    let index = (own.image * params.queries + token) * (params.channels4 / UNIT4) + column[j];
                    let value = scaled(1.0 / row_total, sum[i * COLUMNS + j]);
                    y[UNIT4 * index] = first_four(value);
                    if UNIT4 == 2u {
                        y[UNIT4 * index + 1u] = second_four(value);
                    }
                }
            }
        }
        if lane == 0u && token < row_pitch() {
            log_sum_exp[first_row + token] = select(0.0, maximum[i] + log_of_sum(row_total), token < params.queries);
        }
    }
}

// Layer normalization over the channels of each row: Ba, Kiros and Hinton 2016, eq. 3.
//   y = xhat weight + bias    with xhat = (x - mean) rstd, rstd = 1 / sqrt(variance + eps)
//   dx = rstd (g - mean(g) - xhat mean(g xhat))    with g = weight dy and means over a row
//   dweight = sum over rows of dy xhat,   dbias = sum over rows of dy
// forward, backward: a workgroup per row; the variance is that about the mean, in a second pass, and the mean is taken
// about the first channel, from which numbers near it differ exactly however large they are.  parameters: a workgroup sums
// COLUMNS vec4 of columns, LANES invocations a column, over the rows of one slot; `fold_slots` adds the slots in order.
// import: reduce, mask
// iterations: forward = 3 * channels4.div_ceil(WORKGROUP) + 4 + 2 * halvings(WORKGROUP)
// iterations: backward = 2 * channels4.div_ceil(WORKGROUP) + 3 + halvings(WORKGROUP)
// iterations: parameters = slot_rows.div_ceil(LANES) + 1 + halvings(LANES)

struct Params {
    /// Rows of `x`.
    rows: u32,
    /// Channels of a row.
    channels: u32,
    /// vec4s of a row.
    channels4: u32,
    /// parameters: rows that a slot adds.
    slot_rows: u32,
    /// Added to the variance.
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<activation4>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<activation4>;
// [rows, 2]: (mean, rstd).
@group(0) @binding(5) var<storage, read_write> statistics_out: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> statistics: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> dy: array<activation4>;
@group(0) @binding(5) var<storage, read_write> dx: array<activation4>;
@group(0) @binding(6) var<storage, read_write> dweight: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> dbias: array<vec4<f32>>;

override WORKGROUP: u32 = 64u;

fn add_lanes(v: vec4<f32>) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}

@compute @workgroup_size(WORKGROUP)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * groups.x + group.x;
    // The whole workgroup leaves, so the barriers below stay uniform.
    if row >= params.rows { return; }
    let first = row * params.channels4;
    let share = 1.0 / f32(params.channels);
    let pivot = widen_activation(x[first]).x;
    var sum = vec4<f32>();
    for (var i = lane; i < params.channels4; i += WORKGROUP) {
        sum += mask_channels(widen_activation(x[first + i]) - pivot, i, params.channels);
    }
    let offset = share * add_lanes(reduce_sum(lane, sum));
    var squares = vec4<f32>();
    for (var i = lane; i < params.channels4; i += WORKGROUP) {
        let deviation = mask_channels(widen_activation(x[first + i]) - pivot - offset, i, params.channels);
        squares += deviation * deviation;
    }
    let rstd = inverseSqrt(share * add_lanes(reduce_sum(lane, squares)) + params.eps);
    for (var i = lane; i < params.channels4; i += WORKGROUP) {
        let value = (widen_activation(x[first + i]) - pivot - offset) * rstd * weight[i] + bias[i];
        y[first + i] = narrow_activation(mask_channels(value, i, params.channels));
    }
    if lane == 0u {
        statistics_out[row] = vec4<f32>(pivot + offset, rstd, 0.0, 0.0);
    }
}

@compute @workgroup_size(WORKGROUP)
fn backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * groups.x + group.x;
    if row >= params.rows { return; }
    let first = row * params.channels4;
    let known = statistics[row];
    // Lanes behind the last channel add nothing, for dy is zero there.
    var sums = vec2<f32>();
    for (var i = lane; i < params.channels4; i += WORKGROUP) {
        let slope = weight[i] * widen_activation(dy[first + i]);
        let xhat = (widen_activation(x[first + i]) - known.x) * known.y;
        sums += vec2<f32>(add_lanes(slope), add_lanes(slope * xhat));
    }
    let means = reduce_sum(lane, vec4<f32>(sums, 0.0, 0.0)).xy / f32(params.channels);
    for (var i = lane; i < params.channels4; i += WORKGROUP) {
        let slope = weight[i] * widen_activation(dy[first + i]);
        let xhat = (widen_activation(x[first + i]) - known.x) * known.y;
        let value = known.y * (slope - means.x - xhat * means.y);
        dx[first + i] = narrow_activation(mask_channels(value, i, params.channels));
    }
}

override COLUMNS: u32 = 8u;
override LANES: u32 = 8u;
var<workgroup> sums_of_products: array<vec4<f32>, COLUMNS * LANES>;
var<workgroup> sums_of_slopes: array<vec4<f32>, COLUMNS * LANES>;

@compute @workgroup_size(COLUMNS, LANES)
fn parameters(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let column = group.x * COLUMNS + local.x;
    let inside = column < params.channels4;
    let begin = group.y * params.slot_rows;
    let end = min(begin + params.slot_rows, params.rows);
    var products = vec4<f32>();
    var slopes = vec4<f32>();
    if inside {
        for (var row = begin + local.y; row < end; row += LANES) {
            let known = statistics[row];
            let slope = widen_activation(dy[row * params.channels4 + column]);
            products += slope * ((widen_activation(x[row * params.channels4 + column]) - known.x) * known.y);
            slopes += slope;
        }
    }
    let place = local.y * COLUMNS + local.x;
    sums_of_products[place] = products;
    sums_of_slopes[place] = slopes;
    for (var half = LANES / 2u; half > 0u; half >>= 1u) {
        workgroupBarrier();
        if local.y < half {
            sums_of_products[place] += sums_of_products[place + half * COLUMNS];
            sums_of_slopes[place] += sums_of_slopes[place + half * COLUMNS];
        }
    }
    if inside && local.y == 0u {
        dweight[group.y * params.channels4 + column] = sums_of_products[place];
        dbias[group.y * params.channels4 + column] = sums_of_slopes[place];
    }
}

// Cross-entropy of a softmax with one right class per row, and its gradient.
//   loss = factor * sum over rows of (log sum_k exp(logits[k]) - logits[label])
//   dlogits[k] = factor * dloss * (softmax(logits)[k] - (k is the label))
// with factor 1 / rows.  The largest logit is taken out of the exponentials, so none overflows and their sum is at
// least 1.  row_sums: a workgroup per row; forward: one workgroup adds the rows' losses, a fixed tree; backward: one
// invocation per vec4.  A label past the classes counts as the last one.
// import: reduce, invocation
// import: mask, finite
// iterations: row_sums = 2 * classes4.div_ceil(WORKGROUP) + 2 + 2 * halvings(WORKGROUP)
// iterations: forward = rows.div_ceil(WORKGROUP) + 1 + halvings(WORKGROUP)

struct Params {
    /// Rows of logits.
    rows: u32,
    /// Logits of a row.
    classes: u32,
    /// vec4s of a row.
    classes4: u32,
    /// What the sum over rows is multiplied by.
    factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<activation4>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
// Of each row: the largest logit, the sum of exp(logit - largest), the loss, 0.
@group(0) @binding(3) var<storage, read_write> sums_out: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> sums: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> loss: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> dloss: array<f32>;
@group(0) @binding(5) var<storage, read_write> dlogits: array<activation4>;

override WORKGROUP: u32 = 64u;

// The largest of the lanes' values, known to every lane.
fn reduce_largest(lane: u32, value: vec4<f32>) -> f32 {
    reduce_scratch[lane] = value;
    for (var stride = WORKGROUP / 2u; stride > 0u; stride /= 2u) {
        workgroupBarrier();
        if lane < stride {
            reduce_scratch[lane] = max(reduce_scratch[lane], reduce_scratch[lane + stride]);
        }
    }
    workgroupBarrier();
    let top = reduce_scratch[0];
    workgroupBarrier();
    return max(max(top.x, top.y), max(top.z, top.w));
}

fn in_row(channel4: u32) -> vec4<bool> {
    return vec4<u32>(4u * channel4) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.classes);
}

fn label_of(row: u32) -> u32 {
    return min(labels[row], params.classes - 1u);
}

@compute @workgroup_size(WORKGROUP)
fn row_sums(@builtin(workgroup_id) group_id: vec3<u32>, @builtin(num_workgroups) num_workgroups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
    let row = group_id.y * num_workgroups.x + group_id.x;
    // The whole workgroup leaves, so the barriers below stay uniform.
    if row >= params.rows {
        return;
    }
    let first = row * params.classes4;
    var top = vec4<f32>(widen_activation(logits[first]).x);
    for (var channel4 = lane; channel4 < params.classes4; channel4 += WORKGROUP) {
        let x = widen_activation(logits[first + channel4]);
        top = max(top, select(top, x, in_row(channel4)));
    }
    let largest = reduce_largest(lane, top);
    var powers = vec4<f32>();
    for (var channel4 = lane; channel4 < params.classes4; channel4 += WORKGROUP) {
        let below = widen_activation(logits[first + channel4]) - largest;
        // A driver's exponential may end at a finite number.
        powers += mask_channels(select(exp(below), below, not_a_number(below)), channel4, params.classes);
    }
    let total = reduce_sum(lane, powers);
    if lane == 0u {
        let sum = (total.x + total.y) + (total.z + total.w);
        let label = label_of(row);
        let x = widen_activation(logits[first + label / 4u]);
        // And so may its logarithm.
        let logarithm = select(log(sum), sum, not_a_number(vec4<f32>(sum)).x);
        sums_out[row] = vec4<f32>(largest, sum, logarithm + (largest - x[label % 4u]), 0.0);
    }
}

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var row = lane; row < params.rows; row += WORKGROUP) {
        sum += sums[row].z;
    }
    let total = reduce_sum(lane, vec4<f32>(sum)).x;
    if lane == 0u {
        loss[0] = vec4<f32>(params.factor * total, 0.0, 0.0, 0.0);
    }
}

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = invocation(id, groups);
    let row = index / params.classes4;
    if row >= params.rows {
        return;
    }
    let channel4 = index - row * params.classes4;
    let found = sums[row];
    let share = exp(widen_activation(logits[index]) - found.x) / found.y;
    let right = vec4<u32>(4u * channel4) + vec4<u32>(0u, 1u, 2u, 3u) == vec4<u32>(label_of(row));
    let gradient = params.factor * dloss[0] * (share - select(vec4<f32>(), vec4<f32>(1.0), right));
    dlogits[index] = narrow_activation(mask_channels(gradient, channel4, params.classes));
}

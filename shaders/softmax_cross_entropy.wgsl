// Cross-entropy of a softmax with one right class per row, and its gradient.
//   loss = factor * sum over rows of (log sum_k exp(logits[k]) - logits[label])
//   dlogits[k] = factor * dloss * (softmax(logits)[k] - (k is the label))
// with factor 1 / rows.  The largest logit is taken out of the exponentials, so none overflows and their sum is at
// least 1.  forward: one workgroup, each lane a strided part of the rows, then a fixed tree; backward: one invocation
// per row.  A label past the classes counts as the last one.
// import: reduce
// import: mask
// iterations: row = 2 * classes4 + 4
// iterations: forward = rows.div_ceil(WORKGROUP) * (row + 1) + 1 + halvings(WORKGROUP)
// iterations: backward = row + classes4 + 1

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
@group(0) @binding(3) var<storage, read_write> loss: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> dloss: array<f32>;
@group(0) @binding(4) var<storage, read_write> dlogits: array<activation4>;

override WORKGROUP: u32 = 64u;

// The largest logit of a row, and the sum of exp(logit - largest).
fn row_sum(row: u32) -> vec2<f32> {
    let first = row * params.classes4;
    var top = vec4<f32>(widen_activation(logits[first]).x);
    for (var channel4 = 0u; channel4 < params.classes4; channel4++) {
        let x = widen_activation(logits[first + channel4]);
        top = max(top, select(top, x, in_row(channel4)));
    }
    let largest = max(max(top.x, top.y), max(top.z, top.w));
    var sum = vec4<f32>();
    for (var channel4 = 0u; channel4 < params.classes4; channel4++) {
        let x = widen_activation(logits[first + channel4]);
        sum += mask_channels(exp(x - largest), channel4, params.classes);
    }
    return vec2<f32>(largest, (sum.x + sum.y) + (sum.z + sum.w));
}

fn in_row(channel4: u32) -> vec4<bool> {
    return vec4<u32>(4u * channel4) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.classes);
}

fn label_of(row: u32) -> u32 {
    return min(labels[row], params.classes - 1u);
}

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var row = lane; row < params.rows; row += WORKGROUP) {
        let found = row_sum(row);
        let label = label_of(row);
        let x = widen_activation(logits[row * params.classes4 + label / 4u]);
        sum += log(found.y) + (found.x - x[label % 4u]);
    }
    let total = reduce_sum(lane, vec4<f32>(sum)).x;
    if lane == 0u {
        loss[0] = vec4<f32>(params.factor * total, 0.0, 0.0, 0.0);
    }
}

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(workgroup_id) group_id: vec3<u32>, @builtin(num_workgroups) num_workgroups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
    let row = (group_id.y * num_workgroups.x + group_id.x) * WORKGROUP + lane;
    if row >= params.rows {
        return;
    }
    let found = row_sum(row);
    let label = label_of(row);
    let scale = params.factor * dloss[0];
    for (var channel4 = 0u; channel4 < params.classes4; channel4++) {
        let index = row * params.classes4 + channel4;
        let share = exp(widen_activation(logits[index]) - found.x) / found.y;
        let right = vec4<u32>(4u * channel4) + vec4<u32>(0u, 1u, 2u, 3u) == vec4<u32>(label);
        let gradient = scale * (share - select(vec4<f32>(), vec4<f32>(1.0), right));
        dlogits[index] = narrow_activation(mask_channels(gradient, channel4, params.classes));
    }
}

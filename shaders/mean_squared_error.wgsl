// Mean-squared error and its gradient.
//   loss = factor * sum of (prediction - expected)^2,   dprediction = 2 * factor * dloss * (prediction - expected)
// with factor 1 / elements, or 1 / batch for the sum over an image.  Ho et al. 2020, eq. 14.
// parts: each of at most 256 workgroups sums a strided part; fold: one workgroup adds those sums.  Both are fixed trees.
// import: reduce, invocation
// iterations: parts = vectors.div_ceil((groups * WORKGROUP).max(1)) + 1 + halvings(WORKGROUP)
// iterations: fold = groups.div_ceil(WORKGROUP) + 1 + halvings(WORKGROUP)

struct Params {
    /// vec4s of the prediction.
    vectors: u32,
    /// Workgroups of `parts`.
    groups: u32,
    /// What the sum of squares is multiplied by.
    factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> prediction: array<activation4>;
@group(0) @binding(2) var<storage, read> expected: array<activation4>;
@group(0) @binding(3) var<storage, read_write> partials: array<f32>;
@group(0) @binding(1) var<storage, read> sums: array<f32>;
@group(0) @binding(2) var<storage, read_write> loss: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> dloss: array<f32>;
@group(0) @binding(4) var<storage, read_write> dprediction: array<activation4>;

override WORKGROUP: u32 = 256u;

@compute @workgroup_size(WORKGROUP)
fn parts(@builtin(workgroup_id) group_id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    var sum = vec4<f32>();
    for (var index = group_id.x * WORKGROUP + lane; index < params.vectors; index += params.groups * WORKGROUP) {
        let difference = widen_activation(prediction[index]) - widen_activation(expected[index]);
        sum += difference * difference;
    }
    let total = reduce_sum(lane, sum);
    if lane == 0u {
        partials[group_id.x] = (total.x + total.y) + (total.z + total.w);
    }
}

@compute @workgroup_size(WORKGROUP)
fn fold(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var index = lane; index < params.groups; index += WORKGROUP) {
        sum += sums[index];
    }
    let total = reduce_sum(lane, vec4<f32>(sum)).x;
    if lane == 0u {
        loss[0] = vec4<f32>(params.factor * total, 0.0, 0.0, 0.0);
    }
}

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = invocation(id, groups);
    if index >= params.vectors {
        return;
    }
    let difference = widen_activation(prediction[index]) - widen_activation(expected[index]);
    dprediction[index] = narrow_activation(2.0 * params.factor * dloss[0] * difference);
}

// Squared errors image by image, each weighted by its timestep, and their gradient.
//   losses[i] = weights[t[i]] * factor * sum over image i of (prediction - expected)^2
//   dprediction = 2 * weights[t[i]] * factor * dlosses[i] * (prediction - expected)
// forward: a workgroup per image, a fixed tree.  backward: one invocation per vec4.
// import: reduce, image_vector
// iterations: forward = vectors.div_ceil(WORKGROUP) + 2 + halvings(WORKGROUP)

struct Params {
    /// Images.
    batch: u32,
    /// vec4s of one image.
    vectors: u32,
    /// Timesteps that have a weight.
    count: u32,
    /// What the sum of an image's squares is multiplied by.
    factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> prediction: array<activation4>;
@group(0) @binding(2) var<storage, read> expected: array<activation4>;
@group(0) @binding(3) var<storage, read> timesteps: array<f32>;
@group(0) @binding(4) var<storage, read> weights: array<f32>;
@group(0) @binding(5) var<storage, read_write> losses: array<f32>;
@group(0) @binding(5) var<storage, read> dlosses: array<f32>;
@group(0) @binding(6) var<storage, read_write> dprediction: array<activation4>;

override WORKGROUP: u32 = 128u;

fn weight_of(image: u32) -> f32 {
    return params.factor * weights[min(u32(timesteps[image]), params.count - 1u)];
}

@compute @workgroup_size(WORKGROUP)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let image = group.y * groups.x + group.x;
    var sum = vec4<f32>();
    var weight = 0.0;
    // The vector of losses is written whole, its pad lanes as zeros.
    if image < params.batch {
        weight = weight_of(image);
        for (var i = lane; i < params.vectors; i += WORKGROUP) {
            let index = image * params.vectors + i;
            let difference = widen_activation(prediction[index]) - widen_activation(expected[index]);
            sum += difference * difference;
        }
    }
    let total = reduce_sum(lane, sum);
    if lane == 0u && image < (params.batch + 3u) / 4u * 4u {
        losses[image] = weight * ((total.x + total.y) + (total.z + total.w));
    }
}

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let own = image_vector_of(id, groups);
    if !own.inside {
        return;
    }
    let index = own.index;
    let difference = widen_activation(prediction[index]) - widen_activation(expected[index]);
    dprediction[index] = narrow_activation(2.0 * weight_of(own.image) * dlosses[own.image] * difference);
}

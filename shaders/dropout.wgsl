// Dropout: zero with probability `rate`, else x / (1 - rate).  Srivastava et al. 2014.
// The mask comes from a counter, so the gradient is the same map applied to dy with the same key.
// One invocation per vec4.
// import: random, image_vector
// iterations: forward = 11

struct Params {
    /// Images.
    batch: u32,
    /// vec4s of one image.
    vectors: u32,
    /// Which of the model's random streams.
    stream: u32,
    /// A random word below this drops its element: rate * 2^32.
    threshold: u32,
    /// 1 / (1 - rate).
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<activation4>;
@group(0) @binding(2) var<storage, read> key: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> y: array<activation4>;

override WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let own = image_vector_of(id, groups);
    if !own.inside {
        return;
    }
    let words = random_words(key[0], own.vector, own.image, params.stream);
    let kept = select(vec4<f32>(), params.scale * widen_activation(x[own.index]), words >= vec4<u32>(params.threshold));
    y[own.index] = narrow_activation(kept);
}

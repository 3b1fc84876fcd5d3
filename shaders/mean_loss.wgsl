// The mean of the losses of images, each times its factor, and its gradient.
//   loss = mean of factors[i] * losses[i],   dlosses[i] = dloss * factors[i] / images
// forward: one workgroup, a fixed tree.  backward: one invocation per image.
// import: reduce
// iterations: forward = batch.div_ceil(WORKGROUP) + 1 + halvings(WORKGROUP)

struct Params {
    /// Images.
    batch: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> losses: array<f32>;
@group(0) @binding(2) var<storage, read> factors: array<f32>;
@group(0) @binding(3) var<storage, read_write> loss: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> dloss: array<f32>;
@group(0) @binding(3) var<storage, read_write> dlosses: array<f32>;

override WORKGROUP: u32 = 128u;
override HAS_FACTORS: bool = false;

fn factor_of(image: u32) -> f32 {
    if HAS_FACTORS {
        return factors[image] / f32(params.batch);
    }
    return 1.0 / f32(params.batch);
}

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var image = lane; image < params.batch; image += WORKGROUP) {
        sum += factor_of(image) * losses[image];
    }
    let total = reduce_sum(lane, vec4<f32>(sum)).x;
    if lane == 0u {
        loss[0] = vec4<f32>(total, 0.0, 0.0, 0.0);
    }
}

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= (params.batch + 3u) / 4u * 4u {
        return;
    }
    dlosses[id.x] = select(0.0, dloss[0] * factor_of(id.x), id.x < params.batch);
}

// A number of each image of a step, kept micro-batch by micro-batch: kept[first + i] = x[i].
// One invocation per image of the micro-batch.

struct Params {
    /// Images of the micro-batch.
    batch: u32,
    /// Images of the step.
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
// (seed low, seed high, step, first image)
@group(0) @binding(2) var<storage, read> key: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> kept: array<f32>;

override WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let image = id.y * groups.x * WORKGROUP + id.x;
    // Without a sum, which wraps round.
    if image >= params.batch || key[0].w >= params.count || image >= params.count - key[0].w {
        return;
    }
    kept[key[0].w + image] = x[image];
}

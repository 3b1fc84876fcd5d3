// The sum of a step's micro-batches: sum += scale * x, of the first of them sum = scale * x, whatever lay there before.
// The first is the one whose key begins below image `round`.  One invocation per vec4.
// import: invocation

struct Params {
    /// vec4s of the sum.
    vectors: u32,
    /// What is added is multiplied by this.
    scale: f32,
    /// Images of the first micro-batches of all ranks.
    round: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
// (seed low, seed high, step, first image)
@group(0) @binding(2) var<storage, read> key: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> sum: array<vec4<f32>>;

override WORKGROUP: u32 = 256u;

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = invocation(id, groups);
    if index >= params.vectors {
        return;
    }
    let added = params.scale * x[index];
    if key[0].w < params.round {
        sum[index] = added;
    } else {
        sum[index] += added;
    }
}

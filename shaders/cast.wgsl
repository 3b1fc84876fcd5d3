// From one storage type to another: y = x, rounded once.  One invocation per vec4; x is read as an activation, y written as a weight.

struct Params {
    /// vec4s of x.
    vectors: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<activation4>;
@group(0) @binding(2) var<storage, read_write> y: array<weight4>;

override WORKGROUP: u32 = 256u;

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(workgroup_id) group_id: vec3<u32>, @builtin(num_workgroups) num_workgroups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    let index = (group_id.y * num_workgroups.x + group_id.x) * WORKGROUP + lane;
    if index < params.vectors {
        y[index] = narrow_weight(widen_activation(x[index]));
    }
}

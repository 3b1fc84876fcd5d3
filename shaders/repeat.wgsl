// A tensor twice along its outermost axis: y = [x, x].
// One invocation per vec4, written to both places.
// import: invocation

struct Params {
    /// vec4s of `x`.
    vectors: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<activation4>;
@group(0) @binding(2) var<storage, read_write> y: array<activation4>;

override WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation(id, groups);
    if i >= params.vectors {
        return;
    }
    let value = x[i];
    y[i] = value;
    y[params.vectors + i] = value;
}

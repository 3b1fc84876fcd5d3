// Sum of two tensors: y = a + b.
// One vec4 per invocation.

struct Params {
    /// `vec4`s in `y`.
    vectors: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<activation4>;
@group(0) @binding(2) var<storage, read> b: array<activation4>;
@group(0) @binding(3) var<storage, read_write> y: array<activation4>;

override WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = (group.y * groups.x + group.x) * WORKGROUP + local;
    if i >= params.vectors { return; }
    y[i] = narrow_activation(widen_activation(a[i]) + widen_activation(b[i]));
}

// Sum of two tensors: y = a + b.
// One vec4 per invocation.
// import: elementwise

@group(0) @binding(1) var<storage, read> a: array<activation4>;
@group(0) @binding(2) var<storage, read> b: array<activation4>;
@group(0) @binding(3) var<storage, read_write> y: array<activation4>;

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation(id, groups);
    if i < params.vectors { y[i] = narrow_activation(widen_activation(a[i]) + widen_activation(b[i])); }
}

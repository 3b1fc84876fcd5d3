// From one storage type to another: y = x, rounded once.  One invocation per vec4; x is read as an activation, y written as a weight.
// import: elementwise

@group(0) @binding(1) var<storage, read> x: array<activation4>;
@group(0) @binding(2) var<storage, read_write> y: array<weight4>;

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation(id, groups);
    if i < params.vectors { y[i] = narrow_weight(widen_activation(x[i])); }
}

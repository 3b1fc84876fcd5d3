// Rectified linear unit, elementwise: Nair and Hinton 2010, section 2.1.
//   y  = x where x > 0, else 0
//   dx = dy where x > 0, else 0
// One vec4 per invocation.
// import: finite, elementwise

@group(0) @binding(1) var<storage, read> x: array<activation4>;
@group(0) @binding(2) var<storage, read> dy: array<activation4>;
@group(0) @binding(3) var<storage, read_write> y: array<activation4>;
@group(0) @binding(3) var<storage, read_write> dx: array<activation4>;

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation(id, groups);
    if i < params.vectors {
        let v = widen_activation(x[i]);
        y[i] = narrow_activation(select(max(v, vec4<f32>()), v, not_a_number(v)));
    }
}

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation(id, groups);
    if i < params.vectors {
        let slope = select(vec4<f32>(), vec4<f32>(1.0), widen_activation(x[i]) > vec4<f32>());
        dx[i] = narrow_activation(widen_activation(dy[i]) * slope);
    }
}

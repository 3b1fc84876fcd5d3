// Hyperbolic tangent, elementwise: LeCun et al. 1998, "Efficient BackProp", section 4.4, without its factors.
//   y  = tanh(x)
//   dx = dy (1 - y^2)
// With t = exp(-2 |x|), |y| = (1 - t) / (1 + t) and 1 - y^2 = 4 t / (1 + t)^2: nothing overflows.  One vec4 per invocation.
// import: elementwise

@group(0) @binding(1) var<storage, read> x: array<activation4>;
@group(0) @binding(2) var<storage, read> dy: array<activation4>;
@group(0) @binding(3) var<storage, read_write> y: array<activation4>;
@group(0) @binding(3) var<storage, read_write> dx: array<activation4>;

fn value(v: vec4<f32>) -> vec4<f32> {
    let t = exp(-2.0 * abs(v));
    return sign(v) * (1.0 - t) / (1.0 + t);
}

fn slope(v: vec4<f32>) -> vec4<f32> {
    let t = exp(-2.0 * abs(v));
    return 4.0 * t / ((1.0 + t) * (1.0 + t));
}

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation(id, groups);
    if i < params.vectors { y[i] = narrow_activation(value(widen_activation(x[i]))); }
}

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation(id, groups);
    if i < params.vectors { dx[i] = narrow_activation(widen_activation(dy[i]) * slope(widen_activation(x[i]))); }
}

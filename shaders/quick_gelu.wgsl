// The linear unit that approximates the normal distribution by a sigmoid, elementwise: Hendrycks and Gimpel 2016, section 2.
//   y  = x s                          with s = 1 / (1 + exp(-1.702 x))
//   dx = dy (s + 1.702 x s (1 - s))
// One vec4 per invocation.
// import: silu, elementwise

@group(0) @binding(1) var<storage, read> x: array<activation4>;
@group(0) @binding(2) var<storage, read> dy: array<activation4>;
@group(0) @binding(3) var<storage, read_write> y: array<activation4>;
@group(0) @binding(3) var<storage, read_write> dx: array<activation4>;

const SLOPE = 1.702;

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation(id, groups);
    if i < params.vectors { y[i] = narrow_activation(silu(SLOPE * widen_activation(x[i])) / SLOPE); }
}

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation(id, groups);
    if i < params.vectors { dx[i] = narrow_activation(widen_activation(dy[i]) * silu_slope(SLOPE * widen_activation(x[i]))); }
}

// A tensor of one number.
// One vec4 per invocation.
// import: invocation

struct Params {
    /// `vec4`s in `y`.
    vectors: u32,
    /// `vec4`s from one row to the next.
    pitch: u32,
    /// Logical elements of a row; the pad lanes after them stay zero.
    columns: u32,
    /// The number.
    number: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<activation4>;

override WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation(id, groups);
    if i >= params.vectors { return; }
    let column = vec4<u32>(i % params.pitch * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
    let inside = column < vec4<u32>(params.columns);
    y[i] = narrow_activation(select(vec4<f32>(0.0), vec4<f32>(params.number), inside));
}

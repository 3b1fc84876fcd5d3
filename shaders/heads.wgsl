// Heads whose size is not a multiple of four share a vec4: moves tokens to a layout where each head begins at a vec4, its
// pad lanes zero, and back.
// Tiling: one invocation per vec4 written.
// import: invocation
// iterations: separate = 5
// iterations: join = 5

struct Params {
    /// Tokens of all images.
    tokens: u32,
    /// Heads of a token.
    heads: u32,
    /// Channels of a head.
    head_size: u32,
    /// vec4s of a token whose heads touch.
    channels4: u32,
    /// vec4s of a head that stands apart.
    head4: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> together: array<activation4>;
@group(0) @binding(2) var<storage, read_write> apart_out: array<activation4>;
@group(0) @binding(1) var<storage, read> apart: array<activation4>;
@group(0) @binding(2) var<storage, read_write> together_out: array<activation4>;

override WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn separate(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = invocation(id, groups);
    let head_row = index / params.head4;
    let token = head_row / params.heads;
    if token >= params.tokens {
        return;
    }
    let first = 4u * (index - head_row * params.head4);
    let head = head_row - token * params.heads;
    var value = vec4<f32>();
    for (var i = 0u; i < min(4u, params.head_size - first); i++) {
        let channel = head * params.head_size + first + i;
        value[i] = widen_activation(together[token * params.channels4 + channel / 4u])[channel % 4u];
    }
    apart_out[index] = narrow_activation(value);
}

@compute @workgroup_size(WORKGROUP)
fn join(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = invocation(id, groups);
    let token = index / params.channels4;
    if token >= params.tokens {
        return;
    }
    let first = 4u * (index - token * params.channels4);
    var value = vec4<f32>();
    for (var i = 0u; i < min(4u, params.heads * params.head_size - first); i++) {
        let head = (first + i) / params.head_size;
        let channel = first + i - head * params.head_size;
        let row = (token * params.heads + head) * params.head4;
        value[i] = widen_activation(apart[row + channel / 4u])[channel % 4u];
    }
    together_out[index] = narrow_activation(value);
}

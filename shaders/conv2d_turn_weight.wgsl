// Transposes the taps of a convolution weight and turns the kernel by half a circle, for the input gradient:
//   turned[taps - 1 - tap, o, c] = weight[tap, c, o]
// Tiling: one invocation per tap and block of 4 x 4 weights.
// import: invocation
// iterations: forward = 10

struct Params {
    /// Taps of the kernel: height times width.
    taps: u32,
    /// Input channels: rows of a tap of `weight`.
    in_channels: u32,
    /// Output channels: rows of a tap of `turned`.
    out_channels: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weight: array<weight4>;
@group(0) @binding(2) var<storage, read_write> turned: array<weight4>;

override WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let block = invocation(id, groups);
    let in4 = (params.in_channels + 3u) / 4u;
    let out4 = (params.out_channels + 3u) / 4u;
    let row = block / in4;
    let tap = row / out4;
    if tap >= params.taps {
        return;
    }
    let c = (block - row * in4) * 4u;
    let o = (row - tap * out4) * 4u;
    var m: mat4x4<f32>;
    for (var i = 0u; i < 4u; i++) {
        if c + i < params.in_channels {
            m[i] = widen_weight(weight[(tap * params.in_channels + c + i) * out4 + o / 4u]);
        }
    }
    let t = transpose(m);
    let first = (params.taps - 1u - tap) * params.out_channels + o;
    for (var i = 0u; i < 4u; i++) {
        if o + i < params.out_channels {
            turned[(first + i) * in4 + c / 4u] = narrow_weight(t[i]);
        }
    }
}

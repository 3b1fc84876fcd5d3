// y = scale * x + shift, elementwise.  One invocation per vec4 and ROWS rows; the pad lanes stay zero whatever the shift.
// import: mask, invocation
// tile: ROWS = 4
// iterations: forward = ROWS + 1

struct Params {
    /// Pixels of all images.
    rows: u32,
    /// Channels of a pixel.
    channels: u32,
    /// vec4s of a pixel.
    channels4: u32,
    /// The slope.
    scale: f32,
    /// The value at zero.
    shift: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<activation4>;
@group(0) @binding(2) var<storage, read_write> y: array<activation4>;

override WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = invocation(id, groups);
    let strip = index / params.channels4;
    let channel4 = index - strip * params.channels4;
    let last = min(strip * ROWS + ROWS, params.rows);
    for (var row = strip * ROWS; row < last; row++) {
        let i = row * params.channels4 + channel4;
        y[i] = narrow_activation(mask_channels(params.scale * widen_activation(x[i]) + params.shift, channel4, params.channels));
    }
}

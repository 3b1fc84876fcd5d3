// Channels side by side, and a run of channels cut out.
//   forward: y = [x0, x1] along the channels; without x0, x1 with zeros before and after it
//   slice:   y = x1[start .. start + y_channels]
// One invocation per vec4 of y and ROWS rows.  A seam inside a vec4 shifts x1's lanes; the zeros in the pad lanes let the parts be added.
// import: mask, invocation
// tile: ROWS = 4
// iterations: forward = ROWS + 1
// iterations: slice = ROWS + 1

struct Params {
    /// Pixels of all images.
    rows: u32,
    /// forward: where x1 begins in y; slice: where y begins in x1.
    start: u32,
    /// vec4s of one row of x0.
    x0_channels4: u32,
    /// vec4s of one row of x1.
    x1_channels4: u32,
    /// vec4s of one row of y.
    y_channels4: u32,
    /// Channels of y.
    y_channels: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x0: array<activation4>;
@group(0) @binding(2) var<storage, read> x1: array<activation4>;
@group(0) @binding(3) var<storage, read_write> y: array<activation4>;

override HAS_X0: bool = false;
override WORKGROUP: u32 = 64u;

fn read_x1(row: u32, channel4: u32) -> vec4<f32> {
    // A negative number wraps round to a large one.
    if channel4 >= params.x1_channels4 {
        return vec4<f32>();
    }
    return widen_activation(x1[row * params.x1_channels4 + channel4]);
}

/// The channels `first` to `first + 3` of x1, zero outside.
fn channels_of_x1(row: u32, first: i32) -> vec4<f32> {
    let channel4 = bitcast<u32>(first >> 2u);
    let low = read_x1(row, channel4);
    let shift = first & 3;
    if shift == 0 {
        return low;
    }
    let high = read_x1(row, channel4 + 1u);
    if shift == 1 {
        return vec4<f32>(low.yzw, high.x);
    }
    if shift == 2 {
        return vec4<f32>(low.zw, high.xy);
    }
    return vec4<f32>(low.w, high.xyz);
}

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = invocation(id, groups);
    let strip = index / params.y_channels4;
    let channel4 = index - strip * params.y_channels4;
    let last = min(strip * ROWS + ROWS, params.rows);
    for (var row = strip * ROWS; row < last; row++) {
        var value = channels_of_x1(row, i32(4u * channel4) - i32(params.start));
        if HAS_X0 && channel4 < params.x0_channels4 {
            value += widen_activation(x0[row * params.x0_channels4 + channel4]);
        }
        y[row * params.y_channels4 + channel4] = narrow_activation(value);
    }
}

@compute @workgroup_size(WORKGROUP)
fn slice(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = invocation(id, groups);
    let strip = index / params.y_channels4;
    let channel4 = index - strip * params.y_channels4;
    let last = min(strip * ROWS + ROWS, params.rows);
    for (var row = strip * ROWS; row < last; row++) {
        let value = channels_of_x1(row, i32(4u * channel4 + params.start));
        y[row * params.y_channels4 + channel4] = narrow_activation(mask_channels(value, channel4, params.y_channels));
    }
}

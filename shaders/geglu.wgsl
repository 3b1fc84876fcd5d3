// Gated linear unit with GELU: Shazeer 2020, eq. 6, without the products.  The halves of a row of x are a and g.
//   y  = a gelu(g)
//   da = dy gelu(g),   dg = dy a gelu'(g)
// One invocation per vec4 of the result.  A seam inside a vec4 shifts the lanes of what lies behind it.
// import: gelu, mask, invocation

struct Params {
    /// Rows of x.
    rows: u32,
    /// Channels of y: half of those of x.
    channels: u32,
    /// vec4s of one row of x.
    x_channels4: u32,
    /// vec4s of one row of y.
    y_channels4: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<activation4>;
@group(0) @binding(2) var<storage, read> dy: array<activation4>;
@group(0) @binding(3) var<storage, read_write> y: array<activation4>;
@group(0) @binding(3) var<storage, read_write> dx: array<activation4>;

override WORKGROUP: u32 = 64u;

fn read_x(row: u32, channel4: u32) -> vec4<f32> {
    // A negative number wraps round to a large one.
    if channel4 >= params.x_channels4 {
        return vec4<f32>();
    }
    return widen_activation(x[row * params.x_channels4 + channel4]);
}

fn read_dy(row: u32, channel4: u32) -> vec4<f32> {
    if channel4 >= params.y_channels4 {
        return vec4<f32>();
    }
    return widen_activation(dy[row * params.y_channels4 + channel4]);
}

/// The four lanes from `shift` on of two neighbours.
fn lanes_from(low: vec4<f32>, high: vec4<f32>, shift: i32) -> vec4<f32> {
    if shift == 1 {
        return vec4<f32>(low.yzw, high.x);
    }
    if shift == 2 {
        return vec4<f32>(low.zw, high.xy);
    }
    if shift == 3 {
        return vec4<f32>(low.w, high.xyz);
    }
    return low;
}

/// The channels `first` to `first + 3` of x, zero outside.
fn channels_of_x(row: u32, first: i32) -> vec4<f32> {
    let channel4 = bitcast<u32>(first >> 2u);
    return lanes_from(read_x(row, channel4), read_x(row, channel4 + 1u), first & 3);
}

/// The channels `first` to `first + 3` of dy, zero outside.
fn channels_of_dy(row: u32, first: i32) -> vec4<f32> {
    let channel4 = bitcast<u32>(first >> 2u);
    return lanes_from(read_dy(row, channel4), read_dy(row, channel4 + 1u), first & 3);
}

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation(id, groups);
    let row = i / params.y_channels4;
    if row >= params.rows { return; }
    let channel4 = i - row * params.y_channels4;
    let gate = channels_of_x(row, i32(4u * channel4 + params.channels));
    let value = read_x(row, channel4) * gelu(gate);
    y[i] = narrow_activation(mask_channels(value, channel4, params.channels));
}

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation(id, groups);
    let row = i / params.x_channels4;
    if row >= params.rows { return; }
    let channel4 = i - row * params.x_channels4;
    let first = 4u * channel4;
    var value = vec4<f32>();
    if first < params.channels {
        let gate = channels_of_x(row, i32(first + params.channels));
        value = mask_channels(read_dy(row, channel4) * gelu(gate), channel4, params.channels);
    }
    if first + 4u > params.channels {
        // Where the seam lies inside this vec4 the lanes before it read before dy, which is zero.
        let behind = i32(first) - i32(params.channels);
        value += channels_of_dy(row, behind) * channels_of_x(row, behind) * gelu_slope(read_x(row, channel4));
    }
    dx[i] = narrow_activation(value);
}

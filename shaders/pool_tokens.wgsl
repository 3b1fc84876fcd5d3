// The tokens of attention pooling: the mean of an image's pixels before the pixels, each with its position added.
//   y[b, 0, c] = sum over p of x[b, p, c] / pixels + position[0, c],   y[b, 1 + p, c] = x[b, p, c] + position[1 + p, c]
//   dx[b, p, c] = dy[b, 1 + p, c] + dy[b, 0, c] / pixels
// Forward: a workgroup has COLUMNS vec4s of all pixels of an image; images lie along y, and along z too.  Backward: one
// invocation per vec4 of dx.
// import: invocation
// iterations: forward = pixels.div_ceil(LANES) + 1 + halvings(LANES)

struct Params {
    /// Images.
    batch: u32,
    /// Pixels of one image.
    pixels: u32,
    /// vec4s of one pixel.
    channels4: u32,
    /// 1 / pixels.
    share: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<activation4>;
@group(0) @binding(2) var<storage, read> position: array<activation4>;
@group(0) @binding(3) var<storage, read_write> y: array<activation4>;
@group(0) @binding(1) var<storage, read> dy: array<activation4>;
@group(0) @binding(2) var<storage, read_write> dx: array<activation4>;

override COLUMNS: u32 = 8u;
override LANES: u32 = 8u;
var<workgroup> sums: array<vec4<f32>, COLUMNS * LANES>;

@compute @workgroup_size(COLUMNS, LANES)
fn forward(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let image = group_id.z * groups.y + group_id.y;
    let channel4 = group_id.x * COLUMNS + local.x;
    let inside = channel4 < params.channels4 && image < params.batch;
    let first = image * (params.pixels + 1u) * params.channels4 + channel4;
    var sum = vec4<f32>();
    if inside {
        for (var pixel = local.y; pixel < params.pixels; pixel += LANES) {
            let value = widen_activation(x[(image * params.pixels + pixel) * params.channels4 + channel4]);
            let place = (pixel + 1u) * params.channels4;
            y[first + place] = narrow_activation(value + widen_activation(position[place + channel4]));
            sum += value;
        }
    }
    let slot = local.y * COLUMNS + local.x;
    sums[slot] = sum;
    for (var stride = LANES / 2u; stride > 0u; stride >>= 1u) {
        workgroupBarrier();
        if local.y < stride {
            sums[slot] += sums[slot + stride * COLUMNS];
        }
    }
    if inside && local.y == 0u {
        y[first] = narrow_activation(sums[slot] * params.share + widen_activation(position[channel4]));
    }
}

override WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = invocation(id, groups);
    let pixel = index / params.channels4;
    let channel4 = index - pixel * params.channels4;
    let image = pixel / params.pixels;
    if image >= params.batch {
        return;
    }
    // Image n has n tokens more than pixels before it, and its own mean.
    let own = widen_activation(dy[index + (image + 1u) * params.channels4]);
    let mean = widen_activation(dy[image * (params.pixels + 1u) * params.channels4 + channel4]);
    dx[index] = narrow_activation(own + params.share * mean);
}

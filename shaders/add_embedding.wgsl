// Adds one vector per image to every pixel, and the gradient of that vector.  Ho et al. 2020, appendix B.
//   y[b, p, c] = x[b, p, c] + embedding[b, c],   dembedding[b, c] = sum over p of dy[b, p, c]
// Forward: one invocation per vec4 and ROWS pixels.  Backward: a workgroup sums COLUMNS vec4s over all pixels of an image.
// Forward: images lie along y, and along z too where one axis is too short.  Backward: workgroups are folded into x and y.
// tile: ROWS = 4
// iterations: forward = ROWS + 1
// iterations: backward = pixels.div_ceil(LANES) + 1 + halvings(LANES)

struct Params {
    /// Images.
    batch: u32,
    /// Pixels of one image.
    pixels: u32,
    /// vec4s of one pixel.
    channels4: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<activation4>;
@group(0) @binding(2) var<storage, read> embedding: array<activation4>;
@group(0) @binding(3) var<storage, read_write> y: array<activation4>;
@group(0) @binding(1) var<storage, read> dy: array<activation4>;
@group(0) @binding(2) var<storage, read_write> dembedding: array<activation4>;

override WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let image = id.z * groups.y + id.y;
    let strip = id.x / params.channels4;
    let first = strip * ROWS;
    if first >= params.pixels || image >= params.batch {
        return;
    }
    let channel4 = id.x - strip * params.channels4;
    let addend = widen_activation(embedding[image * params.channels4 + channel4]);
    let last = min(first + ROWS, params.pixels);
    for (var pixel = first; pixel < last; pixel++) {
        let index = (image * params.pixels + pixel) * params.channels4 + channel4;
        y[index] = narrow_activation(widen_activation(x[index]) + addend);
    }
}

override COLUMNS: u32 = 8u;
override LANES: u32 = 32u;
var<workgroup> sums: array<vec4<f32>, COLUMNS * LANES>;

@compute @workgroup_size(COLUMNS, LANES)
fn backward(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let column_groups = (params.channels4 + COLUMNS - 1u) / COLUMNS;
    let slab = group_id.y * groups.x + group_id.x;
    let image = slab / column_groups;
    let channel4 = (slab - image * column_groups) * COLUMNS + local.x;
    let inside = channel4 < params.channels4 && image < params.batch;
    var sum = vec4<f32>();
    if inside {
        for (var pixel = local.y; pixel < params.pixels; pixel += LANES) {
            sum += widen_activation(dy[(image * params.pixels + pixel) * params.channels4 + channel4]);
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
        dembedding[image * params.channels4 + channel4] = narrow_activation(sums[slot]);
    }
}

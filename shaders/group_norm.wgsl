// Group normalization, alone or followed by SiLU, in three parts.  Wu and He 2018, eq. 1 to 4; merging of partial moments:
// Chan, Golub and LeVeque 1979, eq. 2.1.
//   y = (x - mean) * rstd * weight + bias    with mean and rstd over the pixels and channels of one group of one image
//     = x * scale + shift                    with scale = rstd * weight, shift = bias - mean * scale
// Tiling: an invocation owns four channels and one tile of pixels of an image; a workgroup folds the tiles of a group.
// import: pixel_tile, silu

struct Params {
    /// Images in `x`.
    batch: u32,
    /// Pixels of an image.
    pixels: u32,
    /// Channels of a pixel.
    channels: u32,
    /// vec4s of a pixel.
    channels4: u32,
    /// Groups of channels.
    groups: u32,
    /// Channels of a group.
    group_channels: u32,
    /// Channels of the first source, `first` or `x0`; `second` or `x1` holds the others.
    split: u32,
    /// Tiles of an image.
    tiles: u32,
    /// Pixels of a tile; the last one may have fewer.
    tile_pixels: u32,
    /// Of `moments`: pixels from one line of a tile to the next.
    line: u32,
    /// Of `moments`: pixels from one tile to the next.
    step: u32,
    /// Of `moments`: tiles side by side; the grid's z axis counts those above each other.
    tiles_across: u32,
    /// Added to the variance.
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<activation4>;
// [batch, tiles, 2, channels]: (mean, sum of squared deviations).
@group(0) @binding(1) var<storage, read> first: array<f32>;
@group(0) @binding(2) var<storage, read> second: array<f32>;
@group(0) @binding(2) var<storage, read_write> moments_out: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
// [batch, 2, channels]: (scale, shift).
@group(0) @binding(2) var<storage, read> affine: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> affine_out: array<f32>;
// [batch, groups, 2]: (mean, rstd).
@group(0) @binding(6) var<storage, read_write> statistics: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> x0: array<activation4>;
@group(0) @binding(4) var<storage, read> x1: array<activation4>;
@group(0) @binding(3) var<storage, read_write> y: array<activation4>;

override WORKGROUP: u32 = 64u;
/// Whether SiLU follows.
override SILU: bool = false;
override HAS_X1: bool = false;

// Lines of a tile of `moments`, and pixels of a line.
const EDGE = 4u;

// Moments of each tile about its first pixel: however large the mean, the sum of squares is at most as many times the sum
// of squared deviations that it is corrected to as the tile has pixels.
@compute @workgroup_size(WORKGROUP)
fn moments(@builtin(global_invocation_id) id: vec3<u32>) {
    let across = id.x / params.channels4;
    if across >= params.tiles_across {
        return;
    }
    let channel4 = id.x - across * params.channels4;
    let corner = id.z * EDGE * params.line + across * params.step;
    let image = id.y * params.pixels * params.channels4 + channel4;
    let first_at = image + corner * params.channels4;
    let pivot = widen_activation(x[first_at]);
    var sum = vec4<f32>();
    var squares = vec4<f32>();
    for (var row = 0u; row < EDGE; row++) {
        for (var column = 0u; column < EDGE; column++) {
            let pixel = corner + row * params.line + column;
            // Past the image's end the first pixel stands in, which adds nothing.
            let i = select(first_at, image + pixel * params.channels4, pixel < params.pixels);
            let delta = widen_activation(x[i]) - pivot;
            sum += delta;
            squares = fma(delta, delta, squares);
        }
    }
    let mean = sum / f32(min(EDGE * EDGE, params.pixels - corner));
    let tile = id.y * params.tiles + id.z * params.tiles_across + across;
    let out = 2u * tile * params.channels4 + channel4;
    moments_out[out] = pivot + mean;
    moments_out[out + params.channels4] = squares - sum * mean;
}

// Number of pixels, their mean (less a pivot) and the sum of their squared deviations from it.
struct Moments {
    count: f32,
    mean: f32,
    deviations: f32,
}

fn merge(a: Moments, b: Moments) -> Moments {
    let count = a.count + b.count;
    let delta = b.mean - a.mean;
    // Both may be empty.
    let share = delta * b.count / max(count, 1.0);
    return Moments(count, a.mean + share, a.deviations + b.deviations + a.count * delta * share);
}

var<workgroup> merged: array<Moments, WORKGROUP>;

fn tile_count(tile: u32) -> f32 {
    return f32(min(params.tile_pixels, params.pixels - tile * params.tile_pixels));
}

// Walks the (tile, channel) pairs of some channels, WORKGROUP apart, without a division on the way.
struct Walk {
    tile: u32,
    channel: u32,
}

fn walk_from(index: u32, channels: u32) -> Walk {
    let tile = index / channels;
    return Walk(tile, index - tile * channels);
}

fn walk_on(at: Walk, step: Walk, channels: u32) -> Walk {
    let channel = at.channel + step.channel;
    let wraps = channel >= channels;
    return Walk(at.tile + step.tile + select(0u, 1u, wraps), channel - select(0u, channels, wraps));
}

// One workgroup per image and group. Means are taken about a pivot near them, so that a large one costs no digits.
@compute @workgroup_size(WORKGROUP)
fn fold(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group_id.y * num_workgroups.x + group_id.x;
    if row >= params.batch * params.groups {
        return;
    }
    let image = row / params.groups;
    let group = row - image * params.groups;
    let begin = group * params.group_channels;
    let end = begin + params.group_channels;
    // The seam of a concatenation may cross the group.
    let seam = clamp(params.split, begin, end);
    let first_pitch = padded(params.split);
    let second_pitch = padded(params.channels - params.split);
    var pivot = 0.0;
    if begin < seam {
        pivot = first[2u * image * params.tiles * first_pitch + begin];
    } else {
        pivot = second[2u * image * params.tiles * second_pitch + begin - params.split];
    }

    var own = Moments(0.0, 0.0, 0.0);
    var at = walk_from(lane, seam - begin);
    var step = walk_from(WORKGROUP, seam - begin);
    for (var pair = lane; pair < params.tiles * (seam - begin); pair += WORKGROUP) {
        let i = 2u * (image * params.tiles + at.tile) * first_pitch + begin + at.channel;
        own = merge(own, Moments(tile_count(at.tile), first[i] - pivot, first[i + first_pitch]));
        at = walk_on(at, step, seam - begin);
    }
    at = walk_from(lane, end - seam);
    step = walk_from(WORKGROUP, end - seam);
    for (var pair = lane; pair < params.tiles * (end - seam); pair += WORKGROUP) {
        let i = 2u * (image * params.tiles + at.tile) * second_pitch + seam - params.split + at.channel;
        own = merge(own, Moments(tile_count(at.tile), second[i] - pivot, second[i + second_pitch]));
        at = walk_on(at, step, end - seam);
    }

    merged[lane] = own;
    for (var stride = WORKGROUP / 2u; stride > 0u; stride /= 2u) {
        workgroupBarrier();
        if lane < stride {
            merged[lane] = merge(merged[lane], merged[lane + stride]);
        }
    }
    workgroupBarrier();
    let mean = pivot + merged[0].mean;
    let rstd = inverseSqrt(merged[0].deviations / merged[0].count + params.eps);
    if lane == 0u {
        statistics[row] = vec4<f32>(mean, rstd, 0.0, 0.0);
    }
    // The last group writes the pad lanes too: weight and bias are zero there.
    let pitch = 4u * params.channels4;
    let last = select(end, pitch, group + 1u == params.groups);
    for (var channel = begin + lane; channel < last; channel += WORKGROUP) {
        let scale = rstd * weight[channel];
        affine_out[2u * image * pitch + channel] = scale;
        affine_out[(2u * image + 1u) * pitch + channel] = fma(-mean, scale, bias[channel]);
    }
}

fn padded(channels: u32) -> u32 {
    return (channels + 3u) / 4u * 4u;
}

// The channels of `x0`, then those of `x1`.
@compute @workgroup_size(WORKGROUP)
fn apply(@builtin(global_invocation_id) id: vec3<u32>) {
    let tile = tile_of(id);
    if !tile.inside {
        return;
    }
    let scale = affine[2u * id.y * params.channels4 + tile.channel4];
    let shift = affine[(2u * id.y + 1u) * params.channels4 + tile.channel4];
    let split4 = padded(params.split) / 4u;
    let in_x1 = HAS_X1 && tile.channel4 >= split4;
    let pitch = select(split4, params.channels4 - split4, in_x1);
    var source = tile.pixel * pitch + tile.channel4 - select(0u, split4, in_x1);
    for (var i = tile.first; i < tile.end; i += params.channels4) {
        var value = vec4<f32>();
        if in_x1 {
            value = widen_activation(x1[source]);
        } else {
            value = widen_activation(x0[source]);
        }
        value = fma(value, scale, shift);
        if SILU {
            value = silu(value);
        }
        y[i] = narrow_activation(value);
        source += pitch;
    }
}

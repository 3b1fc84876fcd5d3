// Group normalization, alone or followed by SiLU, in three parts.  Wu and He 2018, eq. 1 to 4; merging of partial moments:
// Chan, Golub and LeVeque 1979, eq. 2.1.
//   y = (x - mean) * rstd * weight + bias    with mean and rstd over the pixels and channels of one group of one image
//     = (x - center) * scale + shift         with center the nearest number to the mean, scale = rstd * weight,
//                                            shift = bias - (mean - center) * scale
// So a number near the mean, however large that is, loses no digits: the difference is exact.
// Tiling: an invocation owns four channels and one tile of pixels of an image; a workgroup folds the tiles of a group.
// import: pixel_tile, silu
// iterations: moments = 25
// iterations: vectors = (group_channels + 4 - (1 << group_channels.trailing_zeros().min(2))).div_ceil(4)
// iterations: fold = vectors * (tiles.div_ceil(LANES) + 2) + halvings(LANES) + (group_channels + 3).div_ceil(LANES) + 4
// iterations: apply = tile_pixels + 2

struct Params {
    /// Images.
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
    /// vec4s of a pixel in the first source, `first` or `x0`; `second` or `x1` holds the others.
    split4: u32,
    /// Tiles of an image.
    tiles: u32,
    /// Pixels of a tile; the last one may have fewer.
    tile_pixels: u32,
    /// Of `moments`: pixels from one line of a tile to the next.
    line: u32,
    /// Of `moments`: pixels from one tile to the next.
    step: u32,
    /// Of `moments`: tiles side by side.
    tiles_across: u32,
    /// Of `moments`: tiles above each other. The grid's z axis counts them, for each y axis full of images.
    tiles_down: u32,
    /// Added to the variance.
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<activation4>;
// [batch, tiles, 2, channels]: (mean, sum of squared deviations).
@group(0) @binding(1) var<storage, read> first: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> second: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> moments_out: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
// [batch, 3, channels]: (center, scale, shift).
@group(0) @binding(2) var<storage, read> affine: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> affine_out: array<f32>;
// [batch, groups, 2]: (mean, rstd).
@group(0) @binding(6) var<storage, read_write> statistics: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> x0: array<activation4>;
@group(0) @binding(4) var<storage, read> x1: array<activation4>;
@group(0) @binding(3) var<storage, read_write> y: array<activation4>;

override WORKGROUP: u32 = 64u;
/// Of `fold`: invocations that share the tiles of a group; a power of two.
override LANES: u32 = 1u;
/// Of `fold`: groups of a workgroup.
override ROWS: u32 = 8u;
/// Whether SiLU follows.
override SILU: bool = false;
override HAS_X1: bool = false;
override HAS_SECOND: bool = false;

// Lines of a tile of `moments`, and pixels of a line.
const EDGE = 4u;

// Moments of each tile about its first pixel: however large the mean, the sum of squares is at most as many times the sum
// of squared deviations that it is corrected to as the tile has pixels.
@compute @workgroup_size(WORKGROUP)
fn moments(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    // Software drivers read a uniform once for all lanes only where no branch can have stopped the first of them.
    let pixels = params.pixels;
    let line = params.line;
    let corner_step = params.step;
    let tiles = params.tiles;
    let fold = id.z / params.tiles_down;
    let down = id.z - fold * params.tiles_down;
    let n = fold * groups.y + id.y;
    let across = id.x / params.channels4;
    if across >= params.tiles_across || n >= params.batch {
        return;
    }
    let channel4 = id.x - across * params.channels4;
    let corner = down * EDGE * line + across * corner_step;
    let image = n * pixels * params.channels4 + channel4;
    let first_at = image + corner * params.channels4;
    let pivot = widen_activation(x[first_at]);
    var sum = vec4<f32>();
    var squares = vec4<f32>();
    for (var row = 0u; row < EDGE; row++) {
        for (var column = 0u; column < EDGE; column++) {
            let pixel = corner + row * line + column;
            // Past the image's end the first pixel stands in, which adds nothing.
            let i = select(first_at, image + pixel * params.channels4, pixel < pixels);
            let delta = widen_activation(x[i]) - pivot;
            sum += delta;
            squares = fma(delta, delta, squares);
        }
    }
    let mean = sum / f32(min(EDGE * EDGE, pixels - corner));
    let tile = n * tiles + down * params.tiles_across + across;
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

var<workgroup> merged: array<Moments, ROWS * LANES>;

// Where the moments of four channels lie: the mean in the first tile of an image, and vec4s from one row to the next.
struct Place {
    in_second: bool,
    at: u32,
    pitch: u32,
}

fn place_of(image: u32, channel4: u32) -> Place {
    let in_second = HAS_SECOND && channel4 >= params.split4;
    let pitch = select(params.split4, params.channels4 - params.split4, in_second);
    let column = channel4 - select(0u, params.split4, in_second);
    return Place(in_second, 2u * image * params.tiles * pitch + column, pitch);
}

fn moments_at(in_second: bool, i: u32) -> vec4<f32> {
    if in_second {
        return second[i];
    }
    return first[i];
}

// Those of four channels that count: `mean` and `deviations` of so many pixels each.
fn across_channels(pixels: f32, mean: vec4<f32>, deviations: vec4<f32>, counts: vec4<bool>) -> Moments {
    let ones = vec4<f32>(1.0);
    let channels = dot(select(vec4<f32>(), ones, counts), ones);
    let center = dot(select(vec4<f32>(), mean, counts), ones) / channels;
    let offset = select(vec4<f32>(), mean - center, counts);
    let within = dot(select(vec4<f32>(), deviations, counts), ones);
    return Moments(pixels * channels, center, fma(pixels, dot(offset, offset), within));
}

// LANES invocations per group and image. Means are taken about others near them: a large one costs no digits.
@compute @workgroup_size(LANES, ROWS)
fn fold(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_workgroups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) slot: u32,
) {
    let lane = local.x;
    // Past the last group and image there is work that nobody sees: barriers want everyone.
    let group = min(group_id.x * ROWS + local.y, params.groups - 1u);
    let own_image = group_id.z * num_workgroups.y + group_id.y;
    let image = min(own_image, params.batch - 1u);
    let begin = group * params.group_channels;
    let end = begin + params.group_channels;
    // Software drivers would repeat these loads in the loop.
    let tiles = params.tiles;
    let tile_pixels = params.tile_pixels;
    let image_pixels = params.pixels;

    let origin = place_of(image, begin / 4u);
    let pivot = moments_at(origin.in_second, origin.at)[begin % 4u];
    var own = Moments(0.0, 0.0, 0.0);
    for (var channel4 = begin / 4u; 4u * channel4 < end; channel4++) {
        let place = place_of(image, channel4);
        let shift = moments_at(place.in_second, place.at);
        var pixels = 0.0;
        var sum = vec4<f32>();
        var squares = vec4<f32>();
        var i = place.at + 2u * lane * place.pitch;
        for (var tile = lane; tile < tiles; tile += LANES) {
            let count = f32(min(tile_pixels, image_pixels - tile * tile_pixels));
            let offset = moments_at(place.in_second, i) - shift;
            pixels += count;
            sum += count * offset;
            squares += fma(count * offset, offset, moments_at(place.in_second, i + place.pitch));
            i += 2u * LANES * place.pitch;
        }
        let center = sum / max(pixels, 1.0);
        let channel = vec4<u32>(4u * channel4) + vec4<u32>(0u, 1u, 2u, 3u);
        let counts = (channel >= vec4<u32>(begin)) & (channel < vec4<u32>(end));
        own = merge(own, across_channels(pixels, shift - pivot + center, squares - sum * center, counts));
    }

    if LANES > 1u {
        merged[slot] = own;
        for (var stride = LANES / 2u; stride > 0u; stride /= 2u) {
            workgroupBarrier();
            if lane < stride {
                merged[slot] = merge(merged[slot], merged[slot + stride]);
            }
        }
        workgroupBarrier();
        own = merged[slot - lane];
    }
    if group_id.x * ROWS + local.y > group || own_image > image {
        return;
    }
    let mean = pivot + own.mean;
    // The clamp changes nothing, but keeps compilers that do not mind rounding from taking the difference for own.mean.
    let rest = own.mean - (clamp(mean, -3e38, 3e38) - pivot);
    let rstd = inverseSqrt(own.deviations / own.count + params.eps);
    if lane == 0u {
        statistics[image * params.groups + group] = vec4<f32>(mean, rstd, 0.0, 0.0);
    }
    // The last group writes the pad lanes too: weight and bias are zero there.
    let pitch = 4u * params.channels4;
    let last = select(end, pitch, group + 1u == params.groups);
    for (var channel = begin + lane; channel < last; channel += LANES) {
        let scale = rstd * weight[channel];
        let at = 3u * image * pitch + channel;
        affine_out[at] = select(0.0, mean, channel < end);
        affine_out[at + pitch] = scale;
        affine_out[at + 2u * pitch] = fma(-rest, scale, bias[channel]);
    }
}

// The channels of `x0`, then those of `x1`.
@compute @workgroup_size(WORKGROUP)
fn apply(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let tile = tile_of(id, groups);
    let split4 = params.split4;
    if !tile.inside {
        return;
    }
    let first = 3u * tile.image * params.channels4 + tile.channel4;
    let center = affine[first];
    let scale = affine[first + params.channels4];
    let shift = affine[first + 2u * params.channels4];
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
        value = fma(value - center, scale, shift);
        if SILU {
            value = silu(value);
        }
        y[i] = narrow_activation(value);
        source += pitch;
    }
}

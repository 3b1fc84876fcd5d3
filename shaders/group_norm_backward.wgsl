// Gradients of group normalization, alone or followed by SiLU, whose slope is then recomputed.  Wu and He 2018, eq. 1 to 4.
//   dx = rstd * (weight * dy - mean(weight * dy) - xhat * mean(weight * dy * xhat))    with xhat = (x - mean) * rstd
//      = scale * dy - slope * (x - mean) - offset    with scale = rstd * weight, slope = rstd^2 * mean(weight * dy * xhat)
//   dweight = sum(dy * xhat), dbias = sum(dy)
// Tiling: an invocation owns four channels and one tile of pixels of an image; a workgroup folds the tiles of a group.
// import: reduce, pixel_tile, silu
// iterations: sums = tile_pixels + 2
// iterations: vectors = (group_channels + 4 - (1 << group_channels.trailing_zeros().min(2))).div_ceil(4)
// iterations: group = vectors * (tiles.div_ceil(WORKGROUP) + 2) + (group_channels + 3).div_ceil(WORKGROUP) + 2
// iterations: columns = (batch * tiles).div_ceil(WORKGROUP) + 1
// iterations: fold = group + columns + 3 * halvings(WORKGROUP) + 4
// iterations: apply = tile_pixels + 2

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
    /// Tiles of an image.
    tiles: u32,
    /// Pixels of a tile; the last one may have fewer.
    tile_pixels: u32,
    /// Groups per channel: the reciprocal of `group_channels`.
    channel_groups: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<activation4>;
// [batch, groups, 2]: (mean, rstd).
@group(0) @binding(2) var<storage, read> statistics: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> weight: array<vec4<f32>>;
// Nothing depends on it without SILU.
@group(0) @binding(4) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> dy: array<activation4>;
// [batch, tiles, 2, channels]: sums of (dy, dy * xhat).
@group(0) @binding(6) var<storage, read> partials: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> partials_out: array<vec4<f32>>;
// [batch, 5, channels]: mean, scale and shift of the normalization, slope and offset of its gradient.
@group(0) @binding(7) var<storage, read> coefficients: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> coefficients_out: array<f32>;
@group(0) @binding(8) var<storage, read_write> dx: array<activation4>;
@group(0) @binding(9) var<storage, read> residual: array<activation4>;
@group(0) @binding(8) var<storage, read_write> dweight: array<vec4<f32>>;
@group(0) @binding(9) var<storage, read_write> dbias: array<vec4<f32>>;

override WORKGROUP: u32 = 64u;
/// Whether SiLU follows, and dy is the gradient of what comes out of that.
override SILU: bool = false;
override HAS_RESIDUAL: bool = false;

// (mean, rstd) of the groups of four channels; pad lanes get the last channel's.
struct Statistics {
    mean: vec4<f32>,
    rstd: vec4<f32>,
}

fn statistics_of(image: u32, channel4: u32) -> Statistics {
    let channel = min(vec4<u32>(4u * channel4) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(params.channels - 1u));
    // Half a channel keeps the quotient away from whole numbers, so that rounding does not matter.
    let group = vec4<u32>((vec4<f32>(channel) + 0.5) * params.channel_groups);
    let row = image * params.groups + group;
    let a = statistics[row.x];
    let b = statistics[row.y];
    let c = statistics[row.z];
    let d = statistics[row.w];
    return Statistics(vec4<f32>(a.x, b.x, c.x, d.x), vec4<f32>(a.y, b.y, c.y, d.y));
}

// The gradient of the normalized tensor where x is `offset` from the mean: dy, or dy through SiLU.
fn gradient_at(i: u32, offset: vec4<f32>, scale: vec4<f32>, shift: vec4<f32>) -> vec4<f32> {
    let gradient = widen_activation(dy[i]);
    if SILU {
        return gradient * silu_slope(fma(offset, scale, shift));
    }
    return gradient;
}

// Sums of dy and dy * xhat over each tile.
@compute @workgroup_size(WORKGROUP)
fn sums(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let tile = tile_of(id, groups);
    if !tile.inside {
        return;
    }
    let moments = statistics_of(tile.image, tile.channel4);
    let scale = moments.rstd * weight[tile.channel4];
    let shift = bias[tile.channel4];
    var sum = vec4<f32>();
    var product = vec4<f32>();
    for (var i = tile.first; i < tile.end; i += params.channels4) {
        let offset = widen_activation(x[i]) - moments.mean;
        let gradient = gradient_at(i, offset, scale, shift);
        sum += gradient;
        product = fma(gradient, offset, product);
    }
    partials_out[tile.partial] = sum;
    partials_out[tile.partial + params.channels4] = product * moments.rstd;
}

// One workgroup per image and group, then one per four channels for dweight and dbias: both only read the partials.
@compute @workgroup_size(WORKGROUP)
fn fold(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) num_workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group_id.y * num_workgroups.x + group_id.x;
    let rows = params.batch * params.groups;
    if row < rows {
        fold_group(row, lane);
    } else if row - rows < params.channels4 {
        fold_batch(row - rows, lane);
    }
}

fn fold_group(row: u32, lane: u32) {
    let image = row / params.groups;
    let group = row - image * params.groups;
    let first = group * params.group_channels;
    let last = first + params.group_channels;
    var sum = vec2<f32>();
    for (var channel4 = first / 4u; 4u * channel4 < last; channel4++) {
        let channel = vec4<u32>(4u * channel4) + vec4<u32>(0u, 1u, 2u, 3u);
        let counts = (channel >= vec4<u32>(first)) & (channel < vec4<u32>(last));
        let share = select(vec4<f32>(), weight[channel4], counts);
        for (var tile = lane; tile < params.tiles; tile += WORKGROUP) {
            let i = 2u * (image * params.tiles + tile) * params.channels4 + channel4;
            sum += vec2<f32>(dot(share, partials[i]), dot(share, partials[i + params.channels4]));
        }
    }
    let means = reduce_sum(lane, vec4<f32>(sum, 0.0, 0.0)) / f32(params.pixels * params.group_channels);

    let moments = statistics[row];
    let slope = moments.y * moments.y * means.y;
    let offset = moments.y * means.x;
    let pitch = 4u * params.channels4;
    // The last group writes the pad lanes too.
    let end = select(last, pitch, group + 1u == params.groups);
    for (var channel = first + lane; channel < end; channel += WORKGROUP) {
        let inside = channel < params.channels;
        let scale = moments.y * weight[channel / 4u][channel % 4u];
        let at = 5u * image * pitch + channel;
        coefficients_out[at] = select(0.0, moments.x, inside);
        coefficients_out[at + pitch] = scale;
        coefficients_out[at + 2u * pitch] = bias[channel / 4u][channel % 4u];
        coefficients_out[at + 3u * pitch] = select(0.0, slope, inside);
        coefficients_out[at + 4u * pitch] = select(0.0, offset, inside);
    }
}

fn fold_batch(channel4: u32, lane: u32) {
    var sum = vec4<f32>();
    var product = vec4<f32>();
    for (var row = lane; row < params.batch * params.tiles; row += WORKGROUP) {
        sum += partials[2u * row * params.channels4 + channel4];
        product += partials[(2u * row + 1u) * params.channels4 + channel4];
    }
    let total_sum = reduce_sum(lane, sum);
    let total_product = reduce_sum(lane, product);
    if lane == 0u {
        dbias[channel4] = total_sum;
        dweight[channel4] = total_product;
    }
}

@compute @workgroup_size(WORKGROUP)
fn apply(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let tile = tile_of(id, groups);
    if !tile.inside {
        return;
    }
    let at = 5u * tile.image * params.channels4 + tile.channel4;
    let mean = coefficients[at];
    let scale = coefficients[at + params.channels4];
    let shift = coefficients[at + 2u * params.channels4];
    let slope = coefficients[at + 3u * params.channels4];
    let offset = coefficients[at + 4u * params.channels4];
    for (var i = tile.first; i < tile.end; i += params.channels4) {
        let from_mean = widen_activation(x[i]) - mean;
        let gradient = gradient_at(i, from_mean, scale, shift);
        var value = fma(scale, gradient, -fma(slope, from_mean, offset));
        if HAS_RESIDUAL {
            value += widen_activation(residual[i]);
        }
        dx[i] = narrow_activation(value);
    }
}

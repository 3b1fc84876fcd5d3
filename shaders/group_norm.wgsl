// Group normalization.  Wu and He 2018, eq. 1 to 4; merging of partial moments: Chan, Golub and LeVeque 1979, eq. 2.1.
//   y  = xhat * weight + bias    with xhat = (x - mean) * rstd, both over the pixels and channels of one group of one image
//   dx = rstd * (weight * dy - mean(weight * dy) - xhat * mean(weight * dy * xhat))
//   dweight = sum(dy * xhat), dbias = sum(dy)
// Tiling: an invocation owns four channels and one tile of pixels of an image; a workgroup folds the tiles of a group.
// import: reduce, pixel_tile

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
    /// Added to the variance.
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<activation4>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<activation4>;
// [batch, groups, 2]: (mean, rstd).
@group(0) @binding(5) var<storage, read> statistics: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> statistics_out: array<vec4<f32>>;
// [batch, tiles, 2, channels]: (mean, sum of squared deviations) forward, sums of (dy, dy * xhat) backward.
@group(0) @binding(6) var<storage, read> partials: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> partials_out: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> dy: array<activation4>;
@group(0) @binding(4) var<storage, read_write> dx: array<activation4>;
// [batch, groups, 2]: means of (weight * dy, weight * dy * xhat).
@group(0) @binding(7) var<storage, read> means: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> means_out: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> dweight: array<vec4<f32>>;
@group(0) @binding(9) var<storage, read_write> dbias: array<vec4<f32>>;

override WORKGROUP: u32 = 64u;

// The rows of `channel4` in a [batch, groups, 2] array. Pad lanes get the last channel's: their weight and dy are zero.
struct Rows {
    first: vec4<f32>,
    second: vec4<f32>,
}

fn group_of(channel4: u32, lane: u32) -> u32 {
    return min(4u * channel4 + lane, params.channels - 1u) / params.group_channels;
}

fn statistics_of(image: u32, channel4: u32) -> Rows {
    var rows: Rows;
    for (var lane = 0u; lane < 4u; lane++) {
        let row = statistics[image * params.groups + group_of(channel4, lane)];
        rows.first[lane] = row.x;
        rows.second[lane] = row.y;
    }
    return rows;
}

fn means_of(image: u32, channel4: u32) -> Rows {
    var rows: Rows;
    for (var lane = 0u; lane < 4u; lane++) {
        let row = means[image * params.groups + group_of(channel4, lane)];
        rows.first[lane] = row.x;
        rows.second[lane] = row.y;
    }
    return rows;
}

// Walks the (tile, channel) pairs of one group, WORKGROUP apart, without a division on the way.
struct Walk {
    tile: u32,
    channel: u32,
}

fn walk_from(index: u32) -> Walk {
    let tile = index / params.group_channels;
    return Walk(tile, index - tile * params.group_channels);
}

fn walk_on(at: Walk, step: Walk) -> Walk {
    let channel = at.channel + step.channel;
    let wraps = channel >= params.group_channels;
    return Walk(
        at.tile + step.tile + select(0u, 1u, wraps),
        channel - select(0u, params.group_channels, wraps),
    );
}

// Row `row` (0 or 1) of the partials of one tile of an image, one channel.
fn partial(image: u32, tile: u32, row: u32, channel: u32) -> f32 {
    let first = (2u * (image * params.tiles + tile) + row) * params.channels4;
    return partials[first + channel / 4u][channel % 4u];
}

// Mean and sum of squared deviations of each tile, by Welford's recurrence.
@compute @workgroup_size(WORKGROUP)
fn moments(@builtin(global_invocation_id) id: vec3<u32>) {
    let tile = tile_of(id);
    if !tile.inside {
        return;
    }
    var count = 0.0;
    var mean = vec4<f32>();
    var deviations = vec4<f32>();
    for (var i = tile.first; i < tile.end; i += params.channels4) {
        count += 1.0;
        let value = widen_activation(x[i]);
        let delta = value - mean;
        mean += delta * (1.0 / count);
        deviations += delta * (value - mean);
    }
    partials_out[tile.partial] = mean;
    partials_out[tile.partial + params.channels4] = deviations;
}

// Merges the tiles of a group: about a pivot near the mean, so that a large mean costs no digits.
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
    let first = (row - image * params.groups) * params.group_channels;
    let step = walk_from(WORKGROUP);
    let elements = f32(params.pixels * params.group_channels);
    let pivot = partial(image, 0u, 0u, first);

    var sum = 0.0;
    for (var at = walk_from(lane); at.tile < params.tiles; at = walk_on(at, step)) {
        let count = min(params.tile_pixels, params.pixels - at.tile * params.tile_pixels);
        sum += f32(count) * (partial(image, at.tile, 0u, first + at.channel) - pivot);
    }
    let mean = pivot + reduce_sum(lane, vec4<f32>(sum)).x / elements;

    sum = 0.0;
    for (var at = walk_from(lane); at.tile < params.tiles; at = walk_on(at, step)) {
        let count = min(params.tile_pixels, params.pixels - at.tile * params.tile_pixels);
        let delta = partial(image, at.tile, 0u, first + at.channel) - mean;
        sum += partial(image, at.tile, 1u, first + at.channel) + f32(count) * delta * delta;
    }
    let variance = reduce_sum(lane, vec4<f32>(sum)).x / elements;
    if lane == 0u {
        statistics_out[row] = vec4<f32>(mean, inverseSqrt(variance + params.eps), 0.0, 0.0);
    }
}

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>) {
    let tile = tile_of(id);
    if !tile.inside {
        return;
    }
    let rows = statistics_of(id.y, tile.channel4);
    let scale = rows.second * weight[tile.channel4];
    let shift = bias[tile.channel4];
    for (var i = tile.first; i < tile.end; i += params.channels4) {
        y[i] = narrow_activation(fma(widen_activation(x[i]) - rows.first, scale, shift));
    }
}

// Sums of dy and dy * xhat over each tile.
@compute @workgroup_size(WORKGROUP)
fn sums(@builtin(global_invocation_id) id: vec3<u32>) {
    let tile = tile_of(id);
    if !tile.inside {
        return;
    }
    let rows = statistics_of(id.y, tile.channel4);
    var sum = vec4<f32>();
    var product = vec4<f32>();
    for (var i = tile.first; i < tile.end; i += params.channels4) {
        let gradient = widen_activation(dy[i]);
        sum += gradient;
        product = fma(gradient, widen_activation(x[i]) - rows.first, product);
    }
    partials_out[tile.partial] = sum;
    partials_out[tile.partial + params.channels4] = product * rows.second;
}

// One workgroup per image and group, then one per four channels for dweight and dbias: both only read the partials.
@compute @workgroup_size(WORKGROUP)
fn fold_sums(
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
    let first = (row - image * params.groups) * params.group_channels;
    let step = walk_from(WORKGROUP);
    var sum = vec2<f32>();
    for (var at = walk_from(lane); at.tile < params.tiles; at = walk_on(at, step)) {
        let channel = first + at.channel;
        let terms = vec2<f32>(partial(image, at.tile, 0u, channel), partial(image, at.tile, 1u, channel));
        sum += weight[channel / 4u][channel % 4u] * terms;
    }
    let total = reduce_sum(lane, vec4<f32>(sum, 0.0, 0.0));
    if lane == 0u {
        means_out[row] = total / f32(params.pixels * params.group_channels);
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
fn backward(@builtin(global_invocation_id) id: vec3<u32>) {
    let tile = tile_of(id);
    if !tile.inside {
        return;
    }
    let rows = statistics_of(id.y, tile.channel4);
    let mean_of = means_of(id.y, tile.channel4);
    let scale = weight[tile.channel4];
    // Pad lanes of x and dy are zero, but not the means: the last vec4 is masked.
    let lanes = 4u * tile.channel4 + vec4<u32>(0u, 1u, 2u, 3u);
    let rstd = select(vec4<f32>(), rows.second, lanes < vec4<u32>(params.channels));
    for (var i = tile.first; i < tile.end; i += params.channels4) {
        let xhat = (widen_activation(x[i]) - rows.first) * rows.second;
        let inner = fma(scale, widen_activation(dy[i]), -fma(xhat, mean_of.second, mean_of.first));
        dx[i] = narrow_activation(rstd * inner);
    }
}

// Convolution in both directions, as conv2d_subgroup.wgsl has it (the same sum and bindings), for devices
// without a small subgroup of fixed size.
// Tiling: LANES invocations, up to eight beside each other, compute ROWS pixels of a phase by COLUMNS4 vec4s of channels; 16
// channels of x and of weight at a time stand in workgroup memory, in f32 (8 KiB for 64 by 64) or in f16, and are multiplied so
// (shared/factors_*.wgsl). Where such tiles are few for the device, several workgroups share one: each sums a part of the
// channels (`split`), and the sums are added in the order of the parts (`fold`), so that a result does not depend on who
// finished first. `batched` multiplies a pair of matrices for each z of the grid, in f32: the places of minimal filtering
// (winograd.wgsl).
// What is read of x may be a concatenation, whose second part takes the binding of the residual: eight buffers are WebGPU's
// limit. It may be normalized, activated and upsampled on the way (shared/tiled_input.wgsl).
// Sixteen pixels that follow each other belong to neighbouring rows of invocations; where moments are wanted they are a square of 4 x 4.
// One file, though long: the entries share one loop over the channels.
// tile: ROWS = 64 Pixels of a workgroup.
// tile: COLUMNS4 = 16 vec4s of channels of a workgroup.
// tile: LANES = 64 Invocations of a workgroup.
// tile: SLOTS = 1 Parts of the channels of x that are added.
// import: phases, tiled_input, factors_f32
// iterations: down = kernel_height.div_ceil(spread.max(1))
// iterations: across = kernel_width.div_ceil(spread.max(1))
// iterations: sums = down + down * across * (6 * in_channels.div_ceil(16) + 2) + down
// iterations: forward = sums + 84
// iterations: split = sums + 24
// iterations: batched = sums + 24
// iterations: fold = SLOTS + 34

@group(0) @binding(1) var<storage, read> x: array<activation4>;
@group(0) @binding(2) var<storage, read> weight: array<weight4>;

// [batch, squares of 4x4 pixels, 2, out_channels]: mean, and sum of squared deviations from it.
@group(0) @binding(7) var<storage, read_write> moments: array<vec4<f32>>;
// Sums of each part of the channels, as they are written and read: [SLOTS, batch, out_height, out_width, out_channels]; or of
// each pair of matrices, [pairs, rows, out_channels].
@group(0) @binding(9) var<storage, read_write> parts: array<vec4<f32>>;
@group(0) @binding(9) var<storage, read> partial: array<vec4<f32>>;
/// Whether `x` is the first part of a concatenation.
override JOINED: bool = false;
/// Whether `weight` is that of the other direction: read transposed, its kernel turned by half a circle.
override TURNED: bool = false;

// Invocations beside each other, rows of them, and what each computes.
const ACROSS = min(COLUMNS4, 8u);
const LINES = LANES / ACROSS;
const PIXELS = ROWS / LINES;
const VECTORS = COLUMNS4 / ACROSS;
// Invocations that fetch channels of one pixel.
const SHARED = LANES / ROWS;
const DEPTH4 = 4u;
// Rows of weights that invocations fetch at a time.
const FETCHED = LANES / COLUMNS4;
// Pixels whose moments are taken, and rows of invocations that hold them.
const SQUARE = 16u;
const HOLDERS = SQUARE / PIXELS;
// vec4s of channels that a workgroup of the fold takes.
const FOLDED4 = LANES / SQUARE;

var<workgroup> x_tile: array<factor4, DEPTH4 * ROWS>;
var<workgroup> weight_tile: array<factor4, max(4u * DEPTH4 * COLUMNS4, LANES)>;
var<workgroup> places: array<u32, ROWS>;

fn second_at(place: u32) -> vec4<f32> {
    return widen_activation(residual[place]);
}

// Four channels of `x`, from `o4` on, by four of `y`, from `column` on, of a turned weight whose tap begins at `row`.
fn turned_weights(row: u32, o4: u32, column: u32) -> mat4x4<f32> {
    let in_channels4 = (params.in_channels + 3u) / 4u;
    var rows: mat4x4<f32>;
    for (var i = 0u; i < 4u; i++) {
        let channel = 4u * column + i;
        let weights = widen_weight(weight[(row + min(channel, params.out_channels - 1u)) * in_channels4 + o4]);
        rows[i] = select(vec4<f32>(), weights, channel < params.out_channels);
    }
    return transpose(rows);
}

// The tile's sums, an invocation's rows LINES apart and its vec4s of channels ACROSS; of the channels of x from `first4` to `end4`,
// in vec4. `tile` counts tiles beside each other, phase by phase, `block` blocks of pixels, `pair` pairs of images and weights.
fn multiply(
    sum: ptr<function, array<vec4<f32>, VECTORS * PIXELS>>,
    own: u32,
    tile: u32,
    block: u32,
    first4: u32,
    end4: u32,
    pair: u32,
) {
    let phase = tile / params.column_groups;
    let first_column = (tile - phase * params.column_groups) * COLUMNS4;
    let phases = vec2<u32>(phase % params.spread, phase / params.spread);

    // Every invocation fetches channels of one pixel.
    let fetch_pixel = own % ROWS;
    let pixel = pixel_of(block * ROWS + fetch_pixel % LINES * PIXELS + fetch_pixel / LINES, phases);
    if own < ROWS {
        places[own] = pixel.place;
    }
    let corner = source_of(pixel);
    let image = select(0u, pixel.image, pixel.place != NOWHERE);

    // And four vec4 of weights, all of one column, or a block of 4 x 4 turned ones.
    let fetch_column = min(first_column + own % COLUMNS4, params.out_channels4 - 1u);
    let fetch_row = own / COLUMNS4;

    let taps = taps_of(phases);
    let in_channels4 = (params.in_channels + 3u) / 4u;
    let first_source = pair * params.batch * params.in_height * params.in_width;
    let first_weight = pair * params.kernel_height * params.kernel_width * params.in_channels;

    let tile_row = own / ACROSS;
    let tile_column = own % ACROSS;
    var offset_y = taps.source.y;
    for (var ky = taps.first.y; ky < params.kernel_height; ky += params.spread) {
        var offset_x = taps.source.x;
        for (var kx = taps.first.x; kx < params.kernel_width; kx += params.spread) {
            let iy = corner.y + offset_y;
            let ix = corner.x + offset_x;
            let inside = iy >= 0 && iy < i32(params.in_height) && ix >= 0 && ix < i32(params.in_width);
            let line = image * (params.in_height >> params.upsample) + (u32(iy) >> params.upsample);
            let met = line * (params.in_width >> params.upsample) + (u32(ix) >> params.upsample);
            let source = first_source + select(0u, met, inside);
            let tap = ky * params.kernel_width + kx;
            for (var k = first4; k < end4; k += DEPTH4) {
                // The tiles of the step before are still being read.
                workgroupBarrier();
                for (var i = 0u; i < DEPTH4 / SHARED; i++) {
                    let d = i * SHARED + own / ROWS;
                    let fetched = narrow_factor(input_at(source, image, min(k + d, in_channels4 - 1u)));
                    x_tile[d * ROWS + fetch_pixel] = select(factor4(0.0), fetched, inside && k + d < in_channels4);
                }
                if TURNED {
                    let row = (params.kernel_height * params.kernel_width - 1u - tap) * params.out_channels;
                    let weights = turned_weights(row, min(k + fetch_row, in_channels4 - 1u), fetch_column);
                    if fetch_row < DEPTH4 {
                        for (var q = 0u; q < 4u; q++) {
                            weight_tile[(fetch_row * 4u + q) * COLUMNS4 + own % COLUMNS4] = narrow_factor(weights[q]);
                        }
                    }
                } else {
                    for (var i = 0u; i < 4u * DEPTH4 / FETCHED; i++) {
                        // Where x is zero, at pad lanes and past the last channel, any weight of this tap will do.
                        let channel = min(k * 4u + i * FETCHED + fetch_row, params.in_channels - 1u);
                        let row = first_weight + tap * params.in_channels + channel;
                        let weights = widen_weight(weight[row * params.out_channels4 + fetch_column]);
                        weight_tile[i * LANES + own] = narrow_factor(weights);
                    }
                }
                workgroupBarrier();
                var products: array<factor4, VECTORS * PIXELS>;
                for (var n = 0u; n < VECTORS * PIXELS; n++) {
                    products[n] = begin_products(sum[n]);
                }
                for (var d = 0u; d < DEPTH4; d++) {
                    var a: array<factor4, PIXELS>;
                    for (var i = 0u; i < PIXELS; i++) {
                        a[i] = x_tile[d * ROWS + i * LINES + tile_row];
                    }
                    for (var q = 0u; q < 4u; q++) {
                        var b: array<factor4, VECTORS>;
                        for (var j = 0u; j < VECTORS; j++) {
                            b[j] = weight_tile[(d * 4u + q) * COLUMNS4 + j * ACROSS + tile_column];
                        }
                        for (var i = 0u; i < PIXELS; i++) {
                            for (var j = 0u; j < VECTORS; j++) {
                                products[i * VECTORS + j] = fma(factor4(a[i][q]), b[j], products[i * VECTORS + j]);
                            }
                        }
                    }
                }
                for (var n = 0u; n < VECTORS * PIXELS; n++) {
                    sum[n] = end_products(sum[n], products[n]);
                }
            }
            offset_x += 1;
        }
        offset_y += 1;
    }
    // Without a step no barrier stands between the places and those who read them.
    workgroupBarrier();
}

// Writes the tile's sums to where those of `slot` lie: a part of the channels, or a pair of matrices.
fn store_sums(sum: ptr<function, array<vec4<f32>, VECTORS * PIXELS>>, own: u32, tile: u32, slot: u32) {
    let first = slot * params.batch * params.out_height * params.out_width;
    for (var j = 0u; j < VECTORS; j++) {
        let column = tile % params.column_groups * COLUMNS4 + j * ACROSS + own % ACROSS;
        if column < params.out_channels4 {
            for (var i = 0u; i < PIXELS; i++) {
                let place = places[i * LINES + own / ACROSS];
                if place != NOWHERE {
                    parts[(first + place) * params.out_channels4 + column] = sum[i * VECTORS + j];
                }
            }
        }
    }
}

@compute @workgroup_size(LANES)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let own = local.x;
    let block = group.z * groups.y + group.y;
    let first_column = group.x % params.column_groups * COLUMNS4;
    let tile_row = own / ACROSS;
    let tile_column = own % ACROSS;
    var sum: array<vec4<f32>, VECTORS * PIXELS>;
    multiply(&sum, own, group.x, block, 0u, (params.in_channels + 3u) / 4u, 0u);

    for (var j = 0u; j < VECTORS; j++) {
        let column = first_column + j * ACROSS + tile_column;
        if column < params.out_channels4 {
            let addend = bias_of(column);
            for (var i = 0u; i < PIXELS; i++) {
                let place = places[i * LINES + tile_row];
                if place != NOWHERE {
                    let value = finish(sum[i * VECTORS + j] + addend, place, column);
                    y[place * params.out_channels4 + column] = narrow_activation(value);
                    sum[i * VECTORS + j] = value;
                }
            }
        }
    }
    if params.has_moments == 0u {
        return;
    }
    // Merged as in Chan, Golub and LeVeque 1979: every invocation finds the mean of its square, the first of these adds.
    let holder = tile_row % HOLDERS;
    let first = own - holder * ACROSS;
    let square = block * (ROWS / SQUARE) + tile_row / HOLDERS;
    let squares = params.batch * params.out_height * params.out_width / SQUARE;
    for (var j = 0u; j < VECTORS; j++) {
        // About the first pixel, so that the mean of equal numbers is that number.
        let pivot = sum[j];
        var own_mean = vec4<f32>();
        for (var i = 0u; i < PIXELS; i++) {
            own_mean += sum[i * VECTORS + j] - pivot;
        }
        own_mean = fma(own_mean, vec4<f32>(1.0 / f32(PIXELS)), pivot);
        var own_deviations = vec4<f32>();
        for (var i = 0u; i < PIXELS; i++) {
            let delta = sum[i * VECTORS + j] - own_mean;
            own_deviations = fma(delta, delta, own_deviations);
        }
        // The tile of weights, or the exchange before, is done with.
        workgroupBarrier();
        exchange(own, own_mean);
        workgroupBarrier();
        let first_mean = exchanged(first);
        var mean = vec4<f32>();
        for (var i = 1u; i < HOLDERS; i++) {
            mean += exchanged(first + i * ACROSS) - first_mean;
        }
        mean = fma(mean, vec4<f32>(1.0 / f32(HOLDERS)), first_mean);
        let delta = own_mean - mean;
        // The means are done with.
        workgroupBarrier();
        exchange(own, fma(f32(PIXELS) * delta, delta, own_deviations));
        workgroupBarrier();
        let column = first_column + j * ACROSS + tile_column;
        if holder == 0u && square < squares && column < params.out_channels4 {
            var deviations = vec4<f32>();
            for (var i = 0u; i < HOLDERS; i++) {
                deviations += exchanged(own + i * ACROSS);
            }
            moments[2u * square * params.out_channels4 + column] = mean;
            moments[(2u * square + 1u) * params.out_channels4 + column] = deviations;
        }
    }
}

@compute @workgroup_size(LANES)
fn split(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let own = local.x;
    let tiles = params.column_groups * params.spread * params.spread;
    let slots = groups.x / tiles;
    let slot = group.x / tiles;
    let tile = group.x - slot * tiles;
    let in_channels4 = (params.in_channels + 3u) / 4u;
    let part4 = (in_channels4 + slots * DEPTH4 - 1u) / (slots * DEPTH4) * DEPTH4;
    var sum: array<vec4<f32>, VECTORS * PIXELS>;
    multiply(&sum, own, tile, group.z * groups.y + group.y, slot * part4, min((slot + 1u) * part4, in_channels4), 0u);
    store_sums(&sum, own, tile, slot);
}

// [pairs, rows, in_channels] by [pairs, in_channels, out_channels]: rows are the pixels of an image of one line, of one tap. The
// pairs come last in the grid, so that workgroups which run together share a weight.
@compute @workgroup_size(LANES)
fn batched(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    var sum: array<vec4<f32>, VECTORS * PIXELS>;
    multiply(&sum, local.x, group.x, group.y, 0u, (params.in_channels + 3u) / 4u, group.z);
    store_sums(&sum, local.x, group.x, group.z);
}

// SQUARE pixels, those of a square where moments are wanted, and as many vec4s of channels as leaves an invocation for each.
@compute @workgroup_size(LANES)
fn fold(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let own = local.x;
    let square = group.z * groups.y + group.y;
    let column = group.x * FOLDED4 + own % FOLDED4;
    let inner = own / FOLDED4;
    var pixel = square * SQUARE + inner;
    if params.has_moments != 0u {
        let row = square / (params.out_width / 4u);
        let corner = 4u * (row * params.out_width + square - row * (params.out_width / 4u));
        pixel = corner + inner / 4u * params.out_width + inner % 4u;
    }
    let pixels = params.batch * params.out_height * params.out_width;
    let exists = pixel < pixels && column < params.out_channels4;
    if exists {
        let index = pixel * params.out_channels4 + column;
        var sum = partial[index];
        for (var slot = 1u; slot < SLOTS; slot++) {
            sum += partial[slot * pixels * params.out_channels4 + index];
        }
        let value = finish(sum + bias_of(column), pixel, column);
        y[index] = narrow_activation(value);
        exchange(own, value);
    }
    workgroupBarrier();
    if params.has_moments != 0u && exists && inner == 0u {
        var mean = vec4<f32>();
        for (var i = 1u; i < SQUARE; i++) {
            mean += exchanged(i * FOLDED4 + own) - exchanged(own);
        }
        mean = fma(mean, vec4<f32>(1.0 / f32(SQUARE)), exchanged(own));
        var deviations = vec4<f32>();
        for (var i = 0u; i < SQUARE; i++) {
            let delta = exchanged(i * FOLDED4 + own) - mean;
            deviations = fma(delta, delta, deviations);
        }
        moments[2u * square * params.out_channels4 + column] = mean;
        moments[(2u * square + 1u) * params.out_channels4 + column] = deviations;
    }
}

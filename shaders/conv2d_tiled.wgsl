// Convolution in both directions, as conv2d_subgroup.wgsl has it (the same sum and bindings), for devices
// without a small subgroup of fixed size.
// Tiling: 64 invocations compute ROWS pixels of a phase by 64 channels, an eighth of the pixels by 2 vec4 each; 16 channels
// of x and of weight at a time stand in workgroup memory (8 KiB at most).
// What is read of x may be a concatenation, whose second part takes the binding of the residual: eight buffers are WebGPU's
// limit. It may be normalized, activated and upsampled on the way (shared/tiled_input.wgsl).
// Sixteen pixels that follow each other belong to neighbouring rows of invocations; where moments are wanted they are a square of 4 x 4.
// tile: ROWS = 64 Pixels of a workgroup; 32 where an invocation has few registers.
// import: convolution, tiled_input
// iterations: down = kernel_height.div_ceil(spread.max(1))
// iterations: across = kernel_width.div_ceil(spread.max(1))
// iterations: forward = down + down * across * (6 * in_channels.div_ceil(16) + 2) + down + 76

// [batch, squares of 4x4 pixels, 2, out_channels]: mean, and sum of squared deviations from it.
@group(0) @binding(7) var<storage, read_write> moments: array<vec4<f32>>;
/// Whether `x` is the first part of a concatenation.
override JOINED: bool = false;
/// Whether `weight` is that of the other direction: read transposed, its kernel turned by half a circle.
override TURNED: bool = false;

const LANES = 64u;
const PIXELS = ROWS / 8u;
// Invocations that fetch channels of one pixel.
const SHARED = LANES / ROWS;
const COLUMNS4 = 16u;
const DEPTH4 = 4u;
// Pixels whose moments are taken, and rows of invocations that hold them.
const SQUARE = 16u;
const HOLDERS = SQUARE / PIXELS;
const NOWHERE = 0xffffffffu;

var<workgroup> x_tile: array<vec4<f32>, DEPTH4 * ROWS>;
var<workgroup> weight_tile: array<vec4<f32>, DEPTH4 * LANES>;
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

@compute @workgroup_size(LANES)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let own = local.x;
    let phase = group.x / params.column_groups;
    let first_column = (group.x - phase * params.column_groups) * COLUMNS4;
    let phase_y = phase / params.spread;
    let phase_x = phase - phase_y * params.spread;
    let lattice_height = (params.out_height + params.spread - 1u) / params.spread;

    // Every invocation fetches channels of one pixel.
    let fetch_pixel = own % ROWS;
    let pixel = (group.z * groups.y + group.y) * ROWS + fetch_pixel % 8u * PIXELS + fetch_pixel / 8u;
    var row = pixel / params.lattice_width;
    var n = row / lattice_height;
    var lattice_x = pixel - row * params.lattice_width;
    var lattice_y = row - n * lattice_height;
    if params.has_moments != 0u {
        // Offered only where the squares fill the image.
        let square = pixel / SQUARE;
        row = square / (params.out_width / 4u);
        n = row / (params.out_height / 4u);
        lattice_x = 4u * (square - row * (params.out_width / 4u)) + pixel % 4u;
        lattice_y = 4u * (row - n * (params.out_height / 4u)) + pixel / 4u % 4u;
    }
    let oy = lattice_y * params.spread + phase_y;
    let ox = lattice_x * params.spread + phase_x;
    let exists = n < params.batch && oy < params.out_height && ox < params.out_width;
    if own < ROWS {
        places[own] = select(NOWHERE, (n * params.out_height + oy) * params.out_width + ox, exists);
    }
    let source_y = select(-0x1000000, i32(lattice_y * params.stride), exists);
    let source_x = i32(lattice_x * params.stride);
    let image = select(0u, n, exists);

    // And four vec4 of weights, all of one column, or a block of 4 x 4 turned ones.
    let fetch_column = min(first_column + own % COLUMNS4, params.out_channels4 - 1u);
    let fetch_row = own / COLUMNS4;

    // The first tap that meets this phase without remainder, and the source pixel it meets.
    let first_ky = (params.top + (params.spread - 1u) * phase_y * params.stride) % params.spread;
    let first_kx = (params.left + (params.spread - 1u) * phase_x * params.stride) % params.spread;
    let first_y = (i32(phase_y * params.stride + first_ky) - i32(params.top)) / i32(params.spread);
    let first_x = (i32(phase_x * params.stride + first_kx) - i32(params.left)) / i32(params.spread);
    let in_channels4 = (params.in_channels + 3u) / 4u;

    let tile_row = own / 8u;
    let tile_column = own % 8u;
    var sum: array<vec4<f32>, 2u * PIXELS>;
    var offset_y = first_y;
    for (var ky = first_ky; ky < params.kernel_height; ky += params.spread) {
        var offset_x = first_x;
        for (var kx = first_kx; kx < params.kernel_width; kx += params.spread) {
            let iy = source_y + offset_y;
            let ix = source_x + offset_x;
            let inside = iy >= 0 && iy < i32(params.in_height) && ix >= 0 && ix < i32(params.in_width);
            let line = n * (params.in_height >> params.upsample) + (u32(iy) >> params.upsample);
            let source = select(0u, line * (params.in_width >> params.upsample) + (u32(ix) >> params.upsample), inside);
            let tap = ky * params.kernel_width + kx;
            for (var k = 0u; k < in_channels4; k += DEPTH4) {
                // The tiles of the step before are still being read.
                workgroupBarrier();
                for (var i = 0u; i < DEPTH4 / SHARED; i++) {
                    let d = i * SHARED + own / ROWS;
                    let fetched = input_at(source, image, min(k + d, in_channels4 - 1u));
                    x_tile[d * ROWS + fetch_pixel] = select(vec4<f32>(), fetched, inside && k + d < in_channels4);
                }
                if TURNED {
                    let row = (params.kernel_height * params.kernel_width - 1u - tap) * params.out_channels;
                    let weights = turned_weights(row, min(k + fetch_row, in_channels4 - 1u), fetch_column);
                    for (var q = 0u; q < 4u; q++) {
                        weight_tile[fetch_row * LANES + q * COLUMNS4 + own % COLUMNS4] = weights[q];
                    }
                } else {
                    for (var d = 0u; d < DEPTH4; d++) {
                        // Where x is zero, at pad lanes and past the last channel, any weight of this tap will do.
                        let channel = tap * params.in_channels + min((k + d) * 4u + fetch_row, params.in_channels - 1u);
                        weight_tile[d * LANES + own] = widen_weight(weight[channel * params.out_channels4 + fetch_column]);
                    }
                }
                workgroupBarrier();
                for (var d = 0u; d < DEPTH4; d++) {
                    var a: array<vec4<f32>, PIXELS>;
                    for (var i = 0u; i < PIXELS; i++) {
                        a[i] = x_tile[d * ROWS + i * 8u + tile_row];
                    }
                    for (var q = 0u; q < 4u; q++) {
                        let b0 = weight_tile[(d * 4u + q) * COLUMNS4 + tile_column];
                        let b1 = weight_tile[(d * 4u + q) * COLUMNS4 + 8u + tile_column];
                        for (var i = 0u; i < PIXELS; i++) {
                            sum[i * 2u] = fma(vec4<f32>(a[i][q]), b0, sum[i * 2u]);
                            sum[i * 2u + 1u] = fma(vec4<f32>(a[i][q]), b1, sum[i * 2u + 1u]);
                        }
                    }
                }
            }
            offset_x += 1;
        }
        offset_y += 1;
    }

    // A phase without a tap met no barrier between the writes of `places` and their reads.
    workgroupBarrier();
    for (var j = 0u; j < 2u; j++) {
        let column = first_column + j * 8u + tile_column;
        if column < params.out_channels4 {
            let addend = bias_of(column);
            for (var i = 0u; i < PIXELS; i++) {
                let place = places[i * 8u + tile_row];
                if place != NOWHERE {
                    let value = finish(sum[i * 2u + j] + addend, place, column);
                    y[place * params.out_channels4 + column] = narrow_activation(value);
                    sum[i * 2u + j] = value;
                }
            }
        }
    }
    if params.has_moments != 0u {
        // The tile of weights is done with.
        workgroupBarrier();
        for (var j = 0u; j < 2u; j++) {
            // About the first pixel, so that the mean of equal numbers is that number.
            let pivot = sum[j];
            var mean = vec4<f32>();
            for (var i = 0u; i < PIXELS; i++) {
                mean += sum[i * 2u + j] - pivot;
            }
            mean = fma(mean, vec4<f32>(1.0 / f32(PIXELS)), pivot);
            var deviations = vec4<f32>();
            for (var i = 0u; i < PIXELS; i++) {
                let delta = sum[i * 2u + j] - mean;
                deviations = fma(delta, delta, deviations);
            }
            weight_tile[2u * j * LANES + own] = mean;
            weight_tile[(2u * j + 1u) * LANES + own] = deviations;
        }
        workgroupBarrier();
        // Merged as in Chan, Golub and LeVeque 1979, by one invocation for each square and column.
        let own_square = own / COLUMNS4;
        let square = (group.z * groups.y + group.y) * (ROWS / SQUARE) + own_square;
        let column = first_column + own % COLUMNS4;
        let squares = params.batch * params.out_height * params.out_width / SQUARE;
        if own_square < ROWS / SQUARE && square < squares && column < params.out_channels4 {
            let first = 2u * (own % COLUMNS4 / 8u) * LANES + own_square * HOLDERS * 8u + own % 8u;
            let pivot = weight_tile[first];
            var mean = vec4<f32>();
            for (var i = 1u; i < HOLDERS; i++) {
                mean += weight_tile[first + i * 8u] - pivot;
            }
            mean = fma(mean, vec4<f32>(1.0 / f32(HOLDERS)), pivot);
            var deviations = vec4<f32>();
            for (var i = 0u; i < HOLDERS; i++) {
                let delta = weight_tile[first + i * 8u] - mean;
                deviations += fma(f32(PIXELS) * delta, delta, weight_tile[first + LANES + i * 8u]);
            }
            moments[2u * square * params.out_channels4 + column] = mean;
            moments[(2u * square + 1u) * params.out_channels4 + column] = deviations;
        }
    }
}

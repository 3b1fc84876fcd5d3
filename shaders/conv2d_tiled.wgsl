// Convolution in both directions, as conv2d_subgroup.wgsl has it (the same sum and bindings), for devices
// without a small subgroup of fixed size.
// Tiling: 64 invocations compute ROWS pixels of a phase by 64 channels, an eighth of the pixels by 2 vec4 each; 16 channels
// of x and of weight at a time stand in workgroup memory (8 KiB at most).
// tile: ROWS = 64 Pixels of a workgroup; 32 where an invocation has few registers.
// import: convolution
// iterations: down = kernel_height.div_ceil(spread.max(1))
// iterations: across = kernel_width.div_ceil(spread.max(1))
// iterations: forward = down + down * across * (6 * in_channels.div_ceil(16) + 2) + down + 24

const LANES = 64u;
const PIXELS = ROWS / 8u;
// Invocations that fetch channels of one pixel.
const SHARED = LANES / ROWS;
const COLUMNS4 = 16u;
const DEPTH4 = 4u;
const NOWHERE = 0xffffffffu;

var<workgroup> x_tile: array<vec4<f32>, DEPTH4 * ROWS>;
var<workgroup> weight_tile: array<vec4<f32>, DEPTH4 * LANES>;
var<workgroup> places: array<u32, ROWS>;

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
    let pixel = (group.z * groups.y + group.y) * ROWS + fetch_pixel;
    let row = pixel / params.lattice_width;
    let n = row / lattice_height;
    let lattice_x = pixel - row * params.lattice_width;
    let lattice_y = row - n * lattice_height;
    let oy = lattice_y * params.spread + phase_y;
    let ox = lattice_x * params.spread + phase_x;
    let exists = n < params.batch && oy < params.out_height && ox < params.out_width;
    if own < ROWS {
        places[own] = select(NOWHERE, (n * params.out_height + oy) * params.out_width + ox, exists);
    }
    let source_y = select(-0x1000000, i32(lattice_y * params.stride), exists);
    let source_x = i32(lattice_x * params.stride);

    // And four vec4 of weights, all of one column.
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
            let base = select(0u, ((n * params.in_height + u32(iy)) * params.in_width + u32(ix)) * in_channels4, inside);
            let tap = (ky * params.kernel_width + kx) * params.in_channels;
            for (var k = 0u; k < in_channels4; k += DEPTH4) {
                // The tiles of the step before are still being read.
                workgroupBarrier();
                for (var i = 0u; i < DEPTH4 / SHARED; i++) {
                    let d = i * SHARED + own / ROWS;
                    let fetched = widen_activation(x[base + min(k + d, in_channels4 - 1u)]);
                    x_tile[d * ROWS + fetch_pixel] = select(vec4<f32>(), fetched, inside && k + d < in_channels4);
                }
                for (var d = 0u; d < DEPTH4; d++) {
                    // Where x is zero, at pad lanes and past the last channel, any weight of this tap will do.
                    let channel = min((k + d) * 4u + fetch_row, params.in_channels - 1u);
                    weight_tile[d * LANES + own] = widen_weight(weight[(tap + channel) * params.out_channels4 + fetch_column]);
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

    for (var j = 0u; j < 2u; j++) {
        let column = first_column + j * 8u + tile_column;
        if column < params.out_channels4 {
            let addend = bias_of(column);
            for (var i = 0u; i < PIXELS; i++) {
                let place = places[i * 8u + tile_row];
                if place != NOWHERE {
                    let value = finish(sum[i * 2u + j] + addend, place, column);
                    y[place * params.out_channels4 + column] = narrow_activation(value);
                }
            }
        }
    }
}

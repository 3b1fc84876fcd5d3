// Weight gradient of a convolution: an outer product summed over output pixels.
//   dweight[ky, kx, c, :] = sum over (n, oy, ox) of x[n, oy stride + ky - top, ox stride + kx - left, c] dy[n, oy, ox, :]
// over the pixels whose source exists.  The rows of all taps, in vec4 of input channels, are numbered through, so that
// a layer of few channels fills a workgroup with several taps.
// The sum is split among slots: each adds a fixed run of output pixels, and `fold_slots` adds the slots in order.
// Tiling: a subgroup computes LANES vec4 of rows by LANES * 4 columns, PIXELS pixels at a time. Each lane loads its own
// four channels of x and of dy; x goes round by shuffles, the sums stay in registers.
// tile: LANES = 8
// tile: PIXELS = 2
// import: weight_gradient
// iterations: forward = slot_pixels.div_ceil(32) * 3 + slot_pixels.div_ceil(PIXELS) + 4

// Pixels that are added before they meet the total: a short sum rounds less. A multiple of PIXELS.
const BLOCK = 32u;

@compute @workgroup_size(LANES)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let lane = local.x;
    // Software drivers read a uniform once for all lanes only outside loops and branches.
    let in_width = params.in_width;
    let stride = params.stride;
    let in_channels4 = (params.in_channels + 3u) / 4u;
    let rows4 = params.kernel_height * params.kernel_width * in_channels4;
    let own_row4 = group.y * LANES + lane;
    let row4 = min(own_row4, rows4 - 1u);
    let tap = row4 / in_channels4;
    let c4 = row4 - tap * in_channels4;
    let ky = tap / params.kernel_width;
    let offset_y = i32(ky) - i32(params.top);
    let offset_x = i32(tap - ky * params.kernel_width) - i32(params.left);
    let own_column = group.x * LANES + lane;
    let column = min(own_column, params.out_channels4 - 1u);

    // Loops over a whole array: drivers unroll them whatever they hold, and only then keep it in registers.
    var total: array<array<vec4<f32>, 4>, LANES>;
    let first = group.z * params.slot_pixels;
    let end = min(first + params.slot_pixels, params.pixels);
    var ox = first % params.out_width;
    var oy = first / params.out_width % params.out_height;
    var image = first / params.out_width / params.out_height * params.in_height;
    for (var block = first; block < end; block += BLOCK) {
        let block_end = min(block + BLOCK, end);
        var sum: array<array<vec4<f32>, 4>, LANES>;
        for (var pixel = block; pixel < block_end; pixel += PIXELS) {
            var a: array<vec4<f32>, PIXELS>;
            var b: array<vec4<f32>, PIXELS>;
            for (var p = 0u; p < PIXELS; p++) {
                let iy = i32(oy * stride) + offset_y;
                let ix = i32(ox * stride) + offset_x;
                let inside = iy >= 0 && iy < i32(params.in_height) && ix >= 0 && ix < i32(in_width) && pixel + p < end;
                let source = select(0u, (image + u32(iy)) * in_width + u32(ix), inside);
                a[p] = select(vec4<f32>(), widen_activation(x[source * in_channels4 + c4]), inside);
                b[p] = widen_activation(dy[min(pixel + p, end - 1u) * params.out_channels4 + column]);
                let next_row = ox + 1u == params.out_width;
                let next_image = next_row && oy + 1u == params.out_height;
                ox = select(ox + 1u, 0u, next_row);
                oy = select(select(oy, oy + 1u, next_row), 0u, next_image);
                image = select(image, image + params.in_height, next_image);
            }
            for (var i = 0u; i < LANES; i++) {
                for (var q = 0u; q < 4u; q++) {
                    var s = sum[i][q];
                    for (var p = 0u; p < PIXELS; p++) {
                        s = fma(vec4<f32>(subgroupShuffle(a[p][q], i)), b[p], s);
                    }
                    sum[i][q] = s;
                }
            }
        }
        for (var i = 0u; i < LANES; i++) {
            for (var q = 0u; q < 4u; q++) {
                total[i][q] += sum[i][q];
            }
        }
    }

    let slot_rows = group.z * params.kernel_height * params.kernel_width * params.in_channels;
    for (var i = 0u; i < LANES; i++) {
        let channel = subgroupShuffle(c4, i) * 4u;
        let first_row = slot_rows + subgroupShuffle(tap, i) * params.in_channels + channel;
        let rows = select(0u, min(params.in_channels - channel, 4u), subgroupShuffle(own_row4, i) < rows4);
        for (var q = 0u; q < 4u; q++) {
            if q < rows && own_column < params.out_channels4 {
                dweight[(first_row + q) * params.out_channels4 + column] = total[i][q];
            }
        }
    }
}

// Convolution, as a matrix product of output pixels and output channels, for both directions:
//   y[n, oy, ox, :] = bias + embedding[n, :] + residual[n, oy, ox, :] + sum over (ky, kx, c) of x[n, iy, ix, c] weight[ky, kx, c, :]
//   with iy spread = oy stride + ky - top  and  ix spread = ox stride + kx - left
// over the taps whose source pixel exists, and SiLU of that if asked.  Spread 1 convolves.  Stride 1, the forward stride as spread and the weight
// transposed and turned give the input gradient (Dumoulin, Visin 2016, "A guide to convolution arithmetic", chapter 4).
// The output is cut in spread x spread phases of pixels that share their taps, so no tap is visited in vain.
// Tiling: a subgroup computes LANES * ROWS_PER_LANE pixels of a phase by LANES * 4 channels. Each lane loads four
// channels of its own pixels and four weights of its own columns; x goes round by shuffles, the sums stay in registers.
// Where moments are wanted, 16 pixels that follow each other are a square of 4 x 4.
// The weight is cut into panels of LANES vec4 of columns: see panels.wgsl.
// tile: LANES = 8
// tile: ROWS_PER_LANE = 2
// import: phases, fours, panels_of_fours
// iterations: down = kernel_height.div_ceil(spread.max(1))
// iterations: across = kernel_width.div_ceil(spread.max(1))
// iterations: forward = down + down * across * (in_channels.div_ceil(4) + 2) + down + (LANES + 2) * ROWS_PER_LANE + 8

@group(0) @binding(1) var<storage, read> x: array<activation4>;
@group(0) @binding(2) var<storage, read> weight: array<weight4>;

// [batch, squares of 4x4 pixels, 2, out_channels]: mean, and sum of squared deviations from it.
@group(0) @binding(7) var<storage, read_write> moments: array<vec4<f32>>;

const ROWS = LANES * ROWS_PER_LANE;

@compute @workgroup_size(LANES)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let lane = local.x;
    let phase = group.x / params.column_groups;
    let panel = group.x - phase * params.column_groups;
    let own_column = panel * LANES + lane;
    let column = min(own_column, params.out_channels4 - 1u);
    let phases = vec2<u32>(phase % params.spread, phase / params.spread);

    let first = (group.z * groups.y + group.y) * ROWS + lane;
    var source: array<vec2<i32>, ROWS_PER_LANE>;
    var image: array<u32, ROWS_PER_LANE>;
    var place: array<u32, ROWS_PER_LANE>;
    for (var r = 0u; r < ROWS_PER_LANE; r++) {
        let pixel = pixel_of(first + r * LANES, phases);
        source[r] = source_of(pixel);
        image[r] = pixel.image * params.in_height;
        place[r] = pixel.place;
    }
    let taps = taps_of(phases);
    let in_channels4 = (params.in_channels + 3u) / 4u;

    var total: array<vec4<f32>, ROWS>;
    var offset_y = taps.source.y;
    for (var ky = taps.first.y; ky < params.kernel_height; ky += params.spread) {
        var offset_x = taps.source.x;
        for (var kx = taps.first.x; kx < params.kernel_width; kx += params.spread) {
            var base: array<u32, ROWS_PER_LANE>;
            var inside: array<bool, ROWS_PER_LANE>;
            for (var r = 0u; r < ROWS_PER_LANE; r++) {
                let iy = source[r].y + offset_y;
                let ix = source[r].x + offset_x;
                inside[r] = iy >= 0 && iy < i32(params.in_height) && ix >= 0 && ix < i32(params.in_width);
                base[r] = select(0u, ((image[r] + u32(iy)) * params.in_width + u32(ix)) * in_channels4, inside[r]);
            }
            let tap = ((panel * params.kernel_height + ky) * params.kernel_width + kx) * params.in_channels;
            // Short sums meet longer ones, of a tap and then of the pixel: a third of the rounding.
            var sum: array<vec4<f32>, ROWS>;
            for (var k = 0u; k < in_channels4; k++) {
                var a: array<vec4<f32>, ROWS_PER_LANE>;
                for (var r = 0u; r < ROWS_PER_LANE; r++) {
                    a[r] = select(vec4<f32>(), unit_of(x[base[r] + k]), inside[r]);
                }
                var b: Columns;
                for (var q = 0u; q < 4u; q++) {
                    insert(&b, q, weights_at(tap, k, q, params.in_channels, lane));
                }
                for (var i = 0u; i < ROWS; i++) {
                    sum[i] += product(a[i / LANES], i % LANES, b);
                }
            }
            for (var i = 0u; i < ROWS; i++) {
                total[i] += sum[i];
            }
            offset_x += 1;
        }
        offset_y += 1;
    }

    let addend = bias_of(column);
    for (var r = 0u; r < ROWS_PER_LANE; r++) {
        for (var i = 0u; i < LANES; i++) {
            let pixel = subgroupShuffle(place[r], i);
            if pixel != NOWHERE && own_column < params.out_channels4 {
                let value = finish(total[r * LANES + i] + addend, pixel, column);
                y[pixel * params.out_channels4 + column] = narrow_activation(value);
                total[r * LANES + i] = value;
            }
        }
    }
    if params.has_moments != 0u && own_column < params.out_channels4 {
        let squares = params.batch * params.out_height * params.out_width / 16u;
        for (var s = 0u; s < ROWS / 16u; s++) {
            // About the first pixel, so that the mean of equal numbers is that number.
            let pivot = total[s * 16u];
            var mean = vec4<f32>();
            for (var i = 0u; i < 16u; i++) {
                mean += total[s * 16u + i] - pivot;
            }
            mean = fma(mean, vec4<f32>(1.0 / 16.0), pivot);
            var deviations = vec4<f32>();
            for (var i = 0u; i < 16u; i++) {
                let delta = total[s * 16u + i] - mean;
                deviations = fma(delta, delta, deviations);
            }
            let square = (group.z * groups.y + group.y) * (ROWS / 16u) + s;
            if square < squares {
                moments[2u * square * params.out_channels4 + column] = mean;
                moments[(2u * square + 1u) * params.out_channels4 + column] = deviations;
            }
        }
    }
}

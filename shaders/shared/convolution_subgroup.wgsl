// Convolution by subgroups of LANES, each of which computes LANES * ROWS_PER_LANE pixels of a phase by LANES * 4 channels. The
// importer says what a Unit of channels is (fours or eights), and loads those of x and of the weight.
// import: convolution

// [batch, squares of 4x4 pixels, 2, out_channels]: mean, and sum of squared deviations from it.
@group(0) @binding(7) var<storage, read_write> moments: array<vec4<f32>>;

const ROWS = LANES * ROWS_PER_LANE;
const NOWHERE = 0xffffffffu;

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
    let phase_y = phase / params.spread;
    let phase_x = phase - phase_y * params.spread;
    let lattice_height = (params.out_height + params.spread - 1u) / params.spread;

    let first = (group.z * groups.y + group.y) * ROWS + lane;
    var source_y: array<i32, ROWS_PER_LANE>;
    var source_x: array<i32, ROWS_PER_LANE>;
    var image: array<u32, ROWS_PER_LANE>;
    var place: array<u32, ROWS_PER_LANE>;
    for (var r = 0u; r < ROWS_PER_LANE; r++) {
        let pixel = first + r * LANES;
        var row = pixel / params.lattice_width;
        var n = row / lattice_height;
        var lattice_x = pixel - row * params.lattice_width;
        var lattice_y = row - n * lattice_height;
        if params.has_moments != 0u {
            // Offered only where the squares fill the image.
            let square = pixel / 16u;
            row = square / (params.out_width / 4u);
            n = row / (params.out_height / 4u);
            lattice_x = 4u * (square - row * (params.out_width / 4u)) + pixel % 4u;
            lattice_y = 4u * (row - n * (params.out_height / 4u)) + pixel / 4u % 4u;
        }
        let oy = lattice_y * params.spread + phase_y;
        let ox = lattice_x * params.spread + phase_x;
        let exists = n < params.batch && oy < params.out_height && ox < params.out_width;
        place[r] = select(NOWHERE, (n * params.out_height + oy) * params.out_width + ox, exists);
        source_y[r] = select(-0x1000000, i32(lattice_y * params.stride), n < params.batch);
        source_x[r] = i32(lattice_x * params.stride);
        image[r] = n * params.in_height;
    }

    // The first tap that meets this phase without remainder, and the source pixel it meets.
    let first_ky = (params.top + (params.spread - 1u) * phase_y * params.stride) % params.spread;
    let first_kx = (params.left + (params.spread - 1u) * phase_x * params.stride) % params.spread;
    let first_y = (i32(phase_y * params.stride + first_ky) - i32(params.top)) / i32(params.spread);
    let first_x = (i32(phase_x * params.stride + first_kx) - i32(params.left)) / i32(params.spread);
    let in_units = (params.in_channels + 3u) / 4u / UNIT4;

    var total: array<vec4<f32>, ROWS>;
    var offset_y = first_y;
    for (var ky = first_ky; ky < params.kernel_height; ky += params.spread) {
        var offset_x = first_x;
        for (var kx = first_kx; kx < params.kernel_width; kx += params.spread) {
            var base: array<u32, ROWS_PER_LANE>;
            var inside: array<bool, ROWS_PER_LANE>;
            for (var r = 0u; r < ROWS_PER_LANE; r++) {
                let iy = source_y[r] + offset_y;
                let ix = source_x[r] + offset_x;
                inside[r] = iy >= 0 && iy < i32(params.in_height) && ix >= 0 && ix < i32(params.in_width);
                base[r] = select(0u, ((image[r] + u32(iy)) * params.in_width + u32(ix)) * in_units, inside[r]);
            }
            let tap = ((panel * params.kernel_height + ky) * params.kernel_width + kx) * params.in_channels;
            // Short sums meet longer ones, of a tap and then of the pixel: a third of the rounding.
            var sum: array<vec4<f32>, ROWS>;
            for (var k = 0u; k < in_units; k++) {
                var a: array<Unit, ROWS_PER_LANE>;
                for (var r = 0u; r < ROWS_PER_LANE; r++) {
                    a[r] = unit_at(base[r] + k, inside[r]);
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

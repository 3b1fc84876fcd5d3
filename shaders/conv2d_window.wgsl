// Convolution of stride 1 with rows of three taps, for few output channels:
//   y[n, oy, ox, :] = bias + embedding[n, :] + residual[n, oy, ox, :]
//                     + sum over (ky, kx, c) of x[n, oy + ky - top, ox + kx - left, c] weight[ky, kx, c, :]
// over the taps whose source pixel exists, and SiLU of that if asked.
// Tiling: a lane computes a square of 4 x 4 pixels by COLUMNS4 vec4 of channels, and holds four rows of the pixels that
// these meet, so that a pixel is read once for all taps. The weights go round by shuffles, the sums stay in registers.
// tile: LANES = 8
// tile: COLUMNS4 = 2
// import: convolution
// iterations: forward = in_channels.div_ceil(4) * (kernel_height + 2) + 4

@group(0) @binding(1) var<storage, read> x: array<activation4>;
@group(0) @binding(2) var<storage, read> weight: array<weight4>;

// [batch, squares of 4x4 pixels, 2, out_channels]: mean, and sum of squared deviations from it.
@group(0) @binding(7) var<storage, read_write> moments: array<vec4<f32>>;

const TAPS = 3u;
const SIDE = 4u;
// Pixels of a row that those of a square meet.
const REACH = SIDE + TAPS - 1u;
// Weights of a column for a row of taps and four channels of x.
const DEPTH = TAPS * 4u;
// vec4s of all columns' weights that a lane loads.
const LOADS = (DEPTH * COLUMNS4 + LANES - 1u) / LANES;
const NOWHERE = 0xffffffffu;

// Where the pixels of a row of a lane's window stand in x, in vec4; NOWHERE where there are none.
var<private> source: array<u32, REACH>;
var<private> taps: array<vec4<f32>, DEPTH * COLUMNS4>;
var<private> total: array<vec4<f32>, SIDE * SIDE * COLUMNS4>;

// Drivers unroll loops of some hundred instructions, and keep an array in registers only if all are unrolled: hence functions.

// Reads a row of the window, which stands at `first`.
fn read_row(row: ptr<function, array<vec4<f32>, REACH>>, first: u32) {
    for (var j = 0u; j < REACH; j++) {
        let inside = first != NOWHERE && source[j] != NOWHERE;
        (*row)[j] = select(vec4<f32>(), widen_activation(x[select(0u, first + source[j], inside)]), inside);
    }
}

// Adds to row `i` of the square what the taps of one row give.
fn add_row(i: u32, row: ptr<function, array<vec4<f32>, REACH>>) {
    for (var j = 0u; j < SIDE; j++) {
        let first = (*row)[j];
        let middle = (*row)[j + 1u];
        let last = (*row)[j + 2u];
        for (var o = 0u; o < COLUMNS4; o++) {
            // Short sums meet a longer one: a third of the rounding.
            var s = vec4<f32>(first.x) * taps[o];
            s = fma(vec4<f32>(first.y), taps[COLUMNS4 + o], s);
            s = fma(vec4<f32>(first.z), taps[2u * COLUMNS4 + o], s);
            s = fma(vec4<f32>(first.w), taps[3u * COLUMNS4 + o], s);
            s = fma(vec4<f32>(middle.x), taps[4u * COLUMNS4 + o], s);
            s = fma(vec4<f32>(middle.y), taps[5u * COLUMNS4 + o], s);
            s = fma(vec4<f32>(middle.z), taps[6u * COLUMNS4 + o], s);
            s = fma(vec4<f32>(middle.w), taps[7u * COLUMNS4 + o], s);
            s = fma(vec4<f32>(last.x), taps[8u * COLUMNS4 + o], s);
            s = fma(vec4<f32>(last.y), taps[9u * COLUMNS4 + o], s);
            s = fma(vec4<f32>(last.z), taps[10u * COLUMNS4 + o], s);
            s = fma(vec4<f32>(last.w), taps[11u * COLUMNS4 + o], s);
            total[(i * SIDE + j) * COLUMNS4 + o] += s;
        }
    }
}

// Where a square lies in y.
struct Square {
    exists: bool,
    image: u32,
    row: u32,
    column: u32,
}

// Where row `i` of a square's window stands in x, at vec4 `k` of its channels.
fn row_at(square: Square, i: u32, k: u32) -> u32 {
    let iy = square.row + i - params.top;
    let first = (square.image * params.in_height + iy) * params.in_width * ((params.in_channels + 3u) / 4u) + k;
    return select(NOWHERE, first, square.exists && iy < params.in_height);
}

// Writes row `i` of a square in column `o` of the group's.
fn store_row(square: Square, i: u32, o: u32, column4: u32, addend: vec4<f32>) {
    let row = square.row + i;
    for (var j = 0u; j < SIDE; j++) {
        let column = square.column + j;
        if square.exists && row < params.out_height && column < params.out_width {
            let pixel = (square.image * params.out_height + row) * params.out_width + column;
            let value = finish(total[(i * SIDE + j) * COLUMNS4 + o] + addend, pixel, column4);
            y[pixel * params.out_channels4 + column4] = narrow_activation(value);
            total[(i * SIDE + j) * COLUMNS4 + o] = value;
        }
    }
}

// Writes column `o` of the group's.
fn store(square: Square, o: u32, column4: u32, index: u32) {
    if column4 >= params.out_channels4 {
        return;
    }
    let addend = bias_of(column4);
    store_row(square, 0u, o, column4, addend);
    store_row(square, 1u, o, column4, addend);
    store_row(square, 2u, o, column4, addend);
    store_row(square, 3u, o, column4, addend);
    if params.has_moments != 0u && square.exists {
        // About the first pixel, so that the mean of equal numbers is that number.
        let pivot = total[o];
        var mean = vec4<f32>();
        for (var p = 0u; p < SIDE * SIDE; p++) {
            mean += total[p * COLUMNS4 + o] - pivot;
        }
        mean = fma(mean, vec4<f32>(1.0 / f32(SIDE * SIDE)), pivot);
        var deviations = vec4<f32>();
        for (var p = 0u; p < SIDE * SIDE; p++) {
            let delta = total[p * COLUMNS4 + o] - mean;
            deviations = fma(delta, delta, deviations);
        }
        moments[2u * index * params.out_channels4 + column4] = mean;
        moments[(2u * index + 1u) * params.out_channels4 + column4] = deviations;
    }
}

@compute @workgroup_size(LANES)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let lane = local.x;
    let first_column = group.x * COLUMNS4;
    let index = (group.z * groups.y + group.y) * LANES + lane;
    let squares_across = (params.out_width + SIDE - 1u) / SIDE;
    let squares_down = (params.out_height + SIDE - 1u) / SIDE;
    let line = index / squares_across;
    let n = line / squares_down;
    let square = Square(n < params.batch, n, SIDE * (line - n * squares_down), SIDE * (index - line * squares_across));
    let in_channels4 = (params.in_channels + 3u) / 4u;

    for (var j = 0u; j < REACH; j++) {
        let ix = square.column + j - params.left;
        source[j] = select(NOWHERE, ix * in_channels4, ix < params.in_width);
    }
    // The weights that a lane loads.
    var own_tap: array<u32, LOADS>;
    var own_channel: array<u32, LOADS>;
    var own_column: array<u32, LOADS>;
    for (var i = 0u; i < LOADS; i++) {
        let w = min(i * LANES + lane, DEPTH * COLUMNS4 - 1u);
        own_tap[i] = w / (4u * COLUMNS4) * params.in_channels;
        own_channel[i] = w / COLUMNS4 % 4u;
        own_column[i] = min(first_column + w % COLUMNS4, params.out_channels4 - 1u);
    }

    for (var k = 0u; k < in_channels4; k++) {
        var a: array<vec4<f32>, REACH>;
        var b: array<vec4<f32>, REACH>;
        var c: array<vec4<f32>, REACH>;
        var d: array<vec4<f32>, REACH>;
        read_row(&a, row_at(square, 0u, k));
        read_row(&b, row_at(square, 1u, k));
        read_row(&c, row_at(square, 2u, k));
        for (var ky = 0u; ky < params.kernel_height; ky++) {
            read_row(&d, row_at(square, ky + SIDE - 1u, k));
            let first_tap = ky * TAPS * params.in_channels;
            var loaded: array<vec4<f32>, LOADS>;
            for (var i = 0u; i < LOADS; i++) {
                // The pad lanes of x are zero; any weight of this tap will do for them.
                let channel = min(4u * k + own_channel[i], params.in_channels - 1u);
                loaded[i] = widen_weight(weight[(first_tap + own_tap[i] + channel) * params.out_channels4 + own_column[i]]);
            }
            for (var w = 0u; w < DEPTH * COLUMNS4; w++) {
                taps[w] = subgroupShuffle(loaded[w / LANES], w % LANES);
            }
            add_row(0u, &a);
            add_row(1u, &b);
            add_row(2u, &c);
            add_row(3u, &d);
            // The next row of taps meets the same rows, one lower.
            a = b;
            b = c;
            c = d;
        }
    }

    store(square, 0u, first_column, index);
    if COLUMNS4 > 1u {
        store(square, 1u, first_column + 1u, index);
    }
}

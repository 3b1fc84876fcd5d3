// Convolution of stride 1 with rows of three taps, for few output channels:
//   y[n, oy, ox, :] = bias + embedding[n, :] + residual[n, oy, ox, :]
//                     + sum over (ky, kx, c) of x[n, oy + ky - top, ox + kx - left, c] weight[ky, kx, c, :]
// over the taps whose source pixel exists, and SiLU of that if asked.
// Tiling: a lane computes a square of 4 x 4 pixels by COLUMNS4 vec4 of channels, and holds the rows of x that these meet,
// so that a pixel is read once for three taps. The weights go round by shuffles, the sums stay in registers.
// tile: LANES = 8
// tile: COLUMNS4 = 4
// import: silu, finish

struct Params {
    /// Images.
    batch: u32,
    /// Rows of an image of `x`.
    in_height: u32,
    /// Pixels in a row of `x`.
    in_width: u32,
    /// Channels of `x`: rows of one tap of `weight`.
    in_channels: u32,
    /// Rows of an image of `y`.
    out_height: u32,
    /// Pixels in a row of `y`.
    out_width: u32,
    /// Channels of `y`, in vec4.
    out_channels4: u32,
    /// Rows of taps.
    kernel_height: u32,
    /// Rows of zeros above the image; at most `kernel_height - 1`.
    top: u32,
    /// Zeros left of the image; at most 2.
    left: u32,
    /// Squares side by side.
    squares_across: u32,
    /// Squares one below the other.
    squares_down: u32,
    /// Whether there is a bias.
    has_bias: u32,
    /// Whether there is an embedding.
    has_embedding: u32,
    /// vec4s of a row of it.
    embedding_pitch4: u32,
    /// Those before the channels that are added.
    embedding_first4: u32,
    /// Whether there is a residual.
    has_residual: u32,
    /// Whether SiLU is applied.
    silu: u32,
    /// Whether moments are wanted: offered only where the squares fill the image.
    has_moments: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<activation4>;
@group(0) @binding(2) var<storage, read> weight: array<weight4>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
// [batch, channels]: out_channels of them are added.
@group(0) @binding(4) var<storage, read> embedding: array<activation4>;
@group(0) @binding(5) var<storage, read> residual: array<activation4>;
@group(0) @binding(6) var<storage, read_write> y: array<activation4>;
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

// What a lane reads of x: pixels of a row of its window, in vec4; NOWHERE where there are none.
var<private> source: array<u32, REACH>;
var<private> a: array<vec4<f32>, REACH>;
var<private> b: array<vec4<f32>, DEPTH * COLUMNS4>;
var<private> total: array<vec4<f32>, SIDE * SIDE * COLUMNS4>;

// Drivers unroll loops of some hundred instructions, and keep an array in registers only if all are unrolled: hence functions.

// Adds what the taps of one row give to row `i` of the square.
fn add_row(i: u32, row: u32) {
    for (var j = 0u; j < REACH; j++) {
        let inside = row != NOWHERE && source[j] != NOWHERE;
        a[j] = select(vec4<f32>(), widen_activation(x[select(0u, row + source[j], inside)]), inside);
    }
    for (var j = 0u; j < SIDE; j++) {
        for (var o = 0u; o < COLUMNS4; o++) {
            // Short sums meet a longer one: a third of the rounding.
            var s = vec4<f32>(a[j].x) * b[o];
            s = fma(vec4<f32>(a[j].y), b[COLUMNS4 + o], s);
            s = fma(vec4<f32>(a[j].z), b[2u * COLUMNS4 + o], s);
            s = fma(vec4<f32>(a[j].w), b[3u * COLUMNS4 + o], s);
            s = fma(vec4<f32>(a[j + 1u].x), b[4u * COLUMNS4 + o], s);
            s = fma(vec4<f32>(a[j + 1u].y), b[5u * COLUMNS4 + o], s);
            s = fma(vec4<f32>(a[j + 1u].z), b[6u * COLUMNS4 + o], s);
            s = fma(vec4<f32>(a[j + 1u].w), b[7u * COLUMNS4 + o], s);
            s = fma(vec4<f32>(a[j + 2u].x), b[8u * COLUMNS4 + o], s);
            s = fma(vec4<f32>(a[j + 2u].y), b[9u * COLUMNS4 + o], s);
            s = fma(vec4<f32>(a[j + 2u].z), b[10u * COLUMNS4 + o], s);
            s = fma(vec4<f32>(a[j + 2u].w), b[11u * COLUMNS4 + o], s);
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
    var addend = vec4<f32>();
    if params.has_bias != 0u {
        addend = bias[column4];
    }
    store_row(square, 0u, o, column4, addend);
    store_row(square, 1u, o, column4, addend);
    store_row(square, 2u, o, column4, addend);
    store_row(square, 3u, o, column4, addend);
    if params.has_moments != 0u && square.exists {
        var mean = vec4<f32>();
        for (var p = 0u; p < SIDE * SIDE; p++) {
            mean += total[p * COLUMNS4 + o];
        }
        mean *= 1.0 / f32(SIDE * SIDE);
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
    let line = index / params.squares_across;
    let n = line / params.squares_down;
    let square = Square(
        n < params.batch,
        n,
        SIDE * (line - n * params.squares_down),
        SIDE * (index - line * params.squares_across),
    );
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

    for (var ky = 0u; ky < params.kernel_height; ky++) {
        var row: array<u32, SIDE>;
        for (var i = 0u; i < SIDE; i++) {
            let iy = square.row + i + ky - params.top;
            let first = (n * params.in_height + iy) * params.in_width * in_channels4;
            row[i] = select(NOWHERE, first, square.exists && iy < params.in_height);
        }
        let taps = ky * TAPS * params.in_channels;
        for (var k = 0u; k < in_channels4; k++) {
            var loaded: array<vec4<f32>, LOADS>;
            for (var i = 0u; i < LOADS; i++) {
                // The pad lanes of x are zero; any weight of this tap will do for them.
                let channel = min(4u * k + own_channel[i], params.in_channels - 1u);
                loaded[i] = widen_weight(weight[(taps + own_tap[i] + channel) * params.out_channels4 + own_column[i]]);
            }
            for (var d = 0u; d < DEPTH; d++) {
                for (var o = 0u; o < COLUMNS4; o++) {
                    let w = d * COLUMNS4 + o;
                    b[w] = subgroupShuffle(loaded[w / LANES], w % LANES);
                }
            }
            add_row(0u, row[0]);
            add_row(1u, row[1]);
            add_row(2u, row[2]);
            add_row(3u, row[3]);
            for (var i = 0u; i < SIDE; i++) {
                row[i] = select(row[i] + 1u, NOWHERE, row[i] == NOWHERE);
            }
        }
    }

    store(square, 0u, first_column, index);
    if COLUMNS4 > 1u {
        store(square, 1u, first_column + 1u, index);
    }
    if COLUMNS4 > 2u {
        store(square, 2u, first_column + 2u, index);
        store(square, 3u, first_column + 3u, index);
    }
}

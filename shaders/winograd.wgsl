// 3x3 convolution of stride 1 by minimal filtering F(2x4, 3x3): Lavin and Gray 2016, "Fast Algorithms for Convolutional
// Neural Networks", eq. 8 to 12.  A tile of 2 x 4 pixels of y takes 24 products per pair of channels instead of 72:
//   y = A' [(G g G') * (B' d B)] A,  dweight = G' [(B' d B) * (A dy A')] G  summed over the tiles,
// one matrix product over the channels, or the tiles, for each of the 24 places.  Along a column the points are 0, 1, -1
// and infinity; along a row 0, 3/4, -3/4, 3/2, -3/2 and infinity, whose rounding error is a third of that of 0, 1, -1, 2, -2.
// Tiling: an invocation owns four channels of one tile (of two tiles, one below the other, in `output`).
// import: activation

struct Params {
    /// Images that are computed at a time.
    batch: u32,
    /// The first of them.
    first: u32,
    /// Rows of an image that the convolution sees.
    in_height: u32,
    /// Pixels in a row of it.
    in_width: u32,
    /// Its channels, in vec4.
    in_channels4: u32,
    /// Those of them that `x0` holds; the others are in `x1`.
    split4: u32,
    /// Its channels: rows of a tap of `weight`.
    in_channels: u32,
    /// Rows of an image of `y`.
    out_height: u32,
    /// Pixels in a row of `y`.
    out_width: u32,
    /// Channels of `y`, in vec4.
    out_channels4: u32,
    /// Rows of zeros above the image.
    top: u32,
    /// Zeros left of the image.
    left: u32,
    /// Tiles side by side.
    tiles_across: u32,
    /// Tiles one below the other.
    tiles_down: u32,
    /// Halvings from the image that the convolution sees to what `x0` and `x1` hold: 1 reads every pixel four times.
    upsample: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x0: array<activation4>;
@group(0) @binding(2) var<storage, read> x1: array<activation4>;
// [batch, 2, in_channels]: scale and shift of each image and channel.
@group(0) @binding(3) var<storage, read> affine: array<vec4<f32>>;
// [24, tiles, in_channels]
@group(0) @binding(4) var<storage, read_write> spread: array<vec4<f32>>;

@group(0) @binding(1) var<storage, read> weight: array<weight4>;
// [24, in_channels, out_channels]
@group(0) @binding(2) var<storage, read_write> spread_weight: array<vec4<f32>>;

// [24, tiles, out_channels], or [24, in_channels, out_channels] of the weight gradient.
@group(0) @binding(1) var<storage, read> products: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> bias: array<vec4<f32>>;
// [batch, out_channels]
@group(0) @binding(3) var<storage, read> embedding: array<activation4>;
@group(0) @binding(4) var<storage, read> residual: array<activation4>;
@group(0) @binding(5) var<storage, read_write> y: array<activation4>;
// [batch, squares of 4x4 pixels, 2, out_channels]: mean, and sum of squared deviations from it.
@group(0) @binding(6) var<storage, read_write> moments: array<vec4<f32>>;

@group(0) @binding(1) var<storage, read> dy: array<activation4>;
// [24, tiles, out_channels]
@group(0) @binding(2) var<storage, read_write> spread_gradient: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> dweight: array<vec4<f32>>;

override WORKGROUP: u32 = 64u;
override HAS_X1: bool = false;
override HAS_AFFINE: bool = false;
override SILU: bool = false;
override HAS_BIAS: bool = false;
override HAS_EMBEDDING: bool = false;
override HAS_RESIDUAL: bool = false;
override HAS_MOMENTS: bool = false;

// The points of a row are 0, NEAR, -NEAR, FAR, -FAR and infinity.
const NEAR = 0.75;
const FAR = 1.5;
const NEAR2 = NEAR * NEAR;
const FAR2 = FAR * FAR;

// Where a tile lies.
struct Tile {
    n: u32,
    row: u32,
    column: u32,
}

fn tile_at(index: u32, down: u32) -> Tile {
    let line = index / params.tiles_across;
    let n = line / down;
    return Tile(n, line - n * down, index - line * params.tiles_across);
}

// B' of a row.
fn spread_row(d: array<vec4<f32>, 6>) -> array<vec4<f32>, 6> {
    let near = fma(vec4<f32>(-FAR2), d[2], d[4]);
    let near_odd = NEAR * fma(vec4<f32>(-FAR2), d[1], d[3]);
    let far = fma(vec4<f32>(-NEAR2), d[2], d[4]);
    let far_odd = FAR * fma(vec4<f32>(-NEAR2), d[1], d[3]);
    return array<vec4<f32>, 6>(
        fma(vec4<f32>(NEAR2 * FAR2), d[0], fma(vec4<f32>(-NEAR2 - FAR2), d[2], d[4])),
        near + near_odd,
        near - near_odd,
        far + far_odd,
        far - far_odd,
        fma(vec4<f32>(NEAR2 * FAR2), d[1], fma(vec4<f32>(-NEAR2 - FAR2), d[3], d[5])),
    );
}

// A' of a row.
fn gather_row(m: array<vec4<f32>, 6>) -> array<vec4<f32>, 4> {
    let near = m[1] + m[2];
    let near_odd = m[1] - m[2];
    let far = m[3] + m[4];
    let far_odd = m[3] - m[4];
    return array<vec4<f32>, 4>(
        m[0] + (near + far),
        fma(vec4<f32>(FAR), far_odd, NEAR * near_odd),
        fma(vec4<f32>(FAR2), far, NEAR2 * near),
        fma(vec4<f32>(FAR * FAR2), far_odd, fma(vec4<f32>(NEAR * NEAR2), near_odd, m[5])),
    );
}

@compute @workgroup_size(WORKGROUP)
fn input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let index = (group.y * groups.x + group.x) * WORKGROUP + local.x;
    let at = index / params.in_channels4;
    let c4 = index - at * params.in_channels4;
    let tile = tile_at(at, params.tiles_down);
    if tile.n >= params.batch {
        return;
    }
    let image = params.first + tile.n;
    let height = params.in_height >> params.upsample;
    let width = params.in_width >> params.upsample;
    var scale = vec4<f32>(1.0);
    var shift = vec4<f32>();
    if HAS_AFFINE {
        scale = affine[2u * image * params.in_channels4 + c4];
        shift = affine[(2u * image + 1u) * params.in_channels4 + c4];
    }
    let first_y = i32(2u * tile.row) - i32(params.top);
    let first_x = i32(4u * tile.column) - i32(params.left);
    var columns: array<vec4<f32>, 24>;
    for (var j = 0; j < 6; j++) {
        var d: array<vec4<f32>, 4>;
        for (var i = 0; i < 4; i++) {
            let row = first_y + i;
            let column = first_x + j;
            let inside = row >= 0 && row < i32(params.in_height) && column >= 0 && column < i32(params.in_width);
            let source = (u32(row) >> params.upsample) * width + (u32(column) >> params.upsample);
            let pixel = select(0u, image * height * width + source, inside);
            var value: vec4<f32>;
            if HAS_X1 && c4 >= params.split4 {
                value = widen_activation(x1[pixel * (params.in_channels4 - params.split4) + c4 - params.split4]);
            } else {
                value = widen_activation(x0[pixel * params.split4 + c4]);
            }
            if HAS_AFFINE {
                value = fma(value, scale, shift);
            }
            if SILU {
                value = silu(value);
            }
            d[i] = select(vec4<f32>(), value, inside);
        }
        columns[j] = d[0] - d[2];
        columns[6 + j] = d[1] + d[2];
        columns[12 + j] = d[2] - d[1];
        columns[18 + j] = d[3] - d[1];
    }
    let place = params.batch * params.tiles_down * params.tiles_across * params.in_channels4;
    for (var i = 0u; i < 4u; i++) {
        var row: array<vec4<f32>, 6>;
        for (var j = 0u; j < 6u; j++) {
            row[j] = columns[6u * i + j];
        }
        let results = spread_row(row);
        for (var j = 0u; j < 6u; j++) {
            spread[(6u * i + j) * place + index] = results[j];
        }
    }
}

// G of a row.
fn spread_weight_row(g: array<vec4<f32>, 3>) -> array<vec4<f32>, 6> {
    let near = (0.5 / (NEAR2 * (NEAR2 - FAR2))) * fma(vec4<f32>(NEAR2), g[2], g[0]);
    let near_odd = (0.5 / (NEAR * (NEAR2 - FAR2))) * g[1];
    let far = (0.5 / (FAR2 * (FAR2 - NEAR2))) * fma(vec4<f32>(FAR2), g[2], g[0]);
    let far_odd = (0.5 / (FAR * (FAR2 - NEAR2))) * g[1];
    return array<vec4<f32>, 6>(
        (1.0 / (NEAR2 * FAR2)) * g[0],
        near + near_odd,
        near - near_odd,
        far + far_odd,
        far - far_odd,
        g[2],
    );
}

@compute @workgroup_size(WORKGROUP)
fn filters(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let index = (group.y * groups.x + group.x) * WORKGROUP + local.x;
    let place = params.in_channels * params.out_channels4;
    if index >= place {
        return;
    }
    var columns: array<vec4<f32>, 12>;
    for (var j = 0u; j < 3u; j++) {
        let first = widen_weight(weight[j * place + index]);
        let middle = widen_weight(weight[(3u + j) * place + index]);
        let last = widen_weight(weight[(6u + j) * place + index]);
        columns[j] = first;
        columns[3u + j] = 0.5 * ((first + last) + middle);
        columns[6u + j] = 0.5 * ((first + last) - middle);
        columns[9u + j] = last;
    }
    for (var i = 0u; i < 4u; i++) {
        let row = array<vec4<f32>, 3>(columns[3u * i], columns[3u * i + 1u], columns[3u * i + 2u]);
        let results = spread_weight_row(row);
        for (var j = 0u; j < 6u; j++) {
            spread_weight[(6u * i + j) * place + index] = results[j];
        }
    }
}

@compute @workgroup_size(WORKGROUP)
fn output(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let index = (group.y * groups.x + group.x) * WORKGROUP + local.x;
    let at = index / params.out_channels4;
    let o4 = index - at * params.out_channels4;
    let squares_down = (params.tiles_down + 1u) / 2u;
    let square = tile_at(at, squares_down);
    if square.n >= params.batch {
        return;
    }
    let image = params.first + square.n;
    var addend = vec4<f32>();
    if HAS_BIAS {
        addend = bias[o4];
    }
    if HAS_EMBEDDING {
        addend += widen_activation(embedding[image * params.out_channels4 + o4]);
    }
    let place = params.batch * params.tiles_down * params.tiles_across * params.out_channels4;
    var values: array<vec4<f32>, 16>;
    for (var half = 0u; half < 2u; half++) {
        let tile_row = 2u * square.row + half;
        let tile = (square.n * params.tiles_down + tile_row) * params.tiles_across + square.column;
        let exists = tile_row < params.tiles_down;
        let first = select(0u, tile * params.out_channels4 + o4, exists);
        var columns: array<vec4<f32>, 12>;
        for (var j = 0u; j < 6u; j++) {
            let m1 = products[(6u + j) * place + first];
            let m2 = products[(12u + j) * place + first];
            columns[j] = products[j * place + first] + (m1 + m2);
            columns[6u + j] = (m1 - m2) + products[(18u + j) * place + first];
        }
        for (var i = 0u; i < 2u; i++) {
            var row: array<vec4<f32>, 6>;
            for (var j = 0u; j < 6u; j++) {
                row[j] = columns[6u * i + j];
            }
            let results = gather_row(row);
            let pixel_row = 2u * tile_row + i;
            for (var j = 0u; j < 4u; j++) {
                let pixel_column = 4u * square.column + j;
                var value = results[j] + addend;
                if pixel_row < params.out_height && pixel_column < params.out_width {
                    let pixel = (image * params.out_height + pixel_row) * params.out_width + pixel_column;
                    let element = pixel * params.out_channels4 + o4;
                    if HAS_RESIDUAL {
                        value += widen_activation(residual[element]);
                    }
                    y[element] = narrow_activation(value);
                }
                values[8u * half + 4u * i + j] = value;
            }
        }
    }
    if HAS_MOMENTS {
        // Offered only where the squares fill the image.
        var mean = vec4<f32>();
        for (var i = 0u; i < 16u; i++) {
            mean += values[i];
        }
        mean *= 1.0 / 16.0;
        var deviations = vec4<f32>();
        for (var i = 0u; i < 16u; i++) {
            let delta = values[i] - mean;
            deviations = fma(delta, delta, deviations);
        }
        let place = 2u * (params.first * squares_down * params.tiles_across + at) * params.out_channels4 + o4;
        moments[place] = mean;
        moments[place + params.out_channels4] = deviations;
    }
}

// A of the tiles of dy.
@compute @workgroup_size(WORKGROUP)
fn output_gradient(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let index = (group.y * groups.x + group.x) * WORKGROUP + local.x;
    let at = index / params.out_channels4;
    let o4 = index - at * params.out_channels4;
    let tile = tile_at(at, params.tiles_down);
    if tile.n >= params.batch {
        return;
    }
    var columns: array<vec4<f32>, 16>;
    for (var j = 0u; j < 4u; j++) {
        var d: array<vec4<f32>, 2>;
        for (var i = 0u; i < 2u; i++) {
            let row = 2u * tile.row + i;
            let column = 4u * tile.column + j;
            let inside = row < params.out_height && column < params.out_width;
            let pixel = select(0u, ((params.first + tile.n) * params.out_height + row) * params.out_width + column, inside);
            d[i] = select(vec4<f32>(), widen_activation(dy[pixel * params.out_channels4 + o4]), inside);
        }
        columns[j] = d[0];
        columns[4u + j] = d[0] + d[1];
        columns[8u + j] = d[0] - d[1];
        columns[12u + j] = d[1];
    }
    let place = params.batch * params.tiles_down * params.tiles_across * params.out_channels4;
    for (var i = 0u; i < 4u; i++) {
        let d0 = columns[4u * i];
        let d1 = columns[4u * i + 1u];
        let d2 = columns[4u * i + 2u];
        let d3 = columns[4u * i + 3u];
        let near = fma(vec4<f32>(NEAR2), d2, d0);
        let near_odd = NEAR * fma(vec4<f32>(NEAR2), d3, d1);
        let far = fma(vec4<f32>(FAR2), d2, d0);
        let far_odd = FAR * fma(vec4<f32>(FAR2), d3, d1);
        let first = 6u * i * place + index;
        spread_gradient[first] = d0;
        spread_gradient[first + place] = near + near_odd;
        spread_gradient[first + 2u * place] = near - near_odd;
        spread_gradient[first + 3u * place] = far + far_odd;
        spread_gradient[first + 4u * place] = far - far_odd;
        spread_gradient[first + 5u * place] = d3;
    }
}

// G' of the sums over the tiles.
@compute @workgroup_size(WORKGROUP)
fn filters_gradient(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let index = (group.y * groups.x + group.x) * WORKGROUP + local.x;
    let place = params.in_channels * params.out_channels4;
    if index >= place {
        return;
    }
    var columns: array<vec4<f32>, 18>;
    for (var j = 0u; j < 6u; j++) {
        var m: array<vec4<f32>, 4>;
        for (var i = 0u; i < 4u; i++) {
            m[i] = products[(6u * i + j) * place + index];
        }
        let even = 0.5 * (m[1] + m[2]);
        columns[j] = m[0] + even;
        columns[6u + j] = 0.5 * (m[1] - m[2]);
        columns[12u + j] = even + m[3];
    }
    for (var i = 0u; i < 3u; i++) {
        let m0 = columns[6u * i];
        let near = (0.5 / (NEAR2 * (NEAR2 - FAR2))) * (columns[6u * i + 1u] + columns[6u * i + 2u]);
        let near_odd = (0.5 / (NEAR * (NEAR2 - FAR2))) * (columns[6u * i + 1u] - columns[6u * i + 2u]);
        let far = (0.5 / (FAR2 * (FAR2 - NEAR2))) * (columns[6u * i + 3u] + columns[6u * i + 4u]);
        let far_odd = (0.5 / (FAR * (FAR2 - NEAR2))) * (columns[6u * i + 3u] - columns[6u * i + 4u]);
        let first = 3u * i * place + index;
        dweight[first] = fma(vec4<f32>(1.0 / (NEAR2 * FAR2)), m0, near + far);
        dweight[first + place] = near_odd + far_odd;
        dweight[first + 2u * place] = fma(vec4<f32>(NEAR2), near, fma(vec4<f32>(FAR2), far, columns[6u * i + 5u]));
    }
}

// 3x3 convolution of stride 1 by minimal filtering F(2x4, 3x3): Lavin and Gray 2016, "Fast Algorithms for Convolutional
// Neural Networks", eq. 8 to 12, for a tile d of 4 x 6 pixels of x, which gives 2 x 4 pixels of y, and a filter g:
//   y = A' [(G g G') * (B' d B)] A          dweight = G' [(B' d B) * (A dy A')] G  summed over the tiles
// That takes 24 products per pair of channels instead of 72; a NARROW tile of 2 x 2 pixels takes 16 instead of 36, with
// about half the error. Summed over the channels, or the tiles, they are one matrix product for each of the 24 places:
//   `input` B' d B    `filters` G g G'    `output` A' m A    `output_gradient` A dy A'    `filters_gradient` G' m G
// shared/minimal_filtering.wgsl has these transforms of a row and of a column. One file, though long: the five entries
// share the parameters and the layout of the places.
// Tiling: an invocation owns four channels of one tile (of two tiles, one below the other, in `output`).
// import: silu, invocation, minimal_filtering

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
    /// Tiles one below the other, of those that are computed at a time.
    tiles_down: u32,
    /// Rows of tiles above them: an even number, and none where whole images are computed.
    first_row: u32,
    /// vec4s of columns in a panel of `spread_weight`: see panels.wgsl.
    panel: u32,
    /// Its rows that stand together, as there.
    depth: u32,
    /// Halvings from the image that the convolution sees to what `x0` and `x1` hold: 1 reads every pixel four times.
    upsample: u32,
    /// Whether there is a bias.
    has_bias: u32,
    /// Whether there is an embedding.
    has_embedding: u32,
    /// vec4s of a row of it.
    embedding_pitch4: u32,
    /// Those before the channels that are added.
    embedding_first4: u32,
    /// Whether the gradient of the weight is added to what other images gave.
    adds: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x0: array<activation4>;
@group(0) @binding(2) var<storage, read> x1: array<activation4>;
// [batch, 3, in_channels]: center, scale and shift of each image and channel.
@group(0) @binding(3) var<storage, read> affine: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> weight: array<weight4>;
@group(0) @binding(1) var<storage, read> dy: array<activation4>;
// [24, tiles, channels], or [24, panels, in_channels / depth, panel, depth] of the weight.
@group(0) @binding(4) var<storage, read_write> spread: array<float4>;

// [24, tiles, out_channels], or [24, in_channels, out_channels] of the weight gradient.
@group(0) @binding(1) var<storage, read> products: array<float4>;
@group(0) @binding(2) var<storage, read> bias: array<vec4<f32>>;
// [batch, channels]: out_channels of them are added.
@group(0) @binding(3) var<storage, read> embedding: array<activation4>;
@group(0) @binding(4) var<storage, read> residual: array<activation4>;
@group(0) @binding(5) var<storage, read_write> y: array<activation4>;
// [batch, squares of 4x4 pixels, 2, out_channels]: mean, and sum of squared deviations from it.
@group(0) @binding(6) var<storage, read_write> moments: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> dweight: array<vec4<f32>>;

override WORKGROUP: u32 = 64u;
override HAS_X1: bool = false;
override HAS_AFFINE: bool = false;
override SILU: bool = false;
override HAS_RESIDUAL: bool = false;
override HAS_MOMENTS: bool = false;
// Tiles of 2 x 2 pixels, for `input`, `filters` and `output` without moments.
override NARROW: bool = false;
// Pixels in a row of a tile; it has two points more.
override COLUMNS: u32 = 4u - 2u * u32(NARROW);

// Writes row `i` of a tile's points, whose first place is `first`; `step` from a place to the next.
fn spread_row(row: Row, i: u32, first: u32, step: u32) {
    let at = first + i * (COLUMNS + 2u) * step;
    spread[at] = narrow_float(row[0]);
    spread[at + step] = narrow_float(row[1]);
    spread[at + 2u * step] = narrow_float(row[2]);
    spread[at + 3u * step] = narrow_float(row[3]);
    if !NARROW {
        spread[at + 4u * step] = narrow_float(row[4]);
        spread[at + 5u * step] = narrow_float(row[5]);
    }
}

// Column `j` of the products of a tile.
fn products_column(j: u32, first: u32, step: u32) -> mat4x4<f32> {
    let at = first + j * step;
    let row = (COLUMNS + 2u) * step;
    return mat4x4<f32>(
        widen_float(products[at]),
        widen_float(products[at + row]),
        widen_float(products[at + 2u * row]),
        widen_float(products[at + 3u * row]),
    );
}

// Whose number `at` a tile, or a square of two, is, and the vec4 of its channels that an invocation owns.
struct Tile { at: u32, channel4: u32, n: u32, row: u32, column: u32 }

fn tile_at(index: u32, channels4: u32, down: u32) -> Tile {
    let at = index / channels4;
    let line = at / params.tiles_across;
    let n = line / down;
    return Tile(at, index - at * channels4, n, line - n * down, at - line * params.tiles_across);
}

// vec4s from a place to the next.
fn tiles_step(channels4: u32) -> u32 {
    return params.batch * params.tiles_down * params.tiles_across * channels4;
}

// What an invocation of `input` reads from.
struct Source {
    image: u32,
    c4: u32,
    row: i32,
    column: i32,
    center: vec4<f32>,
    scale: vec4<f32>,
    shift: vec4<f32>,
}

fn pixel_at(source: Source, i: i32, j: i32) -> vec4<f32> {
    let row = source.row + i;
    let column = source.column + j;
    let inside = row >= 0 && row < i32(params.in_height) && column >= 0 && column < i32(params.in_width);
    let line = source.image * (params.in_height >> params.upsample) + (u32(row) >> params.upsample);
    let pixel = select(0u, line * (params.in_width >> params.upsample) + (u32(column) >> params.upsample), inside);
    var value: vec4<f32>;
    if HAS_X1 && source.c4 >= params.split4 {
        value = widen_activation(x1[pixel * (params.in_channels4 - params.split4) + source.c4 - params.split4]);
    } else {
        value = widen_activation(x0[pixel * params.split4 + source.c4]);
    }
    if HAS_AFFINE {
        value = fma(value - source.center, source.scale, source.shift);
    }
    if SILU {
        value = silu(value);
    }
    return select(vec4<f32>(), value, inside);
}

// Row `i` of the pixels of a tile; a narrow one ends in zeros.
fn pixel_row(source: Source, i: i32) -> Row {
    var row = Row(
        pixel_at(source, i, 0),
        pixel_at(source, i, 1),
        pixel_at(source, i, 2),
        pixel_at(source, i, 3),
        vec4<f32>(),
        vec4<f32>(),
    );
    if !NARROW {
        row[4] = pixel_at(source, i, 4);
        row[5] = pixel_at(source, i, 5);
    }
    return row;
}

@compute @workgroup_size(WORKGROUP)
fn input(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = invocation(id, groups);
    let tile = tile_at(index, params.in_channels4, params.tiles_down);
    if tile.n >= params.batch {
        return;
    }
    let image = params.first + tile.n;
    let row = i32(2u * (params.first_row + tile.row)) - i32(params.top);
    let column = i32(COLUMNS * tile.column) - i32(params.left);
    var source = Source(image, tile.channel4, row, column, vec4<f32>(), vec4<f32>(), vec4<f32>());
    if HAS_AFFINE {
        let first = 3u * image * params.in_channels4 + tile.channel4;
        source.center = affine[first];
        source.scale = affine[first + params.in_channels4];
        source.shift = affine[first + 2u * params.in_channels4];
    }
    // B' d a row at a time, each written before the next pixels are read: at most three rows of the tile are in registers.
    let step = tiles_step(params.in_channels4);
    let d0 = pixel_row(source, 0);
    let d2 = pixel_row(source, 2);
    spread_row(input_row(row_difference(d0, d2)), 0u, index, step);
    let d1 = pixel_row(source, 1);
    spread_row(input_row(row_sum(d1, d2)), 1u, index, step);
    spread_row(input_row(row_difference(d2, d1)), 2u, index, step);
    let d3 = pixel_row(source, 3);
    spread_row(input_row(row_difference(d3, d1)), 3u, index, step);
}

fn spread_weights(j: u32, index: u32, tap: u32) -> mat4x4<f32> {
    return filter_column(mat3x4<f32>(
        widen_weight(weight[j * tap + index]),
        widen_weight(weight[(3u + j) * tap + index]),
        widen_weight(weight[(6u + j) * tap + index]),
    ));
}

@compute @workgroup_size(WORKGROUP)
fn filters(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = invocation(id, groups);
    let tap = params.in_channels * params.out_channels4;
    if index >= tap {
        return;
    }
    let c0 = spread_weights(0u, index, tap);
    let c1 = spread_weights(1u, index, tap);
    let c2 = spread_weights(2u, index, tap);
    let c = index / params.out_channels4;
    let o4 = index - c * params.out_channels4;
    let panel = o4 / params.panel;
    let level = c % params.depth;
    let lane = o4 - panel * params.panel;
    let first = (panel * params.in_channels + c - level) * params.panel + lane * params.depth + level;
    let panels = (params.out_channels4 + params.panel - 1u) / params.panel;
    let step = panels * params.in_channels * params.panel;
    spread_row(filter_row(mat3x4<f32>(c0[0], c1[0], c2[0])), 0u, first, step);
    spread_row(filter_row(mat3x4<f32>(c0[1], c1[1], c2[1])), 1u, first, step);
    spread_row(filter_row(mat3x4<f32>(c0[2], c1[2], c2[2])), 2u, first, step);
    spread_row(filter_row(mat3x4<f32>(c0[3], c1[3], c2[3])), 3u, first, step);
}

// Where an invocation of `output` writes to.
struct Sink { image: u32, o4: u32, column: u32, addend: vec4<f32> }

fn is_inside(row: u32, column: u32) -> bool {
    return row < params.out_height && column < params.out_width;
}

fn element_at(sink: Sink, row: u32, column: u32) -> u32 {
    return ((sink.image * params.out_height + row) * params.out_width + column) * params.out_channels4 + sink.o4;
}

fn residual_at(sink: Sink, row: u32, column: u32) -> vec4<f32> {
    // Beside the image nothing is stored: any element will do.
    let element = select(0u, element_at(sink, row, column), is_inside(row, column));
    return widen_activation(residual[element]);
}

fn store_pixel(sink: Sink, row: u32, column: u32, value: vec4<f32>) {
    if is_inside(row, column) {
        y[element_at(sink, row, column)] = narrow_activation(value);
    }
}

fn store_row(sink: Sink, row: u32, m: Row) -> mat4x4<f32> {
    var values = output_row(m) + mat4x4<f32>(sink.addend, sink.addend, sink.addend, sink.addend);
    if HAS_RESIDUAL {
        // All of a row before a store: none waits for another.
        values[0] += residual_at(sink, row, sink.column);
        values[1] += residual_at(sink, row, sink.column + 1u);
        if !NARROW {
            values[2] += residual_at(sink, row, sink.column + 2u);
            values[3] += residual_at(sink, row, sink.column + 3u);
        }
    }
    store_pixel(sink, row, sink.column, values[0]);
    store_pixel(sink, row, sink.column + 1u, values[1]);
    if !NARROW {
        store_pixel(sink, row, sink.column + 2u, values[2]);
        store_pixel(sink, row, sink.column + 3u, values[3]);
    }
    return values;
}

// The two rows of a tile.
struct Rows { upper: mat4x4<f32>, lower: mat4x4<f32> }

fn store_tile(sink: Sink, row: u32, first: u32, step: u32) -> Rows {
    let c0 = output_column(products_column(0u, first, step));
    let c1 = output_column(products_column(1u, first, step));
    let c2 = output_column(products_column(2u, first, step));
    let c3 = output_column(products_column(3u, first, step));
    var c4: mat2x4<f32>;
    var c5: mat2x4<f32>;
    if !NARROW {
        c4 = output_column(products_column(4u, first, step));
        c5 = output_column(products_column(5u, first, step));
    }
    let upper = store_row(sink, row, Row(c0[0], c1[0], c2[0], c3[0], c4[0], c5[0]));
    let lower = store_row(sink, row + 1u, Row(c0[1], c1[1], c2[1], c3[1], c4[1], c5[1]));
    return Rows(upper, lower);
}

fn sum_row(row: mat4x4<f32>) -> vec4<f32> {
    return (row[0] + row[1]) + (row[2] + row[3]);
}

fn deviations(row: mat4x4<f32>, mean: vec4<f32>) -> vec4<f32> {
    let d = row - mat4x4<f32>(mean, mean, mean, mean);
    return fma(d[0], d[0], d[1] * d[1]) + fma(d[2], d[2], d[3] * d[3]);
}

@compute @workgroup_size(WORKGROUP)
fn output(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = invocation(id, groups);
    let squares_down = (params.tiles_down + 1u) / 2u;
    let square = tile_at(index, params.out_channels4, squares_down);
    if square.n >= params.batch {
        return;
    }
    let o4 = square.channel4;
    var sink = Sink(params.first + square.n, o4, COLUMNS * square.column, vec4<f32>());
    if params.has_bias != 0u {
        sink.addend = bias[o4];
    }
    if params.has_embedding != 0u {
        sink.addend += widen_activation(embedding[sink.image * params.embedding_pitch4 + params.embedding_first4 + o4]);
    }
    let step = tiles_step(params.out_channels4);
    let line = square.n * params.tiles_down + 2u * square.row;
    let tile = line * params.tiles_across + square.column;
    let row = 2u * params.first_row + 4u * square.row;
    let first = store_tile(sink, row, tile * params.out_channels4 + o4, step);
    // An image of an odd number of tile rows has no second half in its last squares.
    let below = select(tile, tile + params.tiles_across, 2u * square.row + 1u < params.tiles_down);
    let second = store_tile(sink, row + 2u, below * params.out_channels4 + o4, step);
    if HAS_MOMENTS {
        // Offered only where the squares fill the image.
        let mean = (1.0 / 16.0)
            * ((sum_row(first.upper) + sum_row(first.lower)) + (sum_row(second.upper) + sum_row(second.lower)));
        let squared = (deviations(first.upper, mean) + deviations(first.lower, mean))
            + (deviations(second.upper, mean) + deviations(second.lower, mean));
        let line = sink.image * ((params.out_height + 3u) / 4u) + row / 4u;
        let element = 2u * (line * params.tiles_across + square.column) * params.out_channels4 + o4;
        moments[element] = mean;
        moments[element + params.out_channels4] = squared;
    }
}

// Row `i`, column `j` of a tile of dy.
fn gradient_at(tile: Tile, i: u32, j: u32) -> vec4<f32> {
    let row = 2u * tile.row + i;
    let column = 4u * tile.column + j;
    let inside = row < params.out_height && column < params.out_width;
    let image = params.first + tile.n;
    let pixel = select(0u, (image * params.out_height + row) * params.out_width + column, inside);
    return select(vec4<f32>(), widen_activation(dy[pixel * params.out_channels4 + tile.channel4]), inside);
}

fn spread_gradients(tile: Tile, j: u32) -> mat4x4<f32> {
    return output_gradient_column(mat2x4<f32>(gradient_at(tile, 0u, j), gradient_at(tile, 1u, j)));
}

@compute @workgroup_size(WORKGROUP)
fn output_gradient(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = invocation(id, groups);
    let tile = tile_at(index, params.out_channels4, params.tiles_down);
    if tile.n >= params.batch {
        return;
    }
    let c0 = spread_gradients(tile, 0u);
    let c1 = spread_gradients(tile, 1u);
    let c2 = spread_gradients(tile, 2u);
    let c3 = spread_gradients(tile, 3u);
    let step = tiles_step(params.out_channels4);
    spread_row(output_gradient_row(mat4x4<f32>(c0[0], c1[0], c2[0], c3[0])), 0u, index, step);
    spread_row(output_gradient_row(mat4x4<f32>(c0[1], c1[1], c2[1], c3[1])), 1u, index, step);
    spread_row(output_gradient_row(mat4x4<f32>(c0[2], c1[2], c2[2], c3[2])), 2u, index, step);
    spread_row(output_gradient_row(mat4x4<f32>(c0[3], c1[3], c2[3], c3[3])), 3u, index, step);
}

// Writes row `i` of the taps.
fn store_weights(weights: mat3x4<f32>, i: u32, index: u32, tap: u32) {
    let first = index + 3u * i * tap;
    var sums = weights;
    if params.adds != 0u {
        sums += mat3x4<f32>(dweight[first], dweight[first + tap], dweight[first + 2u * tap]);
    }
    dweight[first] = sums[0];
    dweight[first + tap] = sums[1];
    dweight[first + 2u * tap] = sums[2];
}

@compute @workgroup_size(WORKGROUP)
fn filters_gradient(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = invocation(id, groups);
    let tap = params.in_channels * params.out_channels4;
    if index >= tap {
        return;
    }
    let c0 = filter_gradient_column(products_column(0u, index, tap));
    let c1 = filter_gradient_column(products_column(1u, index, tap));
    let c2 = filter_gradient_column(products_column(2u, index, tap));
    let c3 = filter_gradient_column(products_column(3u, index, tap));
    let c4 = filter_gradient_column(products_column(4u, index, tap));
    let c5 = filter_gradient_column(products_column(5u, index, tap));
    store_weights(filter_gradient_row(Row(c0[0], c1[0], c2[0], c3[0], c4[0], c5[0])), 0u, index, tap);
    store_weights(filter_gradient_row(Row(c0[1], c1[1], c2[1], c3[1], c4[1], c5[1])), 1u, index, tap);
    store_weights(filter_gradient_row(Row(c0[2], c1[2], c2[2], c3[2], c4[2], c5[2])), 2u, index, tap);
}

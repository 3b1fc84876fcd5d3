// 3x3 convolution of stride 1 by minimal filtering F(2x4, 3x3): Lavin and Gray 2016, "Fast Algorithms for Convolutional
// Neural Networks", eq. 8 to 12.  A tile of 2 x 4 pixels of y takes 24 products per pair of channels instead of 72, or
// a NARROW one of 2 x 2 pixels 16 instead of 36:
//   y = A' [(G g G') * (B' d B)] A,  dweight = G' [(B' d B) * (A dy A')] G  summed over the tiles,
// one matrix product over the channels, or the tiles, for each of the 24 places.  Along a column the points are 0, 1, -1
// and infinity; along a row 0, 3/4, -3/4, 3/2, -3/2 and infinity, whose rounding error is a third of that of 0, 1, -1, 2, -2.
// A narrow tile has the points of a column along its rows too, and about half the error.
// One file, though long: the five entries share the points, the transforms and the parameters.
// Tiling: an invocation owns four channels of one tile (of two tiles, one below the other, in `output`).
// import: silu

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
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x0: array<activation4>;
@group(0) @binding(2) var<storage, read> x1: array<activation4>;
// [batch, 3, in_channels]: center, scale and shift of each image and channel.
@group(0) @binding(3) var<storage, read> affine: array<vec4<f32>>;
// [24, tiles, in_channels]
@group(0) @binding(4) var<storage, read_write> spread: array<vec4<f32>>;

@group(0) @binding(1) var<storage, read> weight: array<weight4>;
// [24, panels, in_channels / depth, panel, depth]
@group(0) @binding(2) var<storage, read_write> spread_weight: array<vec4<f32>>;

// [24, tiles, out_channels], or [24, in_channels, out_channels] of the weight gradient.
@group(0) @binding(1) var<storage, read> products: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> bias: array<vec4<f32>>;
// [batch, channels]: out_channels of them are added.
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
override HAS_RESIDUAL: bool = false;
override HAS_MOMENTS: bool = false;
// Tiles of 2 x 2 pixels, for `input`, `filters` and `output` without moments.
override NARROW: bool = false;

// The points of a row are 0, NEAR, -NEAR, FAR, -FAR and infinity.
const NEAR = 0.75;
const FAR = 1.5;
const NEAR2 = NEAR * NEAR;
const FAR2 = FAR * FAR;
// Half the reciprocals of what B' has at the points.
const NEAR_EVEN = 0.5 / (NEAR2 * (NEAR2 - FAR2));
const FAR_EVEN = 0.5 / (FAR2 * (FAR2 - NEAR2));

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

// Values of a column of a tile: of its pixels, or at its points.
struct Four {
    a: vec4<f32>,
    b: vec4<f32>,
    c: vec4<f32>,
    d: vec4<f32>,
}

// Values of a row of a tile, at its points.
struct Six {
    zero: vec4<f32>,
    near: vec4<f32>,
    minus_near: vec4<f32>,
    far: vec4<f32>,
    minus_far: vec4<f32>,
    infinity: vec4<f32>,
}

fn six(zero: vec4<f32>, near: vec4<f32>, near_odd: vec4<f32>, far: vec4<f32>, far_odd: vec4<f32>, infinity: vec4<f32>) -> Six {
    return Six(zero, near + near_odd, near - near_odd, far + far_odd, far - far_odd, infinity);
}

// B' of a row of six pixels.
fn spread_row(d0: vec4<f32>, d1: vec4<f32>, d2: vec4<f32>, d3: vec4<f32>, d4: vec4<f32>, d5: vec4<f32>) -> Six {
    let product = vec4<f32>(NEAR2 * FAR2);
    let sum = vec4<f32>(-NEAR2 - FAR2);
    return six(
        fma(product, d0, fma(sum, d2, d4)),
        fma(vec4<f32>(-FAR2), d2, d4),
        NEAR * fma(vec4<f32>(-FAR2), d1, d3),
        fma(vec4<f32>(-NEAR2), d2, d4),
        FAR * fma(vec4<f32>(-NEAR2), d1, d3),
        fma(product, d1, fma(sum, d3, d5)),
    );
}

// G of a row of three weights.
fn spread_weight_row(g0: vec4<f32>, g1: vec4<f32>, g2: vec4<f32>) -> Six {
    return six(
        (1.0 / (NEAR2 * FAR2)) * g0,
        NEAR_EVEN * fma(vec4<f32>(NEAR2), g2, g0),
        NEAR * NEAR_EVEN * g1,
        FAR_EVEN * fma(vec4<f32>(FAR2), g2, g0),
        FAR * FAR_EVEN * g1,
        g2,
    );
}

// A of a row of four pixels.
fn spread_gradient_row(d0: vec4<f32>, d1: vec4<f32>, d2: vec4<f32>, d3: vec4<f32>) -> Six {
    return six(
        d0,
        fma(vec4<f32>(NEAR2), d2, d0),
        NEAR * fma(vec4<f32>(NEAR2), d3, d1),
        fma(vec4<f32>(FAR2), d2, d0),
        FAR * fma(vec4<f32>(FAR2), d3, d1),
        d3,
    );
}

// A' of a row: four pixels.
fn gather_row(m: Six) -> Four {
    let near = m.near + m.minus_near;
    let near_odd = m.near - m.minus_near;
    let far = m.far + m.minus_far;
    let far_odd = m.far - m.minus_far;
    return Four(
        m.zero + (near + far),
        fma(vec4<f32>(FAR), far_odd, NEAR * near_odd),
        fma(vec4<f32>(FAR2), far, NEAR2 * near),
        fma(vec4<f32>(FAR * FAR2), far_odd, fma(vec4<f32>(NEAR * NEAR2), near_odd, m.infinity)),
    );
}

// B' of four pixels, of a column or of a narrow row.
fn spread_four(d: Four) -> Four {
    return Four(d.a - d.c, d.b + d.c, d.c - d.b, d.d - d.b);
}

// G of three weights.
fn spread_weight_four(first: vec4<f32>, middle: vec4<f32>, last: vec4<f32>) -> Four {
    return Four(first, 0.5 * ((first + last) + middle), 0.5 * ((first + last) - middle), last);
}

// Pixels in a row of a tile, and the points there.
fn tile_columns() -> u32 {
    return select(4u, 2u, NARROW);
}

fn points_across() -> u32 {
    return tile_columns() + 2u;
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

// B' of a column of four pixels.
fn spread_column(source: Source, j: i32) -> Four {
    let d0 = pixel_at(source, 0, j);
    let d1 = pixel_at(source, 1, j);
    let d2 = pixel_at(source, 2, j);
    let d3 = pixel_at(source, 3, j);
    return spread_four(Four(d0, d1, d2, d3));
}

fn store_narrow(row: Four, first: u32, place: u32) {
    spread[first] = row.a;
    spread[first + place] = row.b;
    spread[first + 2u * place] = row.c;
    spread[first + 3u * place] = row.d;
}

fn store_spread(row: Six, first: u32, place: u32) {
    spread[first] = row.zero;
    spread[first + place] = row.near;
    spread[first + 2u * place] = row.minus_near;
    spread[first + 3u * place] = row.far;
    spread[first + 4u * place] = row.minus_far;
    spread[first + 5u * place] = row.infinity;
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
    var source = Source(
        image,
        c4,
        i32(2u * tile.row) - i32(params.top),
        i32(tile_columns() * tile.column) - i32(params.left),
        vec4<f32>(),
        vec4<f32>(),
        vec4<f32>(),
    );
    if HAS_AFFINE {
        let first = 3u * image * params.in_channels4 + c4;
        source.center = affine[first];
        source.scale = affine[first + params.in_channels4];
        source.shift = affine[first + 2u * params.in_channels4];
    }
    let c0 = spread_column(source, 0);
    let c1 = spread_column(source, 1);
    let c2 = spread_column(source, 2);
    let c3 = spread_column(source, 3);
    let place = params.batch * params.tiles_down * params.tiles_across * params.in_channels4;
    if NARROW {
        store_narrow(spread_four(Four(c0.a, c1.a, c2.a, c3.a)), index, place);
        store_narrow(spread_four(Four(c0.b, c1.b, c2.b, c3.b)), index + 4u * place, place);
        store_narrow(spread_four(Four(c0.c, c1.c, c2.c, c3.c)), index + 8u * place, place);
        store_narrow(spread_four(Four(c0.d, c1.d, c2.d, c3.d)), index + 12u * place, place);
        return;
    }
    let column4 = spread_column(source, 4);
    let c5 = spread_column(source, 5);
    store_spread(spread_row(c0.a, c1.a, c2.a, c3.a, column4.a, c5.a), index, place);
    store_spread(spread_row(c0.b, c1.b, c2.b, c3.b, column4.b, c5.b), index + 6u * place, place);
    store_spread(spread_row(c0.c, c1.c, c2.c, c3.c, column4.c, c5.c), index + 12u * place, place);
    store_spread(spread_row(c0.d, c1.d, c2.d, c3.d, column4.d, c5.d), index + 18u * place, place);
}

// G of a column of three weights.
fn spread_weight_column(j: u32, index: u32, place: u32) -> Four {
    let first = widen_weight(weight[j * place + index]);
    let middle = widen_weight(weight[(3u + j) * place + index]);
    let last = widen_weight(weight[(6u + j) * place + index]);
    return spread_weight_four(first, middle, last);
}

fn store_narrow_weight(row: Four, first: u32, place: u32) {
    spread_weight[first] = row.a;
    spread_weight[first + place] = row.b;
    spread_weight[first + 2u * place] = row.c;
    spread_weight[first + 3u * place] = row.d;
}

fn store_spread_weight(row: Six, first: u32, place: u32) {
    spread_weight[first] = row.zero;
    spread_weight[first + place] = row.near;
    spread_weight[first + 2u * place] = row.minus_near;
    spread_weight[first + 3u * place] = row.far;
    spread_weight[first + 4u * place] = row.minus_far;
    spread_weight[first + 5u * place] = row.infinity;
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
    let c0 = spread_weight_column(0u, index, place);
    let c1 = spread_weight_column(1u, index, place);
    let c2 = spread_weight_column(2u, index, place);
    let c = index / params.out_channels4;
    let o4 = index - c * params.out_channels4;
    let panel = o4 / params.panel;
    let level = c % params.depth;
    let lane = o4 - panel * params.panel;
    let first = (panel * params.in_channels + c - level) * params.panel + lane * params.depth + level;
    let panels = (params.out_channels4 + params.panel - 1u) / params.panel;
    let step = panels * params.in_channels * params.panel;
    if NARROW {
        store_narrow_weight(spread_weight_four(c0.a, c1.a, c2.a), first, step);
        store_narrow_weight(spread_weight_four(c0.b, c1.b, c2.b), first + 4u * step, step);
        store_narrow_weight(spread_weight_four(c0.c, c1.c, c2.c), first + 8u * step, step);
        store_narrow_weight(spread_weight_four(c0.d, c1.d, c2.d), first + 12u * step, step);
        return;
    }
    store_spread_weight(spread_weight_row(c0.a, c1.a, c2.a), first, step);
    store_spread_weight(spread_weight_row(c0.b, c1.b, c2.b), first + 6u * step, step);
    store_spread_weight(spread_weight_row(c0.c, c1.c, c2.c), first + 12u * step, step);
    store_spread_weight(spread_weight_row(c0.d, c1.d, c2.d), first + 18u * step, step);
}

// Two pixels of a column, or of a narrow row.
struct Two {
    upper: vec4<f32>,
    lower: vec4<f32>,
}

// A' of a column or of a narrow row.
fn gather_four(m: Four) -> Two {
    return Two(m.a + (m.b + m.c), (m.b - m.c) + m.d);
}

fn gather_column(j: u32, first: u32, place: u32) -> Two {
    let points = points_across();
    let m1 = products[(points + j) * place + first];
    let m2 = products[(2u * points + j) * place + first];
    return gather_four(Four(products[j * place + first], m1, m2, products[(3u * points + j) * place + first]));
}

// Where an invocation of `output` writes to.
struct Sink {
    image: u32,
    o4: u32,
    column: u32,
    addend: vec4<f32>,
}

fn store_pixel(sink: Sink, row: u32, column: u32, sum: vec4<f32>) -> vec4<f32> {
    var value = sum + sink.addend;
    if row < params.out_height && column < params.out_width {
        let element = ((sink.image * params.out_height + row) * params.out_width + column) * params.out_channels4 + sink.o4;
        if HAS_RESIDUAL {
            value += widen_activation(residual[element]);
        }
        y[element] = narrow_activation(value);
    }
    return value;
}

fn store_row(sink: Sink, row: u32, m: Four) -> Four {
    return Four(
        store_pixel(sink, row, sink.column, m.a),
        store_pixel(sink, row, sink.column + 1u, m.b),
        store_pixel(sink, row, sink.column + 2u, m.c),
        store_pixel(sink, row, sink.column + 3u, m.d),
    );
}

fn store_pair(sink: Sink, row: u32, pair: Two) {
    store_pixel(sink, row, sink.column, pair.upper);
    store_pixel(sink, row, sink.column + 1u, pair.lower);
}

// The two rows of a wide tile.
struct Rows {
    upper: Four,
    lower: Four,
}

fn gather_tile(sink: Sink, row: u32, first: u32, place: u32) -> Rows {
    let c0 = gather_column(0u, first, place);
    let c1 = gather_column(1u, first, place);
    let c2 = gather_column(2u, first, place);
    let c3 = gather_column(3u, first, place);
    if NARROW {
        store_pair(sink, row, gather_four(Four(c0.upper, c1.upper, c2.upper, c3.upper)));
        store_pair(sink, row + 1u, gather_four(Four(c0.lower, c1.lower, c2.lower, c3.lower)));
        return Rows();
    }
    let c4 = gather_column(4u, first, place);
    let c5 = gather_column(5u, first, place);
    return Rows(
        store_row(sink, row, gather_row(Six(c0.upper, c1.upper, c2.upper, c3.upper, c4.upper, c5.upper))),
        store_row(sink, row + 1u, gather_row(Six(c0.lower, c1.lower, c2.lower, c3.lower, c4.lower, c5.lower))),
    );
}

fn sum_row(row: Four) -> vec4<f32> {
    return (row.a + row.b) + (row.c + row.d);
}

fn deviations(row: Four, mean: vec4<f32>) -> vec4<f32> {
    let m = Four(row.a - mean, row.b - mean, row.c - mean, row.d - mean);
    return fma(m.a, m.a, m.b * m.b) + fma(m.c, m.c, m.d * m.d);
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
    var sink = Sink(params.first + square.n, o4, tile_columns() * square.column, vec4<f32>());
    if params.has_bias != 0u {
        sink.addend = bias[o4];
    }
    if params.has_embedding != 0u {
        sink.addend += widen_activation(embedding[sink.image * params.embedding_pitch4 + params.embedding_first4 + o4]);
    }
    let place = params.batch * params.tiles_down * params.tiles_across * params.out_channels4;
    let line = square.n * params.tiles_down + 2u * square.row;
    let tile = line * params.tiles_across + square.column;
    let first = gather_tile(sink, 4u * square.row, tile * params.out_channels4 + o4, place);
    // An image of an odd number of tile rows has no second half in its last squares.
    let below = select(tile, tile + params.tiles_across, 2u * square.row + 1u < params.tiles_down);
    let second = gather_tile(sink, 4u * square.row + 2u, below * params.out_channels4 + o4, place);
    if HAS_MOMENTS {
        // Offered only where the squares fill the image.
        let mean = (1.0 / 16.0)
            * ((sum_row(first.upper) + sum_row(first.lower)) + (sum_row(second.upper) + sum_row(second.lower)));
        let squared = (deviations(first.upper, mean) + deviations(first.lower, mean))
            + (deviations(second.upper, mean) + deviations(second.lower, mean));
        let element = 2u * (params.first * squares_down * params.tiles_across + at) * params.out_channels4 + o4;
        moments[element] = mean;
        moments[element + params.out_channels4] = squared;
    }
}

fn gradient_at(image: u32, row: u32, column: u32, o4: u32) -> vec4<f32> {
    let inside = row < params.out_height && column < params.out_width;
    let pixel = select(0u, (image * params.out_height + row) * params.out_width + column, inside);
    return select(vec4<f32>(), widen_activation(dy[pixel * params.out_channels4 + o4]), inside);
}

// A of a column of two pixels.
fn spread_gradient_column(image: u32, row: u32, column: u32, o4: u32) -> Four {
    let upper = gradient_at(image, row, column, o4);
    let lower = gradient_at(image, row + 1u, column, o4);
    return Four(upper, upper + lower, upper - lower, lower);
}

fn store_spread_gradient(row: Six, first: u32, place: u32) {
    spread_gradient[first] = row.zero;
    spread_gradient[first + place] = row.near;
    spread_gradient[first + 2u * place] = row.minus_near;
    spread_gradient[first + 3u * place] = row.far;
    spread_gradient[first + 4u * place] = row.minus_far;
    spread_gradient[first + 5u * place] = row.infinity;
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
    let image = params.first + tile.n;
    let row = 2u * tile.row;
    let column = 4u * tile.column;
    let c0 = spread_gradient_column(image, row, column, o4);
    let c1 = spread_gradient_column(image, row, column + 1u, o4);
    let c2 = spread_gradient_column(image, row, column + 2u, o4);
    let c3 = spread_gradient_column(image, row, column + 3u, o4);
    let place = params.batch * params.tiles_down * params.tiles_across * params.out_channels4;
    store_spread_gradient(spread_gradient_row(c0.a, c1.a, c2.a, c3.a), index, place);
    store_spread_gradient(spread_gradient_row(c0.b, c1.b, c2.b, c3.b), index + 6u * place, place);
    store_spread_gradient(spread_gradient_row(c0.c, c1.c, c2.c, c3.c), index + 12u * place, place);
    store_spread_gradient(spread_gradient_row(c0.d, c1.d, c2.d, c3.d), index + 18u * place, place);
}

// G' of a column: three weights.
struct Three {
    a: vec4<f32>,
    b: vec4<f32>,
    c: vec4<f32>,
}

fn gather_weight_column(j: u32, index: u32, place: u32) -> Three {
    let m1 = products[(6u + j) * place + index];
    let m2 = products[(12u + j) * place + index];
    let even = 0.5 * (m1 + m2);
    return Three(products[j * place + index] + even, 0.5 * (m1 - m2), even + products[(18u + j) * place + index]);
}

// G' of a row: three weights.
fn store_weight_row(m: Six, first: u32, place: u32) {
    let near = NEAR_EVEN * (m.near + m.minus_near);
    let near_odd = (NEAR * NEAR_EVEN) * (m.near - m.minus_near);
    let far = FAR_EVEN * (m.far + m.minus_far);
    let far_odd = (FAR * FAR_EVEN) * (m.far - m.minus_far);
    dweight[first] = fma(vec4<f32>(1.0 / (NEAR2 * FAR2)), m.zero, near + far);
    dweight[first + place] = near_odd + far_odd;
    dweight[first + 2u * place] = fma(vec4<f32>(NEAR2), near, fma(vec4<f32>(FAR2), far, m.infinity));
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
    let c0 = gather_weight_column(0u, index, place);
    let c1 = gather_weight_column(1u, index, place);
    let c2 = gather_weight_column(2u, index, place);
    let c3 = gather_weight_column(3u, index, place);
    let c4 = gather_weight_column(4u, index, place);
    let c5 = gather_weight_column(5u, index, place);
    store_weight_row(Six(c0.a, c1.a, c2.a, c3.a, c4.a, c5.a), index, place);
    store_weight_row(Six(c0.b, c1.b, c2.b, c3.b, c4.b, c5.b), index + 3u * place, place);
    store_weight_row(Six(c0.c, c1.c, c2.c, c3.c, c4.c, c5.c), index + 6u * place, place);
}

// Convolution in both directions and product of matrices, as conv2d_subgroup.wgsl has it (the same sum and bindings), by the
// matrix units of a GPU: a subgroup multiplies matrices of EDGE x EDGE numbers together, operands in f16, sums in f32.
// Tiling: LANES invocations compute SIDE pixels of a phase by SIDE channels, each subgroup two by two matrices of them. 32
// channels of x and of weight at a time stand in workgroup memory as f16, zeros where a tensor has ended: matrices are loaded
// whole, and nothing checks their bounds. The next channels are on their way while these are multiplied. The sums go through
// workgroup memory, a matrix of each subgroup at a time, to those who add bias, embedding and residual.
// naga 30 takes no array of matrices, and an argument of coopStore must be a `let` of an earlier statement.
// enable: f16, wgpu_cooperative_matrix
// tile: EDGE = 16 Rows and columns of a matrix.
// tile: SIDE = 64 Pixels of a workgroup, and channels.
// tile: LANES = 128 Invocations of a workgroup.
// import: phases
// iterations: down = kernel_height.div_ceil(spread.max(1))
// iterations: across = kernel_width.div_ceil(spread.max(1))
// iterations: fetched = SIDE * 8 / LANES + 1
// iterations: steps = down * across * in_channels.div_ceil(32) + 1
// iterations: written = SIDE / LANES + 2 + 4 * (SIDE * SIDE / (16 * LANES) + 2)
// iterations: forward = 2 * fetched + steps * (2 + 2 * fetched + 32 / EDGE) + written

@group(0) @binding(1) var<storage, read> x: array<activation4>;
@group(0) @binding(2) var<storage, read> weight: array<weight4>;

// Channels of a step.
const DEPTH = 32u;
const DEPTH4 = DEPTH / 4u;
const SIDE4 = SIDE / 4u;
// Pixels, and channels, of a subgroup; subgroups beside each other.
const SPAN = 2u * EDGE;
const WIDE = SIDE / SPAN;
// From a row of a tile to the next, in vec4: 16 bytes more than it holds keep rows off each other's banks.
const X_PITCH = DEPTH4 + 2u;
const WEIGHT_PITCH = SIDE4 + 2u;
// vec4s of x that an invocation fetches in a step, and of weight; rows of the tile from one to the next.
const FETCHED = SIDE * DEPTH4 / LANES;
const X_APART = LANES / DEPTH4;
const WEIGHT_APART = LANES / SIDE4;
// vec4s of a row of a matrix, and of a matrix.
const EDGE4 = EDGE / 4u;
const MATRIX4 = EDGE * EDGE4;

var<workgroup> x_tile: array<vec4<f16>, SIDE * X_PITCH>;
var<workgroup> weight_tile: array<vec4<f16>, DEPTH * WEIGHT_PITCH>;
// A matrix of each subgroup.
var<workgroup> sums: array<f32, 4u * MATRIX4 * WIDE * WIDE>;
// The pixels of y.
var<workgroup> places: array<u32, SIDE>;

// Steps of a tap.
fn depth() -> u32 {
    return (params.in_channels + DEPTH - 1u) / DEPTH;
}

// Fetches an invocation's numbers of a step. `corners` are its pixels of x under the first tap: x, y, image.
fn fetch(
    step: u32,
    own: u32,
    first_column: u32,
    taps: Taps,
    corners: ptr<function, array<vec3<i32>, FETCHED>>,
    next_x: ptr<function, array<vec4<f16>, FETCHED>>,
    next_weight: ptr<function, array<vec4<f16>, FETCHED>>,
) {
    let tap = step / depth();
    let k = (step - tap * depth()) * DEPTH;
    let tap_y = tap / taps.count.x;
    let offset = vec2<u32>(tap - tap_y * taps.count.x, tap_y);
    let in_channels4 = (params.in_channels + 3u) / 4u;
    let c4 = k / 4u + own % DEPTH4;
    let at = taps.first + offset * params.spread;
    let first_weight = (at.y * params.kernel_width + at.x) * params.in_channels;
    let column = first_column + own % SIDE4;
    let weight_column = min(column, params.out_channels4 - 1u);
    for (var i = 0u; i < FETCHED; i++) {
        let corner = corners[i];
        let ix = corner.x + i32(offset.x);
        let iy = corner.y + i32(offset.y);
        let inside = iy >= 0 && iy < i32(params.in_height) && ix >= 0 && ix < i32(params.in_width) && c4 < in_channels4;
        let pixel = (u32(corner.z) * params.in_height + u32(iy)) * params.in_width + u32(ix);
        let value = widen_activation(x[select(0u, pixel * in_channels4 + c4, inside)]);
        next_x[i] = vec4<f16>(select(vec4<f32>(), value, inside));

        let channel = k + own / SIDE4 + i * WEIGHT_APART;
        let row = first_weight + min(channel, params.in_channels - 1u);
        let weights = widen_weight(weight[row * params.out_channels4 + weight_column]);
        let exists = channel < params.in_channels && column < params.out_channels4;
        next_weight[i] = vec4<f16>(select(vec4<f32>(), weights, exists));
    }
}

// Writes what stands in `sums`: matrices `down` rows and `right` columns from where each subgroup begins.
fn write(own: u32, first_column: u32, down: u32, right: u32) {
    for (var i = own; i < MATRIX4 * WIDE * WIDE; i += LANES) {
        let subgroup = i / MATRIX4;
        let place = places[subgroup / WIDE * SPAN + down + i / EDGE4 % EDGE];
        let column = first_column + (subgroup % WIDE * SPAN + right) / 4u + i % EDGE4;
        if place != NOWHERE && column < params.out_channels4 {
            let sum = vec4<f32>(sums[4u * i], sums[4u * i + 1u], sums[4u * i + 2u], sums[4u * i + 3u]);
            let value = finish(sum + bias_of(column), place, column);
            y[place * params.out_channels4 + column] = narrow_activation(value);
        }
    }
}

@compute @workgroup_size(LANES)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
) {
    let own = local.x;
    let block = (group.z * groups.y + group.y) * SIDE;
    let phase = group.x / params.column_groups;
    let first_column = (group.x - phase * params.column_groups) * SIDE4;
    let phases = vec2<u32>(phase % params.spread, phase / params.spread);
    for (var i = own; i < SIDE; i += LANES) {
        places[i] = pixel_of(block + i, phases).place;
    }

    // Eight invocations fetch channels of one pixel.
    let taps = taps_of(phases);
    let x_row = own / DEPTH4;
    let weight_row = own / SIDE4;
    var corners: array<vec3<i32>, FETCHED>;
    for (var i = 0u; i < FETCHED; i++) {
        let pixel = pixel_of(block + x_row + i * X_APART, phases);
        corners[i] = vec3<i32>(source_of(pixel) + taps.source, i32(pixel.image));
    }
    let steps = taps.count.x * taps.count.y * depth();
    var next_x: array<vec4<f16>, FETCHED>;
    var next_weight: array<vec4<f16>, FETCHED>;
    if steps > 0u {
        fetch(0u, own, first_column, taps, &corners, &next_x, &next_weight);
    }

    // The first row and column of the subgroup's matrices in the tile.
    let top = subgroup / WIDE * SPAN;
    let left = subgroup % WIDE * SPAN;
    var sum00: Sum;
    var sum01: Sum;
    var sum10: Sum;
    var sum11: Sum;
    for (var step = 0u; step < steps; step++) {
        // The tiles of the step before are still being read.
        workgroupBarrier();
        for (var i = 0u; i < FETCHED; i++) {
            x_tile[(x_row + i * X_APART) * X_PITCH + own % DEPTH4] = next_x[i];
            weight_tile[(weight_row + i * WEIGHT_APART) * WEIGHT_PITCH + own % SIDE4] = next_weight[i];
        }
        workgroupBarrier();
        if step + 1u < steps {
            fetch(step + 1u, own, first_column, taps, &corners, &next_x, &next_weight);
        }
        for (var k = 0u; k < DEPTH; k += EDGE) {
            let x_first = top * X_PITCH + k / 4u;
            let x_second = x_first + EDGE * X_PITCH;
            let weight_first = k * WEIGHT_PITCH + left / 4u;
            let weight_second = weight_first + EDGE4;
            let x0 = coopLoadT<Left>(&x_tile[x_first], X_PITCH);
            let x1 = coopLoadT<Left>(&x_tile[x_second], X_PITCH);
            let weight0 = coopLoadT<Right>(&weight_tile[weight_first], WEIGHT_PITCH);
            let weight1 = coopLoadT<Right>(&weight_tile[weight_second], WEIGHT_PITCH);
            sum00 = coopMultiplyAdd(x0, weight0, sum00);
            sum01 = coopMultiplyAdd(x0, weight1, sum01);
            sum10 = coopMultiplyAdd(x1, weight0, sum10);
            sum11 = coopMultiplyAdd(x1, weight1, sum11);
        }
    }

    let own_sums = subgroup * 4u * MATRIX4;
    let done00 = sum00;
    let done01 = sum01;
    let done10 = sum10;
    let done11 = sum11;
    coopStoreT(done00, &sums[own_sums], EDGE);
    workgroupBarrier();
    write(own, first_column, 0u, 0u);
    workgroupBarrier();
    coopStoreT(done01, &sums[own_sums], EDGE);
    workgroupBarrier();
    write(own, first_column, 0u, EDGE);
    workgroupBarrier();
    coopStoreT(done10, &sums[own_sums], EDGE);
    workgroupBarrier();
    write(own, first_column, EDGE, 0u);
    workgroupBarrier();
    coopStoreT(done11, &sums[own_sums], EDGE);
    workgroupBarrier();
    write(own, first_column, EDGE, EDGE);
}

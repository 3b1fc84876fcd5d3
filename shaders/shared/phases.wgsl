// Pixels and taps of a phase of a convolution: every spread-th pixel of every spread-th row (see conv2d_subgroup.wgsl). A phase
// is numbered column, row.
// import: convolution

const NOWHERE = 0xffffffffu;

struct Pixel {
    image: u32,
    // In the lattice of its phase: row and column.
    y: u32,
    x: u32,
    // Number of the pixel of y; NOWHERE of one that does not exist.
    place: u32,
}

/// Pixel `index` of a phase: row by row, or square of 4 x 4 by square where moments are wanted.
fn pixel_of(index: u32, phase: vec2<u32>) -> Pixel {
    let lattice_height = (params.out_height + params.spread - 1u) / params.spread;
    var row = index / params.lattice_width;
    var n = row / lattice_height;
    var x = index - row * params.lattice_width;
    var y = row - n * lattice_height;
    if params.has_moments != 0u {
        // Offered only where the squares fill the image.
        let square = index / 16u;
        row = square / (params.out_width / 4u);
        n = row / (params.out_height / 4u);
        x = 4u * (square - row * (params.out_width / 4u)) + index % 4u;
        y = 4u * (row - n * (params.out_height / 4u)) + index / 4u % 4u;
    }
    let ox = x * params.spread + phase.x;
    let oy = y * params.spread + phase.y;
    let exists = n < params.batch && oy < params.out_height && ox < params.out_width;
    return Pixel(n, y, x, select(NOWHERE, (n * params.out_height + oy) * params.out_width + ox, exists));
}

/// The source pixel of a pixel from the taps' first on: column and row. That of one that does not exist is far above the image.
fn source_of(pixel: Pixel) -> vec2<i32> {
    let source = vec2<i32>(vec2<u32>(pixel.x, pixel.y) * params.stride);
    return vec2<i32>(source.x, select(source.y, -0x1000000, pixel.place == NOWHERE));
}

/// The taps of a phase, column and row.
struct Taps {
    // The first that meets it without remainder.
    first: vec2<u32>,
    // How many there are.
    count: vec2<u32>,
    // The source pixel that the first meets from the phase's first pixel.
    source: vec2<i32>,
}

fn taps_of(phase: vec2<u32>) -> Taps {
    let padding = vec2<u32>(params.left, params.top);
    let first = (padding + (params.spread - 1u) * params.stride * phase) % params.spread;
    let kernel = vec2<u32>(params.kernel_width, params.kernel_height);
    let count = (kernel - min(first, kernel) + params.spread - 1u) / params.spread;
    let source = (vec2<i32>(phase * params.stride + first) - vec2<i32>(padding)) / i32(params.spread);
    return Taps(first, count, source);
}

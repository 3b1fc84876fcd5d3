// The transforms of minimal filtering F(2x4, 3x3), and F(2x2, 3x3) for NARROW tiles, in one dimension: Lavin and Gray 2016,
// "Fast Algorithms for Convolutional Neural Networks", eq. 5 to 12. A value is four channels.
// Points along a column, and along a narrow row, are 0, 1, -1 and infinity. Along a wide row they are 0, n, -n, f, -f
// and infinity with n = 3/4 and f = 3/2: a third of the rounding error of 0, 1, -1, 2, -2.

// Along a column:
//        | 1  0 -1  0 |         |  1    0    0  |         | 1  1  1  0 |
//   B' = | 0  1  1  0 |     G = | 1/2  1/2  1/2 |    A' = | 0  1 -1  1 |
//        | 0 -1  1  0 |         | 1/2 -1/2  1/2 |
//        | 0 -1  0  1 |         |  0    0    1  |

// B' d
fn input_column(d: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(d[0] - d[2], d[1] + d[2], d[2] - d[1], d[3] - d[1]);
}

// G g
fn filter_column(g: mat3x4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(g[0], 0.5 * ((g[0] + g[2]) + g[1]), 0.5 * ((g[0] + g[2]) - g[1]), g[2]);
}

// A' m
fn output_column(m: mat4x4<f32>) -> mat2x4<f32> {
    return mat2x4<f32>(m[0] + (m[1] + m[2]), (m[1] - m[2]) + m[3]);
}

// A dy
fn output_gradient_column(dy: mat2x4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(dy[0], dy[0] + dy[1], dy[0] - dy[1], dy[1]);
}

// G' m
fn filter_gradient_column(m: mat4x4<f32>) -> mat3x4<f32> {
    let even = 0.5 * (m[1] + m[2]);
    return mat3x4<f32>(m[0] + even, 0.5 * (m[1] - m[2]), even + m[3]);
}

// Along a wide row, with n = NEAR, f = FAR, N = NEAR_EVEN = 1 / 2n2(n2 - f2), F = FAR_EVEN = 1 / 2f2(f2 - n2):
//        | n2f2    0  -n2-f2    0     1  0 |        | 1/n2f2   0    0  |        | 1   1   1   1   1  0 |
//        |   0   -nf2   -f2     n     1  0 |        |   N    n N  n2 N |   A' = | 0   n  -n   f  -f  0 |
//   B' = |   0    nf2   -f2    -n     1  0 |    G = |   N   -n N  n2 N |        | 0  n2  n2  f2  f2  0 |
//        |   0   -n2f   -n2     f     1  0 |        |   F    f F  f2 F |        | 0  n3 -n3  f3 -f3  1 |
//        |   0    n2f   -n2    -f     1  0 |        |   F   -f F  f2 F |
//        |   0   n2f2    0   -n2-f2   0  1 |        |   0     0     1  |
const NEAR = 0.75;
const FAR = 1.5;
const NEAR2 = NEAR * NEAR;
const FAR2 = FAR * FAR;
const NEAR_EVEN = 0.5 / (NEAR2 * (NEAR2 - FAR2));
const FAR_EVEN = 0.5 / (FAR2 * (FAR2 - NEAR2));

// A row of pixels, or at its points; a narrow one has four.
alias Row = array<vec4<f32>, 6>;

// Of rows d0 to d3 of pixels B' d has d0 - d2, d1 + d2, d2 - d1 and d3 - d1, as `input_column` of a column.
fn row_sum(a: Row, b: Row) -> Row {
    return Row(a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3], a[4] + b[4], a[5] + b[5]);
}

fn row_difference(a: Row, b: Row) -> Row {
    return Row(a[0] - b[0], a[1] - b[1], a[2] - b[2], a[3] - b[3], a[4] - b[4], a[5] - b[5]);
}

fn narrow_row(m: mat4x4<f32>) -> Row {
    return Row(m[0], m[1], m[2], m[3], vec4<f32>(), vec4<f32>());
}

// From the sums of the even and of the odd powers of n and of f.
fn wide_row(zero: vec4<f32>, near: mat2x4<f32>, far: mat2x4<f32>, infinity: vec4<f32>) -> Row {
    return Row(zero, near[0] + near[1], near[0] - near[1], far[0] + far[1], far[0] - far[1], infinity);
}

// B' d
fn input_row(d: Row) -> Row {
    if NARROW {
        return narrow_row(input_column(mat4x4<f32>(d[0], d[1], d[2], d[3])));
    }
    let product = vec4<f32>(NEAR2 * FAR2);
    let sum = vec4<f32>(-NEAR2 - FAR2);
    return wide_row(
        fma(product, d[0], fma(sum, d[2], d[4])),
        mat2x4<f32>(fma(vec4<f32>(-FAR2), d[2], d[4]), NEAR * fma(vec4<f32>(-FAR2), d[1], d[3])),
        mat2x4<f32>(fma(vec4<f32>(-NEAR2), d[2], d[4]), FAR * fma(vec4<f32>(-NEAR2), d[1], d[3])),
        fma(product, d[1], fma(sum, d[3], d[5])),
    );
}

// G g
fn filter_row(g: mat3x4<f32>) -> Row {
    if NARROW {
        return narrow_row(filter_column(g));
    }
    return wide_row(
        (1.0 / (NEAR2 * FAR2)) * g[0],
        mat2x4<f32>(NEAR_EVEN * fma(vec4<f32>(NEAR2), g[2], g[0]), NEAR * NEAR_EVEN * g[1]),
        mat2x4<f32>(FAR_EVEN * fma(vec4<f32>(FAR2), g[2], g[0]), FAR * FAR_EVEN * g[1]),
        g[2],
    );
}

// A' m: four pixels, or two.
fn output_row(m: Row) -> mat4x4<f32> {
    if NARROW {
        let pixels = output_column(mat4x4<f32>(m[0], m[1], m[2], m[3]));
        return mat4x4<f32>(pixels[0], pixels[1], vec4<f32>(), vec4<f32>());
    }
    let near = mat2x4<f32>(m[1] + m[2], m[1] - m[2]);
    let far = mat2x4<f32>(m[3] + m[4], m[3] - m[4]);
    return mat4x4<f32>(
        m[0] + (near[0] + far[0]),
        fma(vec4<f32>(FAR), far[1], NEAR * near[1]),
        fma(vec4<f32>(FAR2), far[0], NEAR2 * near[0]),
        fma(vec4<f32>(FAR * FAR2), far[1], fma(vec4<f32>(NEAR * NEAR2), near[1], m[5])),
    );
}

// A dy
fn output_gradient_row(dy: mat4x4<f32>) -> Row {
    return wide_row(
        dy[0],
        mat2x4<f32>(fma(vec4<f32>(NEAR2), dy[2], dy[0]), NEAR * fma(vec4<f32>(NEAR2), dy[3], dy[1])),
        mat2x4<f32>(fma(vec4<f32>(FAR2), dy[2], dy[0]), FAR * fma(vec4<f32>(FAR2), dy[3], dy[1])),
        dy[3],
    );
}

// G' m
fn filter_gradient_row(m: Row) -> mat3x4<f32> {
    let near = mat2x4<f32>(NEAR_EVEN * (m[1] + m[2]), (NEAR * NEAR_EVEN) * (m[1] - m[2]));
    let far = mat2x4<f32>(FAR_EVEN * (m[3] + m[4]), (FAR * FAR_EVEN) * (m[3] - m[4]));
    return mat3x4<f32>(
        fma(vec4<f32>(1.0 / (NEAR2 * FAR2)), m[0], near[0] + far[0]),
        near[1] + far[1],
        fma(vec4<f32>(NEAR2), near[0], fma(vec4<f32>(FAR2), far[0], m[5])),
    );
}

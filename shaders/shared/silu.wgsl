// Sigmoid-weighted linear unit: Elfwing et al. 2017, eq. 3.  Far below zero both results are zero.

/// `v s` with `s = 1 / (1 + exp(-v))`.
fn silu(v: vec4<f32>) -> vec4<f32> {
    return v / (1.0 + exp(-v));
}

/// The derivative of [`silu`], `s (1 + v (1 - s))`. The smaller of `s` and `1 - s` is not computed from the larger, which
/// would leave it an error that `v` multiplies.
fn silu_slope(v: vec4<f32>) -> vec4<f32> {
    let fallen = exp(-abs(v));
    let larger = 1.0 / (1.0 + fallen);
    let smaller = fallen * larger;
    let s = select(smaller, larger, v >= vec4<f32>());
    let rest = select(larger, smaller, v >= vec4<f32>());
    return s * fma(v, rest, vec4<f32>(1.0));
}

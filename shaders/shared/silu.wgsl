// Sigmoid-weighted linear unit: Elfwing et al. 2017, eq. 3.  Far below zero exp(-v) is infinite and both results are zero.

/// `v s` with `s = 1 / (1 + exp(-v))`.
fn silu(v: vec4<f32>) -> vec4<f32> {
    return v / (1.0 + exp(-v));
}

/// The derivative of [`silu`], `s (1 + v (1 - s))`.
fn silu_slope(v: vec4<f32>) -> vec4<f32> {
    let s = 1.0 / (1.0 + exp(-v));
    return s * fma(v, 1.0 - s, vec4<f32>(1.0));
}

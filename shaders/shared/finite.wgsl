// What a number is, by its bits: a driver may assume of its arithmetic that every number is finite.

const INFINITE_BITS: u32 = 0x7f800000u;

fn magnitude_bits(v: vec4<f32>) -> vec4<u32> {
    return bitcast<vec4<u32>>(v) & vec4<u32>(0x7fffffffu);
}

/// Which are infinite or NaN.
fn not_finite(v: vec4<f32>) -> vec4<bool> {
    return magnitude_bits(v) >= vec4<u32>(INFINITE_BITS);
}

/// Which are NaN.
fn not_a_number(v: vec4<f32>) -> vec4<bool> {
    return magnitude_bits(v) > vec4<u32>(INFINITE_BITS);
}

/// NaN, made at run time: WGSL has no constant for it.
fn nan_of(v: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(v) | 0x7fc00000u);
}

/// clamp(v, -limit, limit), and NaN where one of them is.
fn clamp_numbers(v: vec4<f32>, limit: vec4<f32>) -> vec4<f32> {
    return select(clamp(v, -limit, limit), v + limit, not_a_number(v) | not_a_number(limit));
}

// Four f16 (IEEE 754 binary16) in two words, the first in the low half. Conversions are of integers, so that the bits are the
// same on every device: to nearest, ties to even, with infinities, subnormal numbers and NaN (made quiet) as they are.

/// f16 in the low 16 bits of each lane, as f32.
fn f16_widened(half: vec4<u32>) -> vec4<f32> {
    let magnitude = half & vec4<u32>(0x7fffu);
    // The exponent's bias is 15 in f16, 127 in f32; that of infinities and NaN stays all ones.
    let bias = select(vec4<u32>(112u << 23u), vec4<u32>(224u << 23u), magnitude >= vec4<u32>(0x7c00u));
    // A subnormal number is a count of 2^-24.
    let small = bitcast<vec4<u32>>(vec4<f32>(magnitude) * 0x1p-24f);
    let bits = select((magnitude << vec4<u32>(13u)) + bias, small, magnitude < vec4<u32>(0x0400u));
    return bitcast<vec4<f32>>(bits | ((half & vec4<u32>(0x8000u)) << vec4<u32>(16u)));
}

fn f16_to_f32(packed: vec2<u32>) -> vec4<f32> {
    let low = packed & vec2<u32>(0xffffu);
    let high = packed >> vec2<u32>(16u);
    return f16_widened(vec4<u32>(low.x, high.x, low.y, high.y));
}

fn f32_to_f16(numbers: vec4<f32>) -> vec2<u32> {
    let bits = bitcast<vec4<u32>>(numbers);
    let magnitude = bits & vec4<u32>(0x7fffffffu);
    // Half of the last place that stays is added, less one unless that place is odd: a tie goes to the even neighbour.
    let normal = (magnitude + vec4<u32>(0x0fffu) + ((magnitude >> vec4<u32>(13u)) & vec4<u32>(1u)) - vec4<u32>(112u << 23u)) >> vec4<u32>(13u);
    // Below 2^-14 the last place stays at 2^-24: the significand moves right by 126 less its exponent.
    let place = min(vec4<u32>(126u) - (magnitude >> vec4<u32>(23u)), vec4<u32>(31u));
    let significand = (magnitude & vec4<u32>(0x7fffffu)) | vec4<u32>(0x800000u);
    let odd = (significand >> place) & vec4<u32>(1u);
    let small = (significand + ((vec4<u32>(1u) << (place - vec4<u32>(1u))) - vec4<u32>(1u)) + odd) >> place;
    let nan = vec4<u32>(0x7e00u) | ((magnitude >> vec4<u32>(13u)) & vec4<u32>(0x03ffu));
    var half = select(normal, small, magnitude < vec4<u32>(0x38800000u));
    half = select(half, vec4<u32>(0x7c00u), magnitude >= vec4<u32>(0x47800000u));
    half = select(half, nan, magnitude > vec4<u32>(0x7f800000u)) | ((bits >> vec4<u32>(16u)) & vec4<u32>(0x8000u));
    return half.xz | (half.yw << vec2<u32>(16u));
}

// Four bf16 (the upper half of an f32) in two words, the first in the low half. To nearest, ties to even, with infinities,
// subnormal numbers and NaN (made quiet) as they are.

fn bf16_to_f32(packed: vec2<u32>) -> vec4<f32> {
    let low = packed << vec2<u32>(16u);
    let high = packed & vec2<u32>(0xffff0000u);
    return bitcast<vec4<f32>>(vec4<u32>(low.x, high.x, low.y, high.y));
}

fn f32_to_bf16(numbers: vec4<f32>) -> vec2<u32> {
    let bits = bitcast<vec4<u32>>(numbers);
    // Half of the last place that stays is added, less one unless that place is odd: a tie goes to the even neighbour.
    let rounded = bits + vec4<u32>(0x7fffu) + ((bits >> vec4<u32>(16u)) & vec4<u32>(1u));
    let nan = (bits & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
    let half = select(rounded, bits | vec4<u32>(0x00400000u), nan) >> vec4<u32>(16u);
    return half.xz | (half.yw << vec2<u32>(16u));
}

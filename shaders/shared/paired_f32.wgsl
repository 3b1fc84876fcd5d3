// Four f32 as two pairs, integers of 64 bits: a software driver loads and stores one at the price of a number.

fn pairs_to_f32(pairs: vec2<u64>) -> vec4<f32> {
    let low = vec2<u32>(pairs);
    let high = vec2<u32>(pairs >> vec2<u32>(32u));
    return bitcast<vec4<f32>>(vec4<u32>(low.x, high.x, low.y, high.y));
}

fn f32_to_pairs(numbers: vec4<f32>) -> vec2<u64> {
    let bits = bitcast<vec4<u32>>(numbers);
    return vec2<u64>(bits.xz) | (vec2<u64>(bits.yw) << vec2<u32>(32u));
}

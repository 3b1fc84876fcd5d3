// Pairs of numbers as integers of 64 bits, which a software driver loads at the price of one number.

/// The first numbers of four pairs.
fn firsts(pairs: vec4<u64>) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4<u32>(pairs));
}

/// The second ones.
fn seconds(pairs: vec4<u64>) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4<u32>(pairs >> vec4<u32>(32u)));
}

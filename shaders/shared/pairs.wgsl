// Pairs of numbers as integers of 64 bits, which a software driver loads at the price of one number.

/// The first numbers of four pairs.
fn firsts(pairs: vec4<u64>) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4<u32>(pairs));
}

/// The second ones.
fn seconds(pairs: vec4<u64>) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4<u32>(pairs >> vec4<u32>(32u)));
}

/// Eight numbers in their order, from those of even and of odd places: the first four.
fn lower(even: vec4<f32>, odd: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(even.x, odd.x, even.y, odd.y);
}

/// And the other four.
fn upper(even: vec4<f32>, odd: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(even.z, odd.z, even.w, odd.w);
}

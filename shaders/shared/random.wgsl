// Counter-based random numbers: what an element gets depends on its counter and key alone, never on the order of work.
// Philox 4x32-10: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".  Normals: Box and Muller 1958.
// Sine, cosine and logarithm are our own, since WGSL lets the built-in ones be wrong by 2^-11.

/// The product of two words in 64 bits: (low, high).
fn multiply_wide(a: u32, b: u32) -> vec2<u32> {
    let a_low = a & 0xffffu;
    let a_high = a >> 16u;
    let b_low = b & 0xffffu;
    let b_high = b >> 16u;
    let middle = a_high * b_low + ((a_low * b_low) >> 16u);
    let cross = a_low * b_high + (middle & 0xffffu);
    return vec2<u32>(a * b, a_high * b_high + (middle >> 16u) + (cross >> 16u));
}

/// Ten rounds of Philox.
fn philox(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
    var words = counter;
    var round_key = key;
    for (var round = 0u; round < 10u; round++) {
        let even = multiply_wide(0xd2511f53u, words.x);
        let odd = multiply_wide(0xcd9e8d57u, words.z);
        words = vec4<u32>(odd.y ^ words.y ^ round_key.x, odd.x, even.y ^ words.w ^ round_key.y, even.x);
        round_key += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
    }
    return words;
}

/// Four random words for one vec4 of one image.  `key` = (seed low, seed high, step, number of the batch's first image).
fn random_words(key: vec4<u32>, vector: u32, image: u32, stream: u32) -> vec4<u32> {
    return philox(vec4<u32>(vector, key.w + image, stream, key.z), key.xy);
}

/// Cosine and sine of turn / 2^32 of a full turn, each within 1.2e-7.
fn cosine_sine(turn: u32) -> vec2<f32> {
    let quarter = (turn + 0x20000000u) >> 30u;
    let angle = f32(bitcast<i32>(turn - (quarter << 30u))) * 1.4629180792671596e-9;
    let square = angle * angle;
    let sine = angle + angle * square * (-0.16666666666666667 + square * (0.008333333333333333
        + square * (-0.0001984126984126984 + square * 2.7557319223985893e-6)));
    let cosine = 1.0 + square * (-0.5 + square * (0.041666666666666667 + square * (-0.001388888888888889
        + square * (2.48015873015873e-5 - square * 2.755731922398589e-7))));
    let turned = select(vec2<f32>(cosine, sine), vec2<f32>(-sine, cosine), (quarter & 1u) == 1u);
    return select(turned, -turned, quarter >= 2u);
}

/// -ln((bits + 0.5) / 2^32), within a few units in the last place, near 1 too: there 1 - u is the exact operand.
fn negative_log(bits: u32) -> f32 {
    let distance = (f32(~bits) + 0.5) * 2.3283064365386963e-10;
    var exponent = 0.0;
    var excess = -distance; // the mantissa less one, between sqrt(1/2) - 1 and sqrt(2) - 1
    if distance > 0.2928932 {
        let shifted = bitcast<u32>(f32(bits) + 0.5) - 0x3f3504f3u;
        exponent = f32(bitcast<i32>(shifted) >> 23u) - 32.0;
        excess = bitcast<f32>((shifted & 0x7fffffu) + 0x3f3504f3u) - 1.0;
    }
    let ratio = excess / (2.0 + excess);
    let square = ratio * ratio;
    let series = 1.0 + square * (0.3333333333333333 + square * (0.2 + square * (0.14285714285714285 + square * 0.1111111111111111)));
    return -(exponent * 0.6931471805599453 + 2.0 * ratio * series);
}

/// Four independent standard normals from four random words.
fn normals(words: vec4<u32>) -> vec4<f32> {
    let first = sqrt(2.0 * negative_log(words.x)) * cosine_sine(words.y);
    let second = sqrt(2.0 * negative_log(words.z)) * cosine_sine(words.w);
    return vec4<f32>(first, second);
}

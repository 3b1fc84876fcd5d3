// Sinusoidal embedding of timesteps.  Vaswani et al. 2017, section 3.5; Ho et al. 2020, appendix B.
//   f_i = period^(-i / (half - shift)),  y = [sin(t f_i), cos(t f_i)] or the halves exchanged; an odd last column is zero
// Angles are turns in 64-bit fixed point, so that t = 999 is as exact as t = 1.
// One invocation per vec4 of y: the first frequency by repeated squaring, the next ones by one product each.
// A time that is not finite has no angle: NaN.
// import: random, finite, invocation
// iterations: forward = 71

struct Params {
    /// Timesteps.
    batch: u32,
    /// Frequencies: half the width, rounded down.
    half_width: u32,
    /// vec4s of one row of `y`.
    width4: u32,
    /// 1 if the cosines come first.
    cosine_first: u32,
    /// f_1, the ratio of two neighbouring frequencies, times 2^64: low and high word.
    ratio: vec2<u32>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> timesteps: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<activation4>;

override WORKGROUP: u32 = 64u;

/// 2^64 / (2 pi): low and high word.
const TURN: vec2<u32> = vec2<u32>(0x9391054au, 0x28be60dbu);

/// The product of two fractions of 2^64, each (low, high).
fn multiply_fractions(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let high = multiply_wide(a.y, b.y);
    let first = multiply_wide(a.y, b.x).y;
    let second = multiply_wide(a.x, b.y).y;
    let partial = high.x + first;
    let low = partial + second;
    return vec2<u32>(low, high.y + u32(partial < first) + u32(low < second));
}

/// Turns per unit of time of frequency `i`, as a fraction of 2^64.
fn frequency(i: u32) -> vec2<u32> {
    var result = TURN;
    var power = params.ratio;
    for (var rest = i; rest > 0u; rest >>= 1u) {
        if (rest & 1u) == 1u {
            result = multiply_fractions(result, power);
        }
        power = multiply_fractions(power, power);
    }
    return result;
}

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = invocation(id, groups);
    let image = index / params.width4;
    if image >= params.batch {
        return;
    }
    let column = 4u * (index - image * params.width4);
    let time = timesteps[image];
    let whole = floor(abs(time));
    let part = u32((abs(time) - whole) * 4294967296.0);
    let has_angle = !not_finite(vec4<f32>(time)).x;
    var result = vec4<f32>();
    var turns = vec2<u32>();
    for (var lane4 = 0u; lane4 < 4u; lane4++) {
        let in_second = column + lane4 >= params.half_width;
        let i = column + lane4 - select(0u, params.half_width, in_second);
        if i >= params.half_width {
            break;
        }
        if lane4 == 0u || i == 0u {
            turns = frequency(i);
        } else {
            turns = multiply_fractions(turns, params.ratio);
        }
        // Whole turns fall off the top of the word.
        let turn = turns.y * u32(whole) + multiply_wide(turns.x, u32(whole)).y + multiply_wide(turns.y, part).y;
        let pair = cosine_sine(turn);
        let sine = select(pair.y, -pair.y, time < 0.0);
        let value = select(sine, pair.x, in_second != (params.cosine_first == 1u));
        result[lane4] = select(nan_of(time), value, has_angle);
    }
    y[index] = narrow_activation(result);
}

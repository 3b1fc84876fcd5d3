// The discretised decoder of Ho et al. 2020, eq. 13, for bytes mapped to -1 .. 1, with the tanh approximation of the normal
// distribution that the released code has: P(z) = sigmoid(k(z)), k(z) = 2 sqrt(2 / pi) (z + 0.044715 z^3).
// sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), which loses no digits in either tail.

/// The least logarithm of a probability: ln 1e-12.
const LEAST: f32 = -27.631021115928547;
const STRETCH: f32 = 1.5957691216057308;

fn stretched(z: vec4<f32>) -> vec4<f32> {
    return STRETCH * z * (1.0 + 0.044715 * z * z);
}

/// The derivative of [`stretched`].
fn stretch(z: vec4<f32>) -> vec4<f32> {
    return STRETCH * (1.0 + 0.134145 * z * z);
}

fn sigmoid(v: vec4<f32>) -> vec4<f32> {
    return 1.0 / (1.0 + exp(-v));
}

fn log_sigmoid(v: vec4<f32>) -> vec4<f32> {
    return min(v, vec4<f32>()) - log(1.0 + exp(-abs(v)));
}

/// The edges of a pixel's bin, in deviations from the mean, and 1 - P(low) / P(high) up to the factor above.
struct Bin {
    low: vec4<f32>,
    high: vec4<f32>,
    share: vec4<f32>,
}

fn bin_of(x0: vec4<f32>, mean: vec4<f32>, log_variance: vec4<f32>) -> Bin {
    let scale = exp(-0.5 * log_variance);
    let high = scale * (x0 - mean + 0.00392156862745098);
    let low = scale * (x0 - mean - 0.00392156862745098);
    let width = 0.00784313725490196 * scale;
    let distance = STRETCH * width * (1.0 + 0.044715 * (high * high + high * low + low * low));
    return Bin(low, high, 1.0 - exp(-distance));
}

/// The logarithm of the probability of the pixel `x0`, at least LEAST; the bins at both ends are open.
fn decoder_log(x0: vec4<f32>, bin: Bin) -> vec4<f32> {
    let above = log_sigmoid(stretched(bin.high));
    let below = log_sigmoid(-stretched(bin.low));
    let inner = above + below + log(bin.share);
    let logarithm = select(select(inner, below, x0 > vec4<f32>(0.999)), above, x0 < vec4<f32>(-0.999));
    // Unlike max, a select keeps numbers that are none.
    return select(logarithm, vec4<f32>(LEAST), logarithm < vec4<f32>(LEAST));
}

/// The derivatives of [`decoder_log`] for the mean and for the logarithm of the variance.
struct DecoderSlope {
    mean: vec4<f32>,
    log_variance: vec4<f32>,
}

fn decoder_slope(x0: vec4<f32>, bin: Bin, log_variance: vec4<f32>) -> DecoderSlope {
    let above = stretched(bin.high);
    let below = stretched(bin.low);
    let first = x0 < vec4<f32>(-0.999);
    let last = x0 > vec4<f32>(0.999);
    let rise = stretch(bin.high) * sigmoid(-above);
    let fall = -stretch(bin.low) * sigmoid(below);
    let high = select(select(rise / (sigmoid(-below) * bin.share), vec4<f32>(), last), rise, first);
    let low = select(select(fall / (sigmoid(above) * bin.share), vec4<f32>(), first), fall, last);
    let counts = decoder_log(x0, bin) > vec4<f32>(LEAST);
    let scale = exp(-0.5 * log_variance);
    return DecoderSlope(
        select(vec4<f32>(), -scale * (high + low), counts),
        select(vec4<f32>(), -0.5 * (high * bin.high + low * bin.low), counts),
    );
}

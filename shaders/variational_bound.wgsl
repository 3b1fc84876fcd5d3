// Terms of the variational bound for each image at its own timestep, in bits per dimension.
//   x0' = clip(from_x x + from_output output),   ln variance = ln posterior variance + span * fraction
//   t > 0: KL between normals, (exp(d) - 1 - d) / 2 + weight exp(d) (x0 - x0')^2 with d = -span * fraction
//   t = 0: -ln of the mass that N(x0', variance) leaves in the bin of x0
// Ho et al. 2020, eq. 5 and 13; fraction = (v + 1) / 2 of the network's second half of channels: Nichol and Dhariwal 2021, eq. 15.
// forward: one workgroup per image; a fixed tree adds what its lanes have summed.
// backward: the gradient of the bound for one half of the output; one invocation per vec4.
// A NaN stays one through clip and least mass; a network that is not finite is told by its count, since clipping hides infinities.
// import: reduce, mask, gelu, finite, image_vector
// iterations: forward = vectors.div_ceil(WORKGROUP) + 1 + halvings(WORKGROUP) + 4

struct Params {
    /// Images.
    batch: u32,
    /// vec4s of one image.
    vectors: u32,
    /// Channels of a pixel.
    channels: u32,
    /// vec4s of a pixel.
    channels4: u32,
    /// vec4s of a pixel of the output.
    output4: u32,
    /// Rows of the table.
    count: u32,
    /// Largest magnitude of the predicted image.
    clip: f32,
    /// Half of the distance between two values of a pixel.
    half_bin: f32,
    /// 1 / elements of an image.
    mean: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> output: array<activation4>;
@group(0) @binding(2) var<storage, read> x0: array<activation4>;
@group(0) @binding(3) var<storage, read> x: array<activation4>;
@group(0) @binding(4) var<storage, read> timesteps: array<f32>;
// from_x, from_output, weight, span; 1 / posterior deviation, 0, 0, 0
@group(0) @binding(5) var<storage, read> table: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> bound: array<f32>;
// the bound, the bound with the exact distribution function, mean squared error of the predicted image, how many numbers of the output are not finite
@group(0) @binding(7) var<storage, read_write> measures: array<vec4<f32>>;

@group(0) @binding(6) var<storage, read> dbound: array<f32>;
@group(0) @binding(7) var<storage, read_write> half: array<activation4>;

override LEARNED: bool = false;
override WORKGROUP: u32 = 256u;

const BITS: f32 = 1.4426950408889634; // 1 / ln 2
const LEAST_MASS: f32 = 1e-12;

/// exp(d) - 1 - d, without cancellation where d is small.
fn excess(d: vec4<f32>) -> vec4<f32> {
    let series = d * d * (0.5 + d * (0.16666667 + d * (0.041666667 + d * (0.0083333333 + d * (0.0013888889
        + d * (1.984127e-4 + d * 2.4801587e-5))))));
    return select(exp(d) - 1.0 - d, series, abs(d) < vec4<f32>(0.5));
}

/// What the network says of the variance of a channel.
fn second(pixel: u32, channel: u32) -> f32 {
    let place = params.channels + min(channel, params.channels - 1u);
    return widen_activation(output[pixel * params.output4 + place / 4u])[place % 4u];
}

/// Where between the smallest and the largest variance the network sees that of these four channels.
fn fraction(pixel: u32, channel4: u32) -> vec4<f32> {
    if !LEARNED {
        return vec4<f32>(1.0);
    }
    let channel = 4u * channel4;
    let four = vec4<f32>(second(pixel, channel), second(pixel, channel + 1u), second(pixel, channel + 2u), second(pixel, channel + 3u));
    return 0.5 * (four + 1.0);
}

/// The distribution function that the released code takes for the normal one: its tanh as a logistic function.
fn logistic(z: vec4<f32>) -> vec4<f32> {
    return 1.0 / (1.0 + exp(-1.5957691 * (z + 0.044715 * z * z * z)));
}

/// -ln of the mass in a bin: all of it below the upper end of an `open` one, between its ends elsewhere.
fn information(upper: vec4<f32>, lower: vec4<f32>, open: vec4<bool>) -> vec4<f32> {
    let mass = select(upper - lower, upper, open);
    return -log(select(max(mass, vec4<f32>(LEAST_MASS)), mass, not_a_number(mass)));
}

@compute @workgroup_size(WORKGROUP)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let image = group.y * groups.x + group.x;
    // The whole workgroup leaves, so the barriers below stay uniform.
    if image >= params.batch {
        return;
    }
    let row = min(u32(timesteps[image]), params.count - 1u);
    let level = table[2u * row];
    let sharpness = table[2u * row + 1u].x;
    var nats = vec4<f32>();
    var exact = vec4<f32>();
    var squares = vec4<f32>();
    var bad = vec4<f32>();
    for (var vector = lane; vector < params.vectors; vector += WORKGROUP) {
        let index = image * params.vectors + vector;
        let pixel = index / params.channels4;
        let channel4 = index % params.channels4;
        let expected = widen_activation(x0[index]);
        let found = widen_activation(output[pixel * params.output4 + channel4]);
        let part = fraction(pixel, channel4);
        let counted = select(vec4<f32>(), vec4<f32>(1.0), not_finite(found)) + select(vec4<f32>(), vec4<f32>(1.0), not_finite(part));
        bad += mask_channels(counted, channel4, params.channels);
        let predicted = clamp_numbers(level.x * widen_activation(x[index]) + level.y * found, vec4<f32>(params.clip));
        let error = mask_channels(expected - predicted, channel4, params.channels);
        squares += error * error;
        let d = -level.w * part;
        if row > 0u {
            nats += mask_channels(0.5 * excess(d) + level.z * exp(d) * error * error, channel4, params.channels);
            continue;
        }
        // Mirrored at the centre where that brings both ends into the lower tail, whose numbers are small and exact.
        let scale = sharpness * exp(0.5 * d);
        let first = expected < vec4<f32>(-0.999);
        let open = first | (expected > vec4<f32>(0.999));
        let centre = scale * select(-abs(error), select(-error, error, first), open);
        let upper = centre + scale * params.half_bin;
        let lower = centre - scale * params.half_bin;
        // A driver's exponential may end at a finite number, as the exact function's approximation does.
        let lost = not_a_number(upper);
        let released = information(logistic(upper), logistic(lower), open);
        nats += mask_channels(select(released, upper, lost), channel4, params.channels);
        let exactly = information(normal_distribution(upper).below, normal_distribution(lower).below, open);
        exact += mask_channels(select(exactly, upper, lost), channel4, params.channels);
    }
    let own = vec4<f32>(dot(nats, vec4<f32>(1.0)), dot(exact, vec4<f32>(1.0)), dot(squares, vec4<f32>(1.0)), dot(bad, vec4<f32>(1.0)));
    let sum = reduce_sum(lane, own);
    let total = params.mean * sum;
    if lane == 0u {
        bound[image] = BITS * total.x;
        measures[image] = vec4<f32>(BITS * total.x, BITS * select(total.y, total.x, row > 0u), total.z, sum.w);
        // The last image writes the pad lanes too.
        for (var pad = params.batch; image + 1u == params.batch && pad % 4u != 0u; pad++) {
            bound[pad] = 0.0;
        }
    }
}

/// Of `backward`: whether the gradient is for the half that says where the variance lies.
override OF_VARIANCE: bool = false;

/// Derivatives of an element's nats for the error of the predicted image and for d.
struct Slopes {
    error: vec4<f32>,
    d: vec4<f32>,
}

/// The argument of [`logistic`]'s exponential, and its derivative.
fn stretched(z: vec4<f32>) -> vec4<f32> {
    return 1.5957691 * (z + 0.044715 * z * z * z);
}

fn stretch(z: vec4<f32>) -> vec4<f32> {
    return 1.5957691 * (1.0 + 0.134145 * z * z);
}

fn sigmoid(v: vec4<f32>) -> vec4<f32> {
    return 1.0 / (1.0 + exp(-v));
}

/// Of the decoder.  The mass between b and a is sigmoid(a) sigmoid(-b) (1 - exp(b - a)), which loses no digits in either tail,
/// so the derivative of its logarithm is sigmoid(-a) / (sigmoid(-b) (1 - exp(b - a))) for a, and mirrored for b.
fn decoder_slopes(expected: vec4<f32>, error: vec4<f32>, scale: vec4<f32>) -> Slopes {
    let upper = scale * (error + params.half_bin);
    let lower = scale * (error - params.half_bin);
    let a = stretched(upper);
    let b = stretched(lower);
    let width = 2.0 * params.half_bin * scale;
    let part = 1.0 - exp(-1.5957691 * width * (1.0 + 0.044715 * (upper * upper + upper * lower + lower * lower)));
    let first = expected < vec4<f32>(-0.999);
    let last = expected > vec4<f32>(0.999);
    let rise = stretch(upper) * sigmoid(-a);
    let fall = -stretch(lower) * sigmoid(b);
    let of_upper = select(select(rise / (sigmoid(-b) * part), vec4<f32>(), last), rise, first);
    let of_lower = select(select(fall / (sigmoid(a) * part), vec4<f32>(), first), fall, last);
    let mass = select(select(sigmoid(a) * sigmoid(-b) * part, sigmoid(-b), last), sigmoid(a), first);
    // A mass that was raised to the least is a constant; a number that is none is passed on.
    let constant = mass < vec4<f32>(LEAST_MASS);
    return Slopes(
        select(-scale * (of_upper + of_lower), vec4<f32>(), constant),
        select(-0.5 * (of_upper * upper + of_lower * lower), vec4<f32>(), constant),
    );
}

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let own = image_vector_of(id, groups);
    if !own.inside {
        return;
    }
    let index = own.index;
    let pixel = index / params.channels4;
    let channel4 = index % params.channels4;
    let row = min(u32(timesteps[own.image]), params.count - 1u);
    let level = table[2u * row];
    let expected = widen_activation(x0[index]);
    let found = level.x * widen_activation(x[index]) + level.y * widen_activation(output[pixel * params.output4 + channel4]);
    let error = expected - clamp_numbers(found, vec4<f32>(params.clip));
    let d = -level.w * fraction(pixel, channel4);
    var slopes: Slopes;
    if row > 0u {
        let weighted = level.z * exp(d) * error;
        slopes = Slopes(2.0 * weighted, 0.5 * (excess(d) + d) + weighted * error);
    } else {
        slopes = decoder_slopes(expected, error, table[2u * row + 1u].x * exp(0.5 * d));
    }
    var slope: vec4<f32>;
    if OF_VARIANCE {
        slope = -0.5 * level.w * slopes.d;
    } else {
        slope = select(-level.y * slopes.error, vec4<f32>(), abs(found) > vec4<f32>(params.clip));
    }
    let scaled = BITS * params.mean * dbound[own.image] * slope;
    half[index] = narrow_activation(mask_channels(scaled, channel4, params.channels));
}

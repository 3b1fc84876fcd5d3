// A classifier's guidance of the next sample, in place: Dhariwal and Nichol 2021, algorithms 1 and 2.
//   x' = x + weight f^2 gradient
// `weight` comes from the table's row. In algorithm 1 it is the variance of the step, which a learned factor f of the
// deviation changes element by element; in algorithm 2 it is what the shifted noise makes of the gradient, and f is 1.
// One invocation per vec4.
// import: bad_step, mask, predicted, finite, image_vector, coefficients
// iterations: forward = 8

struct Params {
    /// Images.
    batch: u32,
    /// vec4s of one image.
    vectors: u32,
    /// Channels of a pixel.
    channels: u32,
    /// vec4s of a pixel.
    channels4: u32,
    /// vec4s of a pixel of `output`, which may have more channels.
    output_channels4: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> row: array<Coefficients>;
// seed low, seed high, step, first image, first bad step counted from 1 or else 0, what was bad in it, 0, 0
@group(0) @binding(2) var<storage, read_write> key: array<atomic<u32>>;
@group(0) @binding(3) var<storage, read> output: array<activation4>;
@group(0) @binding(4) var<storage, read> gradient: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> x: array<vec4<f32>>;

override IS_WIDE: bool = false;
override WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let own = image_vector_of(id, groups);
    // In a step without a weight the gradient does not count.
    if !own.inside || row[0].gradient == 0.0 {
        return;
    }
    let index = own.index;
    var weight = vec4<f32>(row[0].gradient);
    if IS_WIDE {
        // The second half of the channels lies between two log deviations: Nichol and Dhariwal 2021, eq. 15.
        let second = output_at(index / params.channels4, params.channels + 4u * (own.vector % params.channels4));
        let share = 0.5 * second + 0.5;
        let range = row[0].largest_log_deviation - row[0].least_log_deviation;
        weight *= exp(2.0 * (row[0].least_log_deviation + share * range));
    }
    let slope = gradient[index];
    let result = x[index] + weight * slope;
    x[index] = result;
    let bad = select(0u, BAD_GRADIENT, any(not_finite(slope))) | select(0u, BAD_RESULT, any(not_finite(result)));
    if bad != 0u {
        report(bad);
    }
}

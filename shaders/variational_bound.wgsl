// Terms of the variational bound in bits/dim, each image at its own timestep, and their gradient: Ho et al. 2020, eq. 5 to 8.
//   p = from_x x + from_output output, clipped; l = log variance of the model, t = that of the posterior, w = weight of p in its mean
//   term = KL = (exp(t - l) - 1 - (t - l) + (w (x0 - p))^2 exp(-l)) / 2      at timestep 0: - log P(x0 | p), the discretised decoder
//   l = low, or low + (v + 1) / 2 (high - low) with v from the network: Nichol and Dhariwal 2021, eq. 15
// forward: a workgroup per image, a fixed tree.  backward: one invocation per vec4; the grid is (vec4s of an image, images).
// import: decoder, mask, reduce

struct Params {
    /// Images.
    batch: u32,
    /// vec4s of one image.
    vectors: u32,
    /// Channels of a pixel.
    channels: u32,
    /// vec4s of a pixel.
    channels4: u32,
    /// Rows of the table.
    count: u32,
    /// Largest magnitude of the predicted image.
    clip: f32,
    /// 1 / (elements of an image * ln 2).
    bits: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> output: array<activation4>;
@group(0) @binding(2) var<storage, read> variance: array<activation4>;
@group(0) @binding(3) var<storage, read> x0: array<activation4>;
@group(0) @binding(4) var<storage, read> x: array<activation4>;
@group(0) @binding(5) var<storage, read> timesteps: array<f32>;
// Rows of (from_x, from_output, w, weight of x in the posterior's mean), (t, low, high, 0).
@group(0) @binding(6) var<storage, read> table: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> terms: array<f32>;
// Reads eight buffers at most: the gradients of the two halves have dispatches of their own.
@group(0) @binding(7) var<storage, read> dterms: array<f32>;
@group(0) @binding(8) var<storage, read_write> gradient: array<activation4>;

override WORKGROUP: u32 = 128u;
override HAS_VARIANCE: bool = false;
/// Of `backward`: whether the gradient is that of the variance and not of the output.
override OF_VARIANCE: bool = false;

struct Row {
    first: vec4<f32>,
    second: vec4<f32>,
    decodes: bool,
}

fn row_of(image: u32) -> Row {
    let row = min(u32(timesteps[image]), params.count - 1u);
    return Row(table[2u * row], table[2u * row + 1u], row == 0u);
}

fn unclipped(row: Row, index: u32) -> vec4<f32> {
    return row.first.x * widen_activation(x[index]) + row.first.y * widen_activation(output[index]);
}

fn log_variance_of(row: Row, index: u32) -> vec4<f32> {
    if !HAS_VARIANCE {
        return vec4<f32>(row.second.y);
    }
    let share = 0.5 * widen_activation(variance[index]) + 0.5;
    return row.second.y + share * (row.second.z - row.second.y);
}

/// exp(d) - 1 - d, by its series where the difference would cancel.
fn excess(d: vec4<f32>) -> vec4<f32> {
    var series = vec4<f32>(1.0);
    for (var n = 9.0; n > 2.0; n -= 1.0) {
        series = 1.0 + series * d / n;
    }
    return select(exp(d) - 1.0 - d, 0.5 * d * d * series, abs(d) < vec4<f32>(0.5));
}

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let image = group.x;
    var sum = vec4<f32>();
    // The vector of terms is written whole, its pad lanes as zeros.
    if image < params.batch {
        let row = row_of(image);
        for (var i = lane; i < params.vectors; i += WORKGROUP) {
            let index = image * params.vectors + i;
            let original = widen_activation(x0[index]);
            let found = unclipped(row, index);
            // Unlike clamp, a select keeps numbers that are none.
            let clipped = select(found, sign(found) * params.clip, abs(found) > vec4<f32>(params.clip));
            let log_variance = log_variance_of(row, index);
            var term: vec4<f32>;
            if row.decodes {
                let mean = row.first.z * clipped + row.first.w * widen_activation(x[index]);
                term = -decoder_log(original, bin_of(original, mean, log_variance));
            } else {
                let distance = row.first.z * (original - clipped);
                term = 0.5 * (excess(row.second.x - log_variance) + distance * distance * exp(-log_variance));
            }
            sum += mask_channels(term, i % params.channels4, params.channels);
        }
    }
    let total = reduce_sum(lane, sum);
    if lane == 0u {
        terms[image] = params.bits * ((total.x + total.y) + (total.z + total.w));
    }
}

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= params.vectors {
        return;
    }
    let index = id.y * params.vectors + id.x;
    let row = row_of(id.y);
    let original = widen_activation(x0[index]);
    let found = unclipped(row, index);
    let outside = abs(found) > vec4<f32>(params.clip);
    let clipped = select(found, sign(found) * params.clip, outside);
    let log_variance = log_variance_of(row, index);
    var of_mean: vec4<f32>;
    var of_log: vec4<f32>;
    if row.decodes {
        let mean = row.first.z * clipped + row.first.w * widen_activation(x[index]);
        let slope = decoder_slope(original, bin_of(original, mean, log_variance), log_variance);
        of_mean = -slope.mean;
        of_log = -slope.log_variance;
    } else {
        let distance = row.first.z * (original - clipped);
        let narrowness = exp(-log_variance);
        let ratio = row.second.x - log_variance;
        of_mean = -distance * narrowness;
        of_log = -0.5 * (excess(ratio) + ratio + distance * distance * narrowness);
    }
    var value: vec4<f32>;
    if OF_VARIANCE {
        value = 0.5 * (row.second.z - row.second.y) * of_log;
    } else {
        value = select(row.first.y * row.first.z * of_mean, vec4<f32>(), outside);
    }
    let arriving = params.bits * dterms[id.y] * value;
    gradient[index] = narrow_activation(mask_channels(arriving, id.x % params.channels4, params.channels));
}

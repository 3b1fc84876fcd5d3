// From x_t and the network's output to the next x, in place: every sampler is a table of coefficients for this step.
//   x0 = clamp(image_x x + image_output output, -clip, clip)
//   x' = next_x0 x0 + next_output output + next_x x + sum_k recalled_k m_k + sigma noise
//   m_slot' = kept_x0 x0 + kept_output output + kept_x x + sum_k carried_k m_k
// The memories m_k lie one after another in `memory`.
// DDIM: Song et al. 2021, eq. 12.  DDPM: Ho et al. 2020, eq. 7.  The coefficients come from `row`, the noise from a counter.
// Where something is not finite, the key remembers the first such step and what it was.
// One invocation per vec4.
// import: bad_step, random, mask, predicted, finite, image_vector, coefficients
// iterations: forward = 16 + memories

struct Params {
    /// Images.
    batch: u32,
    /// vec4s of one image.
    vectors: u32,
    /// Channels of a pixel.
    channels: u32,
    /// vec4s of a pixel.
    channels4: u32,
    /// Which of the sampler's random streams.
    stream: u32,
    /// vec4s of a pixel of `output`, which may have more channels.
    output_channels4: u32,
    /// Memories.
    memories: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> row: array<Coefficients>;
// seed low, seed high, step, first image, first bad step counted from 1 or else 0, what was bad in it, 0, 0
@group(0) @binding(2) var<storage, read_write> key: array<atomic<u32>>;
@group(0) @binding(3) var<storage, read> output: array<activation4>;
@group(0) @binding(4) var<storage, read> noise: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> bound: array<f32>;
@group(0) @binding(6) var<storage, read> size: array<f32>;
@group(0) @binding(7) var<storage, read_write> memory: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> x: array<vec4<f32>>;

override HAS_NOISE: bool = false;
override HAS_MEMORY: bool = false;
override HAS_BOUND: bool = false;
override HAS_SIZE: bool = false;
override IS_WIDE: bool = false;
override WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let own = image_vector_of(id, groups);
    if !own.inside {
        return;
    }
    let index = own.index;
    let channel4 = own.vector % params.channels4;
    let sigma = row[0].sigma;
    let current = x[index];
    let direction = predicted(index);
    var bad = select(0u, BAD_SAMPLE, any(not_finite(current))) | select(0u, BAD_OUTPUT, any(not_finite(direction)));
    var deviation = vec4<f32>(sigma);
    if IS_WIDE {
        // The second half of the channels lies between two log deviations: Nichol and Dhariwal 2021, eq. 15.
        let second = output_at(index / params.channels4, params.channels + 4u * channel4);
        bad |= select(0u, BAD_OUTPUT, any(not_finite(second)));
        let share = 0.5 * second + 0.5;
        deviation *= exp(row[0].least_log_deviation + share * (row[0].largest_log_deviation - row[0].least_log_deviation));
    }
    var x0 = row[0].image_x * current + row[0].image_output * direction;
    if HAS_BOUND {
        let limit = bound[own.image];
        x0 = clamp_numbers(x0, vec4<f32>(limit)) / limit;
    }
    x0 = clamp_numbers(x0, vec4<f32>(row[0].clip));
    var weight = row[0].next_output;
    if HAS_SIZE {
        let factor = select(1.0, size[own.image], row[0].adaptive != 0.0);
        weight *= factor;
        deviation *= sqrt(factor);
    }
    var result = row[0].next_x0 * x0 + weight * direction + row[0].next_x * current;
    if HAS_MEMORY {
        let recalled = vec4<f32>(row[0].recalled_0, row[0].recalled_1, row[0].recalled_2, row[0].recalled_3);
        let carried = vec4<f32>(row[0].carried_0, row[0].carried_1, row[0].carried_2, row[0].carried_3);
        let whole = params.batch * params.vectors;
        var after = row[0].kept_x0 * x0 + row[0].kept_output * direction + row[0].kept_x * current;
        for (var slot = 0u; slot < params.memories; slot++) {
            // What an earlier run left there counts for nothing; a weight that is NaN is unequal to 0 only so.
            if !(recalled[slot] == 0.0 && carried[slot] == 0.0) {
                let before = memory[slot * whole + index];
                bad |= select(0u, BAD_MEMORY, any(not_finite(before)));
                result += recalled[slot] * before;
                after += carried[slot] * before;
            }
        }
        let slot = row[0].slot;
        if slot >= 0.0 && slot < f32(params.memories) {
            bad |= select(0u, BAD_RESULT, any(not_finite(after)));
            memory[u32(slot) * whole + index] = after;
        }
    }
    if sigma != 0.0 {
        if HAS_NOISE {
            result += deviation * noise[index];
        } else {
            let words = vec4<u32>(atomicLoad(&key[0]), atomicLoad(&key[1]), atomicLoad(&key[2]), atomicLoad(&key[3]));
            let drawn = normals(random_words(words, own.vector, own.image, params.stream));
            result += deviation * mask_channels(drawn, channel4, params.channels);
        }
    }
    x[index] = result;
    bad |= select(0u, BAD_RESULT, any(not_finite(result)));
    if bad != 0u {
        report(bad);
    }
}

// Classifier-free guidance: Ho and Salimans 2022, eq. 6.  The first half of the batch was predicted without its labels (u), the
// second with them (c).
//   e = u + scale (c - u),   y = e (rescale deviation(c) / deviation(e) + 1 - rescale)
// over each image, unbiased: Lin et al. 2023 ("Common Diffusion Noise Schedules"), section 3.4.  Channels that are not guided
// are those of c.
// deviations: one workgroup an image.  forward: one invocation per vec4.
// import: reduce, image_vector
// iterations: deviations = 2 * vectors.div_ceil(WORKGROUP) + 2 + 4 * halvings(WORKGROUP)

struct Params {
    /// Images of the result: half of those predicted.
    batch: u32,
    /// vec4s of one image.
    vectors: u32,
    /// Channels of a pixel that are guided.
    channels: u32,
    /// vec4s of a pixel.
    channels4: u32,
    /// 1 for the prediction with labels, more to move away from the one without.
    scale: f32,
    /// Share of the result with the deviation of `c`.
    rescale: f32,
    /// Guided elements of an image.
    elements: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> predictions: array<activation4>;
@group(0) @binding(2) var<storage, read_write> factors: array<f32>;
@group(0) @binding(2) var<storage, read> factor: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<activation4>;

override HAS_FACTOR: bool = false;
override WORKGROUP: u32 = 256u;

// Which channels of this vec4 are guided.
fn guided(vector: u32) -> vec4<bool> {
    let channel = vec4<u32>(4u * (vector % params.channels4)) + vec4<u32>(0u, 1u, 2u, 3u);
    return channel < vec4<u32>(params.channels);
}

struct Pair {
    labelled: vec4<f32>,
    mixed: vec4<f32>,
}

fn pair(image: u32, vector: u32) -> Pair {
    let plain = widen_activation(predictions[image * params.vectors + vector]);
    let labelled = widen_activation(predictions[(params.batch + image) * params.vectors + vector]);
    return Pair(labelled, plain + params.scale * (labelled - plain));
}

fn total(lane: u32, sums: vec4<f32>) -> f32 {
    let all = reduce_sum(lane, sums);
    return (all.x + all.y) + (all.z + all.w);
}

@compute @workgroup_size(WORKGROUP)
fn deviations(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let image = group.y * groups.x + group.x;
    // The whole workgroup leaves, so the barriers below stay uniform.
    if image >= params.batch {
        return;
    }
    var sums = Pair(vec4<f32>(), vec4<f32>());
    for (var vector = lane; vector < params.vectors; vector += WORKGROUP) {
        let both = pair(image, vector);
        sums.labelled += select(vec4<f32>(), both.labelled, guided(vector));
        sums.mixed += select(vec4<f32>(), both.mixed, guided(vector));
    }
    let labelled_mean = total(lane, sums.labelled) / params.elements;
    let mixed_mean = total(lane, sums.mixed) / params.elements;
    var squares = Pair(vec4<f32>(), vec4<f32>());
    for (var vector = lane; vector < params.vectors; vector += WORKGROUP) {
        let both = pair(image, vector);
        let labelled = select(vec4<f32>(), both.labelled - labelled_mean, guided(vector));
        let mixed = select(vec4<f32>(), both.mixed - mixed_mean, guided(vector));
        squares.labelled += labelled * labelled;
        squares.mixed += mixed * mixed;
    }
    // One less than the elements divides both, and falls out of the ratio.
    let ratio = sqrt(total(lane, squares.labelled) / total(lane, squares.mixed));
    if lane == 0u {
        factors[image] = params.rescale * ratio + (1.0 - params.rescale);
    }
}

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let own = image_vector_of(id, groups);
    if !own.inside {
        return;
    }
    let both = pair(own.image, own.vector);
    var mixed = both.mixed;
    if HAS_FACTOR {
        mixed *= factor[own.image];
    }
    y[own.index] = narrow_activation(select(both.labelled, mixed, guided(own.vector)));
}

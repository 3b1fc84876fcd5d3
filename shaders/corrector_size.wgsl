// How much longer a step of noise is than the network's output: |z|^2 / |output|^2 of each image, which decides the size of a
// corrector's Langevin step.  Song et al. 2021 ("Score-Based Generative Modeling"), algorithms 4 and 5, image by image.
// One workgroup an image; the noise is the one that the step then adds.
// import: random, reduce, mask, predicted
// iterations: forward = vectors.div_ceil(WORKGROUP) + 1 + 2 * halvings(WORKGROUP) + 8

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
    /// Which of the sampler's random streams.
    stream: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> key: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> output: array<activation4>;
@group(0) @binding(3) var<storage, read> noise: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> size: array<f32>;

override HAS_NOISE: bool = false;
override IS_WIDE: bool = false;
override WORKGROUP: u32 = 256u;

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
    var noises = vec4<f32>();
    var outputs = vec4<f32>();
    for (var vector = lane; vector < params.vectors; vector += WORKGROUP) {
        let index = image * params.vectors + vector;
        var z: vec4<f32>;
        if HAS_NOISE {
            z = noise[index];
        } else {
            let drawn = normals(random_words(key[0], vector, image, params.stream));
            z = mask_channels(drawn, vector % params.channels4, params.channels);
        }
        let direction = predicted(index);
        noises += z * z;
        outputs += direction * direction;
    }
    let above = reduce_sum(lane, noises);
    let below = reduce_sum(lane, outputs);
    if lane == 0u {
        // An output of zeros has no direction to correct in.
        let length = (below.x + below.y) + (below.z + below.w);
        size[image] = select(0.0, ((above.x + above.y) + (above.z + above.w)) / length, length > 0.0);
        // The last image's workgroup also fills the pad lanes.
        for (var pad = params.batch; image + 1u == params.batch && pad % 4u != 0u; pad++) {
            size[pad] = 0.0;
        }
    }
}

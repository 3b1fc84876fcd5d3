// From x_t and the network's epsilon to the next x, in place.  Song et al. 2021, eq. 12; Ho et al. 2020, eq. 7 with other coefficients.
//   x0 = clamp((x - sqrt(1 - abar) epsilon) / sqrt(abar), -clip, clip)
//   x  = a x0 + b epsilon + c x + sigma noise
// The coefficients come from `row`, the noise from a counter.  One invocation per vec4; the grid is (vec4s of an image, images).
// import: random, mask

struct Params {
    /// vec4s of one image.
    vectors: u32,
    /// Channels of a pixel.
    channels: u32,
    /// vec4s of a pixel.
    channels4: u32,
    /// Which of the sampler's random streams.
    stream: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// (timestep, sqrt(1 - abar), 1 / sqrt(abar), clip), (a, b, c, sigma)
@group(0) @binding(1) var<storage, read> row: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> key: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> epsilon: array<activation4>;
@group(0) @binding(4) var<storage, read> noise: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> x: array<vec4<f32>>;

override HAS_NOISE: bool = false;
override WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= params.vectors {
        return;
    }
    let index = id.y * params.vectors + id.x;
    let levels = row[0];
    let factors = row[1];
    let current = x[index];
    let direction = widen_activation(epsilon[index]);
    let x0 = clamp((current - levels.y * direction) * levels.z, vec4<f32>(-levels.w), vec4<f32>(levels.w));
    var next = factors.x * x0 + factors.y * direction + factors.z * current;
    if factors.w != 0.0 {
        if HAS_NOISE {
            next += factors.w * noise[index];
        } else {
            let drawn = normals(random_words(key[0], id.x, id.y, params.stream));
            next += factors.w * mask_channels(drawn, id.x % params.channels4, params.channels);
        }
    }
    x[index] = next;
}

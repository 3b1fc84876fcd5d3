// From x_t and the network's output to the next x, in place: every sampler is a table of coefficients for this step.
//   x0 = clamp(u x + v output, -clip, clip)
//   x' = a x0 + b output + c x + m memory + sigma noise,   memory' = d x0 + e output + f x
// DDIM: Song et al. 2021, eq. 12.  DDPM: Ho et al. 2020, eq. 7.  The coefficients come from `row`, the noise from a counter.
// One invocation per vec4; the grid is (vec4s of an image, images).
// import: random, mask, predicted

struct Params {
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
}

@group(0) @binding(0) var<uniform> params: Params;
// (timestep, u, v, clip), (a, b, c, sigma), (d, e, f, m), (least and largest log deviation, adaptive, 0)
@group(0) @binding(1) var<storage, read> row: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> key: array<vec4<u32>>;
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
fn forward(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= params.vectors {
        return;
    }
    let index = id.y * params.vectors + id.x;
    let channel4 = id.x % params.channels4;
    let image = row[0];
    let next = row[1];
    let current = x[index];
    let direction = predicted(index);
    var deviation = vec4<f32>(next.w);
    if IS_WIDE {
        // The second half of the channels lies between two log deviations: Nichol and Dhariwal 2021, eq. 15.
        let share = 0.5 * output_at(index / params.channels4, params.channels + 4u * channel4) + 0.5;
        deviation *= exp(row[3].x + share * (row[3].y - row[3].x));
    }
    var x0 = image.y * current + image.z * direction;
    if HAS_BOUND {
        let limit = bound[id.y];
        x0 = clamp(x0, vec4<f32>(-limit), vec4<f32>(limit)) / limit;
    }
    x0 = clamp(x0, vec4<f32>(-image.w), vec4<f32>(image.w));
    var weight = next.y;
    if HAS_SIZE {
        let factor = select(1.0, size[id.y], row[3].z != 0.0);
        weight *= factor;
        deviation *= sqrt(factor);
    }
    var result = next.x * x0 + weight * direction + next.z * current;
    if HAS_MEMORY {
        let kept = row[2];
        result += kept.w * memory[index];
        memory[index] = kept.x * x0 + kept.y * direction + kept.z * current;
    }
    if next.w != 0.0 {
        if HAS_NOISE {
            result += deviation * noise[index];
        } else {
            let drawn = normals(random_words(key[0], id.x, id.y, params.stream));
            result += deviation * mask_channels(drawn, channel4, params.channels);
        }
    }
    x[index] = result;
}

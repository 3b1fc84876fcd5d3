// Random tensors from a key, by Philox: standard normals, and timesteps uniform in 0 .. count.
// normal: one invocation per vec4.  timesteps: one invocation per image.
// import: random, mask, image_vector
// iterations: normal = 11
// iterations: timesteps = 11

struct Params {
    /// Images.
    batch: u32,
    /// normal: vec4s of one image.
    vectors: u32,
    /// Channels of a pixel.
    channels: u32,
    /// vec4s of a pixel.
    channels4: u32,
    /// Which of the model's random streams.
    stream: u32,
    /// timesteps: how many there are.
    count: u32,
    /// timesteps: images of the step whose timestep is drawn; those behind them mirror the first ones.
    drawn: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> key: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> y: array<activation4>;
@group(0) @binding(2) var<storage, read_write> drawn: array<f32>;

override WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn normal(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let own = image_vector_of(id, groups);
    if !own.inside {
        return;
    }
    let value = normals(random_words(key[0], own.vector, own.image, params.stream));
    y[own.index] = narrow_activation(mask_channels(value, own.vector % params.channels4, params.channels));
}

@compute @workgroup_size(WORKGROUP)
fn timesteps(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let place = id.y * groups.x * WORKGROUP + id.x;
    // The vector is written whole, its pad lanes as zeros.
    if place >= (params.batch + 3u) / 4u * 4u {
        return;
    }
    // Of the first image this is its number in the step.
    let mirrors = key[0].w + place >= params.drawn;
    let image = select(place, place - params.drawn, mirrors);
    let own = multiply_wide(random_words(key[0], 0u, image, params.stream).x, params.count).y;
    let timestep = select(own, params.count - 1u - own, mirrors);
    drawn[place] = select(0.0, f32(timestep), place < params.batch);
}

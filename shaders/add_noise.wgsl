// A sample of q(x_t | x_0), each image at its own time.  Ho et al. 2020, eq. 4.
//   y = signal[t] * x + deviation[t] * noise      with signal = sqrt(abar), deviation = sqrt(1 - abar)
// forward: noise given.  draw: noise drawn here and written beside y, for it is what the network has to find.
// numbered: noise drawn here for the image of this number at this time, wherever in a batch it lies.
// One invocation per vec4.
// import: random, mask, image_vector
// iterations: draw = 11
// iterations: numbered = 11

struct Params {
    /// Images.
    batch: u32,
    /// vec4s of one image.
    vectors: u32,
    /// Channels of a pixel.
    channels: u32,
    /// vec4s of a pixel.
    channels4: u32,
    /// Which of the model's random streams.
    stream: u32,
    /// Rows of the table of coefficients.
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<activation4>;
@group(0) @binding(2) var<storage, read> timesteps: array<f32>;
@group(0) @binding(3) var<storage, read> coefficients: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> given: array<activation4>;
@group(0) @binding(4) var<storage, read> key: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read_write> y: array<activation4>;
@group(0) @binding(6) var<storage, read_write> noise: array<activation4>;
@group(0) @binding(6) var<storage, read> numbers: array<u32>;

override WORKGROUP: u32 = 64u;

fn mix_noise(own: ImageVector, drawn: vec4<f32>) {
    let row = min(u32(timesteps[own.image]), params.count - 1u);
    let levels = coefficients[row];
    y[own.index] = narrow_activation(levels.x * widen_activation(x[own.index]) + levels.y * drawn);
}

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let own = image_vector_of(id, groups);
    if !own.inside {
        return;
    }
    mix_noise(own, widen_activation(given[own.index]));
}

@compute @workgroup_size(WORKGROUP)
fn draw(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let own = image_vector_of(id, groups);
    if !own.inside {
        return;
    }
    let value = normals(random_words(key[0], own.vector, own.image, params.stream));
    let drawn = mask_channels(value, own.vector % params.channels4, params.channels);
    noise[own.index] = narrow_activation(drawn);
    mix_noise(own, drawn);
}

@compute @workgroup_size(WORKGROUP)
fn numbered(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let own = image_vector_of(id, groups);
    if !own.inside {
        return;
    }
    let own_key = vec4<u32>(key[0].xy, u32(timesteps[own.image]), numbers[own.image]);
    let value = normals(random_words(own_key, own.vector, 0u, params.stream));
    mix_noise(own, mask_channels(value, own.vector % params.channels4, params.channels));
}

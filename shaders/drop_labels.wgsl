// Class labels of which some give way to the null label: Ho and Salimans 2021, algorithm 1.  One invocation per image.
// import: random
// iterations: forward = 11

struct Params {
    /// Images.
    batch: u32,
    /// Which of the model's random streams.
    stream: u32,
    /// A random word below this drops its label: probability * 2^32.
    threshold: u32,
    /// The label that stands for none.
    null_label: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> labels: array<u32>;
@group(0) @binding(2) var<storage, read> key: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> kept: array<u32>;

override WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let image = id.y * groups.x * WORKGROUP + id.x;
    // The vector is written whole, its pad lanes as zeros.
    if image >= (params.batch + 3u) / 4u * 4u {
        return;
    }
    if image >= params.batch {
        kept[image] = 0u;
        return;
    }
    let drops = random_words(key[0], 0u, image, params.stream).x < params.threshold;
    kept[image] = select(labels[image], params.null_label, drops);
}

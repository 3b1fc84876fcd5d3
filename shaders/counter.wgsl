// The end of a step or of a micro-batch: the counter moves on, the step's numbers go to the host's history.  One invocation each.
//   counter, key = (seed low, seed high, step, first image), (first bad step counted from 1 or else 0, 0, 0, 0)
// A bad step that is skipped counts as any other.  Another one leaves the counter where it is and is remembered; the
// steps after it see that and change nothing either, nor do they write over what it recorded.

struct Params {
    /// advance: what a good step adds to the counter.
    increment: u32,
    /// record: rows of the history.
    capacity: u32,
    /// next_images: images of the micro-batch.
    images: u32,
    /// next_images: images of the step.
    step_images: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> key: array<vec4<u32>>;
// global norm, clip scale, 1 if the step is good
@group(0) @binding(2) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> counter: array<vec4<u32>>;
// The last number is 1 if a bad step is skipped
@group(0) @binding(4) var<storage, read> tally: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> loss: array<f32>;
@group(0) @binding(4) var<storage, read_write> history: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> loss_scale: array<f32>;

override HAS_NORM: bool = false;
override HAS_TALLY: bool = false;
override HAS_LOSS_SCALE: bool = false;

@compute @workgroup_size(1)
fn advance() {
    var words = key[0];
    var state = key[1];
    var good = true;
    if HAS_NORM {
        good = norm[0].z == 1.0;
    }
    if HAS_TALLY {
        good = good || (tally[0].w == 1.0 && state.x == 0u);
    }
    if good {
        words.z += params.increment;
    } else if state.x == 0u {
        state.x = words.z + 1u;
    }
    words.w = counter[0].w;
    counter[0] = words;
    counter[1] = state;
}

@compute @workgroup_size(1)
fn next_images() {
    counter[0].w = (key[0].w + params.images) % params.step_images;
}

@compute @workgroup_size(1)
fn record() {
    if key[1].x == 0u {
        var row = vec4<f32>(loss[0], norm[0].xyz);
        if HAS_LOSS_SCALE {
            row.z = loss_scale[0];
        }
        history[key[0].z % params.capacity] = row;
    }
}

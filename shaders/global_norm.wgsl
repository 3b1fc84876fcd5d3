// The norm of all gradients together, the factor that clips it, and the verdict on the step.  Pascanu et al. 2013, algorithm 1.
//   norm = sqrt(sum of g^2) / s,   scale = min(1, clip / (norm + 1e-6)) / s,   good = norm and loss are finite and no step was bad before
// The gradients are those of s times the loss; s is 1 without a loss scale.
// parts: each of at most 256 workgroups per gradient sums a strided part; fold: one workgroup adds those sums.  Both are fixed trees.
// import: reduce
// iterations: parts = vectors.div_ceil((groups * WORKGROUP).max(1)) + 1 + halvings(WORKGROUP)
// iterations: fold = groups.div_ceil(WORKGROUP) + 1 + halvings(WORKGROUP)

struct Params {
    /// parts: vec4s of this gradient.
    vectors: u32,
    /// parts: workgroups; fold: sums of all gradients.
    groups: u32,
    /// parts: where this gradient's sums begin.
    first: u32,
    /// Largest norm that is left alone.
    clip: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gradient: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> partials: array<f32>;
@group(0) @binding(1) var<storage, read> sums: array<f32>;
@group(0) @binding(2) var<storage, read> loss: array<f32>;
@group(0) @binding(3) var<storage, read> key: array<vec4<u32>>;
// norm, scale, 1 if the step is good or else 0, 0
@group(0) @binding(4) var<storage, read_write> norm: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> loss_scale: array<f32>;

override HAS_LOSS: bool = false;
override HAS_KEY: bool = false;
override HAS_LOSS_SCALE: bool = false;
override WORKGROUP: u32 = 256u;

@compute @workgroup_size(WORKGROUP)
fn parts(@builtin(workgroup_id) group_id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    var sum = vec4<f32>();
    for (var index = group_id.x * WORKGROUP + lane; index < params.vectors; index += params.groups * WORKGROUP) {
        let g = gradient[index];
        sum += g * g;
    }
    let total = reduce_sum(lane, sum);
    if lane == 0u {
        partials[params.first + group_id.x] = (total.x + total.y) + (total.z + total.w);
    }
}

/// Neither infinite nor NaN, by the bits: compilers may take floats to be finite.
fn finite(bits: u32) -> bool {
    return (bits & 0x7f800000u) != 0x7f800000u;
}

@compute @workgroup_size(WORKGROUP)
fn fold(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var index = lane; index < params.groups; index += WORKGROUP) {
        sum += sums[index];
    }
    let total = reduce_sum(lane, vec4<f32>(sum)).x;
    if lane == 0u {
        var good = finite(bitcast<u32>(total));
        if HAS_LOSS {
            good = good && finite(bitcast<u32>(loss[0]));
        }
        if HAS_KEY {
            good = good && key[1].x == 0u;
        }
        var length = sqrt(total);
        if HAS_LOSS_SCALE {
            length /= loss_scale[0];
        }
        var scale = 1.0;
        if length + 1e-6 > params.clip {
            scale = params.clip / (length + 1e-6);
        }
        if HAS_LOSS_SCALE {
            scale /= loss_scale[0];
        }
        norm[0] = vec4<f32>(length, scale, select(0.0, 1.0, good), 0.0);
    }
}

// The bound that dynamic thresholding sets to the predicted image: Saharia et al. 2022, section 2.3.
//   bound[n] = clamp(quantile of |u x + v output| over image n, 1, limit)
// One workgroup an image.  The bits of floats that are not negative stand in the floats' own order, so the one of a given
// rank is found bit by bit, by counting those below.  The quantile lies between two ranks: linear, as torch.quantile, and as
// there it is NaN where one of the magnitudes is.
// import: reduce, mask, predicted, finite
// iterations: ranked = 32 + 31 * (vectors.div_ceil(WORKGROUP) + 1 + halvings(WORKGROUP))
// iterations: has_nan = vectors.div_ceil(WORKGROUP) + 1 + halvings(WORKGROUP)
// iterations: forward = 2 * ranked + has_nan + 12

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
    /// The lower of the two ranks, counted from 0.
    rank: u32,
    /// The higher.
    next_rank: u32,
    /// How far between them the quantile lies, 0 to 1.
    share: f32,
    /// Largest bound.
    limit: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> row: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> output: array<activation4>;
@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> bound: array<f32>;

override IS_WIDE: bool = false;
override WORKGROUP: u32 = 256u;

fn magnitudes(index: u32) -> vec4<f32> {
    return abs(row[0].y * x[index] + row[0].z * predicted(index));
}

// Whether one of the image's magnitudes is NaN.
fn has_nan(lane: u32, image: u32) -> bool {
    var found = vec4<f32>();
    for (var vector = lane; vector < params.vectors; vector += WORKGROUP) {
        let counted = select(vec4<f32>(), vec4<f32>(1.0), not_a_number(magnitudes(image * params.vectors + vector)));
        found += mask_channels(counted, vector % params.channels4, params.channels);
    }
    return any(reduce_sum(lane, found) > vec4<f32>());
}

// The number of this rank among those of the image.
fn ranked(lane: u32, image: u32, rank: u32) -> f32 {
    var found = 0u;
    for (var bit = 1u << 30u; bit > 0u; bit >>= 1u) {
        let candidate = found | bit;
        var below = vec4<f32>();
        for (var vector = lane; vector < params.vectors; vector += WORKGROUP) {
            let x0 = magnitudes(image * params.vectors + vector);
            let counted = select(vec4<f32>(), vec4<f32>(1.0), bitcast<vec4<u32>>(x0) < vec4<u32>(candidate));
            below += mask_channels(counted, vector % params.channels4, params.channels);
        }
        let total = reduce_sum(lane, below);
        if (total.x + total.y) + (total.z + total.w) <= f32(rank) {
            found = candidate;
        }
    }
    return bitcast<f32>(found);
}

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let image = group.x;
    let low = ranked(lane, image, params.rank);
    let high = ranked(lane, image, params.next_rank);
    let is_nan = has_nan(lane, image);
    if lane == 0u {
        // Two infinite ones have no difference.
        let quantile = clamp(select(low + params.share * (high - low), low, low == high), 1.0, params.limit);
        bound[image] = select(quantile, nan_of(low), is_nan);
        // The last image's workgroup also fills the pad lanes.
        for (var pad = params.batch; image + 1u == params.batch && pad % 4u != 0u; pad++) {
            bound[pad] = 0.0;
        }
    }
}

// The bound that dynamic thresholding sets to the predicted image: Saharia et al. 2022, section 2.3.
//   bound[n] = clamp(quantile of |image_x x + image_output output| over image n, 1, limit)
// The bits of floats that are not negative stand in the floats' own order, so the number of a given rank is found digit by
// digit, eight bits each, by counting how often each digit follows those found before.  `forward`: one workgroup an image.
// Of a large image several workgroups `count` a digit, each after adding up what all of them have counted of the one before.
// The quantile lies between two ranks: linear, as torch.quantile, and as there it is NaN where one of the magnitudes is.
// import: mask, predicted, finite, coefficients
// iterations: digit = 6 * chunk_vectors.div_ceil(256) + 1 + 9
// iterations: count = chunks + 1 + digit
// iterations: forward = chunks + 1 + 4 * (digit + 1) + 1 + 4

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
    /// Workgroups that share an image.
    chunks: u32,
    /// vec4s that each of them counts; the last one may have fewer.
    chunk_vectors: u32,
    /// Of `count`: the lowest bit of the digit.
    shift: u32,
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
@group(0) @binding(1) var<storage, read> row: array<Coefficients>;
@group(0) @binding(2) var<storage, read> output: array<activation4>;
@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;
// Of each image and both ranks: the digits found, the ranks among the numbers that begin with these, and for each chunk how
// often each digit follows.
@group(0) @binding(4) var<storage, read> counts: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read_write> counts_out: array<vec2<u32>>;
@group(0) @binding(6) var<storage, read_write> bound: array<f32>;

override IS_WIDE: bool = false;
override HAS_COUNTS: bool = false;

// Digits, and invocations of a workgroup.
const BINS = 256u;
const DIGIT_BITS = 8u;
const FIRST_SHIFT = 24u;
// What stands for NaN: no number has its first digit.
const NAN_BITS = 0xffffffffu;

// What is known of the two ranks.
struct Places {
    found: vec2<u32>,
    ranks: vec2<u32>,
}

var<workgroup> places: Places;
var<workgroup> sums: array<vec2<u32>, BINS>;
var<workgroup> bins: array<atomic<u32>, BINS>;
var<workgroup> next_bins: array<atomic<u32>, BINS>;

// Where in `counts` an image begins, and what was counted of it.
fn first_of(image: u32) -> u32 {
    return image * (2u + params.chunks * BINS);
}

fn unknown() -> Places {
    return Places(vec2<u32>(), vec2<u32>(params.rank, params.next_rank));
}

// How often digit number `lane` follows what is known, counted by all workgroups of the image.
fn counted(lane: u32, image: u32) -> vec2<u32> {
    let first = first_of(image);
    var own = vec2<u32>();
    for (var chunk = 0u; chunk < params.chunks; chunk++) {
        own += counts[first + 2u + chunk * BINS + lane];
    }
    return own;
}

// That among so many vec4s of the image; the digit's lowest bit is `shift`.
fn tally(lane: u32, image: u32, begin: u32, end: u32, known: Places, shift: u32) -> vec2<u32> {
    let differ = known.found.x != known.found.y;
    atomicStore(&bins[lane], 0u);
    atomicStore(&next_bins[lane], 0u);
    workgroupBarrier();
    for (var vector = begin + lane; vector < end; vector += BINS) {
        let index = image * params.vectors + vector;
        let predicted_image = row[0].image_x * x[index] + row[0].image_output * predicted(index);
        let bits = select(magnitude_bits(predicted_image), vec4<u32>(NAN_BITS), not_a_number(predicted_image));
        let channel = 4u * (vector % params.channels4);
        for (var i = 0u; i < min(4u, params.channels - channel); i++) {
            // Small where the digits before are those found.
            let digit = (bits[i] ^ known.found.x) >> shift;
            if digit < BINS {
                atomicAdd(&bins[digit], 1u);
            }
            let next_digit = (bits[i] ^ known.found.y) >> shift;
            if differ && next_digit < BINS {
                atomicAdd(&next_bins[next_digit], 1u);
            }
        }
    }
    workgroupBarrier();
    let own = atomicLoad(&bins[lane]);
    return vec2<u32>(own, select(own, atomicLoad(&next_bins[lane]), differ));
}

// What is known with one digit more, of which each lane has counted one value; every lane is told.
fn find(lane: u32, own: vec2<u32>, known: Places, shift: u32) -> Places {
    sums[lane] = own;
    workgroupBarrier();
    for (var stride = 1u; stride < BINS; stride *= 2u) {
        var before = vec2<u32>();
        if lane >= stride {
            before = sums[lane - stride];
        }
        workgroupBarrier();
        sums[lane] += before;
        workgroupBarrier();
    }
    var ranks = known.ranks;
    if shift == FIRST_SHIFT && sums[BINS - 1u].x > sums[BINS - 2u].x {
        // Of an image with NaN both ranks are the last.
        ranks = sums[BINS - 1u] - 1u;
    }
    let found = known.found | vec2<u32>(lane << shift);
    let end = sums[lane];
    let begin = end - own;
    if begin.x <= ranks.x && ranks.x < end.x {
        places.found.x = found.x;
        places.ranks.x = ranks.x - begin.x;
    }
    if begin.y <= ranks.y && ranks.y < end.y {
        places.found.y = found.y;
        places.ranks.y = ranks.y - begin.y;
    }
    workgroupBarrier();
    return places;
}

@compute @workgroup_size(BINS)
fn count(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let image = group.z * groups.y + group.y;
    // The whole workgroup leaves, so the barriers below stay uniform.
    if image >= params.batch {
        return;
    }
    let first = first_of(image);
    var known = unknown();
    if HAS_COUNTS {
        known = find(lane, counted(lane, image), Places(counts[first], counts[first + 1u]), params.shift + DIGIT_BITS);
    }
    let begin = group.x * params.chunk_vectors;
    let end = min(begin + params.chunk_vectors, params.vectors);
    counts_out[first + 2u + group.x * BINS + lane] = tally(lane, image, begin, end, known, params.shift);
    if group.x == 0u && lane == 0u {
        counts_out[first] = known.found;
        counts_out[first + 1u] = known.ranks;
    }
}

@compute @workgroup_size(BINS)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let image = group.y * groups.x + group.x;
    if image >= params.batch {
        return;
    }
    var known = unknown();
    if HAS_COUNTS {
        let first = first_of(image);
        known = find(lane, counted(lane, image), Places(counts[first], counts[first + 1u]), 0u);
    } else {
        for (var digit = 0u; digit < 4u; digit++) {
            let shift = FIRST_SHIFT - DIGIT_BITS * digit;
            known = find(lane, tally(lane, image, 0u, params.vectors, known, shift), known, shift);
        }
    }
    if lane == 0u {
        let low = bitcast<f32>(known.found.x);
        let high = bitcast<f32>(known.found.y);
        // Two infinite ones have no difference.
        let quantile = select(low + params.share * (high - low), low, known.found.x == known.found.y);
        bound[image] = select(clamp(quantile, 1.0, params.limit), low, known.found.x == NAN_BITS);
        // The last image's workgroup also fills the pad lanes.
        for (var pad = params.batch; image + 1u == params.batch && pad % 4u != 0u; pad++) {
            bound[pad] = 0.0;
        }
    }
}

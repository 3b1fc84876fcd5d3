// Timesteps drawn by the second moment of their losses: Nichol and Dhariwal 2021, section 3.3.
//   p[t] = 0.999 sqrt(mean of the last 10 losses^2) / (its sum) + 0.001 / T, once every timestep has 10 losses; before, 1 / T
//   t ~ p,   factor = 1 / (T p[t])
// A row of the memory holds 10 losses, the oldest overwritten first, and their number, which goes on to 19 and back to 10, so
// that its last digit says where the next loss goes.
// probabilities, draw: one workgroup.  remember: one invocation per timestep takes the batch's losses in order.
// import: random, reduce
// iterations: run = count.div_ceil(WORKGROUP)
// iterations: probabilities = 2 * (run + 2) + halvings(WORKGROUP)
// iterations: draw = run + halvings(WORKGROUP) + (batch + 3).div_ceil(WORKGROUP) * (halvings(WORKGROUP) + run + 14) + 4
// iterations: remember = batch + 2

struct Params {
    /// Timesteps.
    count: u32,
    /// Images.
    batch: u32,
    /// Which of the model's random streams.
    stream: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> memory: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> probabilities_out: array<f32>;
@group(0) @binding(1) var<storage, read> key: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> known: array<f32>;
@group(0) @binding(3) var<storage, read_write> timesteps_out: array<f32>;
@group(0) @binding(4) var<storage, read_write> factors: array<f32>;
@group(0) @binding(1) var<storage, read> timesteps: array<f32>;
@group(0) @binding(2) var<storage, read> losses: array<f32>;
// global norm, clip scale, 1 if the step is good
@group(0) @binding(3) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> kept: array<f32>;

override WORKGROUP: u32 = 256u;

@compute @workgroup_size(WORKGROUP)
fn probabilities(@builtin(local_invocation_index) lane: u32) {
    // (sum of the weights, timesteps that lack losses)
    var sums = vec2<f32>();
    for (var t = lane; t < params.count; t += WORKGROUP) {
        let first = memory[3u * t];
        let second = memory[3u * t + 1u];
        let third = memory[3u * t + 2u];
        let squares = dot(first, first) + dot(second, second) + dot(third.xy, third.xy);
        sums += vec2<f32>(sqrt(0.1 * squares), select(0.0, 1.0, third.z < 10.0));
    }
    let totals = reduce_sum(lane, vec4<f32>(sums, 0.0, 0.0));
    let uniform_share = 1.0 / f32(params.count);
    let informed = totals.y == 0.0 && totals.x > 0.0;
    for (var t = lane; t < (params.count + 3u) / 4u * 4u; t += WORKGROUP) {
        var p = 0.0;
        if t < params.count {
            p = uniform_share;
            if informed {
                let first = memory[3u * t];
                let second = memory[3u * t + 1u];
                let third = memory[3u * t + 2u];
                let squares = dot(first, first) + dot(second, second) + dot(third.xy, third.xy);
                p = 0.999 * sqrt(0.1 * squares) / totals.x + 0.001 * uniform_share;
            }
        }
        probabilities_out[t] = p;
    }
}

var<workgroup> ends: array<f32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn draw(@builtin(local_invocation_index) lane: u32) {
    // A lane sums a run of timesteps; `ends` become the sums up to the end of each run.
    let run = (params.count + WORKGROUP - 1u) / WORKGROUP;
    var sum = 0.0;
    for (var t = lane * run; t < min((lane + 1u) * run, params.count); t++) {
        sum += known[t];
    }
    ends[lane] = sum;
    for (var stride = 1u; stride < WORKGROUP; stride <<= 1u) {
        workgroupBarrier();
        var before = 0.0;
        if lane >= stride {
            before = ends[lane - stride];
        }
        workgroupBarrier();
        ends[lane] += before;
    }
    workgroupBarrier();
    let total = ends[WORKGROUP - 1u];
    for (var image = lane; image < (params.batch + 3u) / 4u * 4u; image += WORKGROUP) {
        if image >= params.batch {
            timesteps_out[image] = 0.0;
            factors[image] = 0.0;
            continue;
        }
        let word = random_words(key[0], 0u, image, params.stream).x;
        let place = f32(word >> 8u) * 5.9604644775390625e-8 * total;
        // The first run that ends behind the place, then the timestep in it.
        var first = 0u;
        for (var half = WORKGROUP / 2u; half > 0u; half >>= 1u) {
            if ends[first + half - 1u] <= place {
                first += half;
            }
        }
        var t = min(first * run, params.count - 1u);
        var end = known[t];
        if first > 0u {
            end += ends[first - 1u];
        }
        while end <= place && t + 1u < min((first + 1u) * run, params.count) {
            t++;
            end += known[t];
        }
        timesteps_out[image] = f32(t);
        factors[image] = 1.0 / (f32(params.count) * known[t]);
    }
}

@compute @workgroup_size(WORKGROUP)
fn remember(@builtin(global_invocation_id) id: vec3<u32>) {
    let t = id.x;
    if t >= params.count || norm[0].z != 1.0 {
        return;
    }
    var number = u32(kept[12u * t + 10u]);
    for (var image = 0u; image < params.batch; image++) {
        if u32(timesteps[image]) == t {
            kept[12u * t + number % 10u] = losses[image];
            number = select(number + 1u, 10u, number == 19u);
        }
    }
    kept[12u * t + 10u] = f32(number);
}

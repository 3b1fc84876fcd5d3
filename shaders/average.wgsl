// A moving average of the weights beside that of the optimizer: average += (1 - beta) (p - average).
//   beta = decay, or min(decay, (1 + step) / (10 + step)) if it warms up
//   beta = (1 - 1/t)^exponent with t = step + 1: a power function of time (Karras et al. 2024, eq. 121)
// A step whose verdict is no leaves everything as it was.  One invocation per vec4.
// import: invocation
// iterations: forward = 20

struct Params {
    /// vec4s of the parameter.
    vectors: u32,
    /// 1 - decay.
    rate: f32,
    /// 1 if the decay begins lower.
    warmup: u32,
    /// The exponent of a power function; 0 for a decay.
    exponent: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
// seed low, seed high, step
@group(0) @binding(1) var<storage, read> key: array<vec4<u32>>;
// global norm, clip scale, 1 if the step is good
@group(0) @binding(2) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> parameter: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> average: array<vec4<f32>>;

override WORKGROUP: u32 = 256u;

/// 1 - exp(-x) for x >= 0, by its series where the difference would cancel.
fn complement(x: f32) -> f32 {
    if x > 0.5 {
        return 1.0 - exp(-x);
    }
    var sum = 1.0;
    for (var n = 9.0; n > 1.0; n -= 1.0) {
        sum = 1.0 - sum * x / n;
    }
    return x * sum;
}

/// -ln(1 - 1/t) for t >= 2: twice the area tangent of 1 / (2t - 1).
fn logarithm(t: f32) -> f32 {
    let z = 1.0 / (2.0 * t - 1.0);
    let square = z * z;
    var sum = 0.0;
    for (var n = 17.0; n > 0.0; n -= 2.0) {
        sum = 1.0 / n + square * sum;
    }
    return 2.0 * z * sum;
}

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = invocation(id, groups);
    if index >= params.vectors || norm[0].z != 1.0 {
        return;
    }
    let step = f32(key[0].z);
    var rate = select(params.rate, max(params.rate, 9.0 / (10.0 + step)), params.warmup == 1u);
    if params.exponent > 0.0 {
        rate = select(complement(params.exponent * logarithm(step + 1.0)), 1.0, step == 0.0);
    }
    let before = average[index];
    average[index] = before + rate * (parameter[index] - before);
}

// Multiply-adds in registers: what the arithmetic units do when nothing waits for memory.
//   y = sum over j of s_j,   s_j = s_j factor + addend, again and again
// Each invocation keeps enough independent sums to hide the latency of one.
// tile: SUMS = 3
// iterations: forward = rounds * 5 + 1

struct Params {
    /// Steps of `STEPS` multiply-adds of each sum.
    rounds: u32,
    /// What a sum is multiplied by in each step; one keeps the result exact.
    factor: f32,
    /// What is added to it.
    addend: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
// One per invocation: without it the compiler would drop the work.
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;

override WORKGROUP: u32 = 64u;

// Multiply-adds of each sum in a round. A loop's own cost is that of a few, and software drivers blend in every iteration
// what it changes: so eight stand in one.
const STEPS: u32 = 32u;

fn eight_steps(sum: vec4<f32>, factor: vec4<f32>, addend: vec4<f32>) -> vec4<f32> {
    var s = fma(sum, factor, addend);
    s = fma(s, factor, addend);
    s = fma(s, factor, addend);
    s = fma(s, factor, addend);
    s = fma(s, factor, addend);
    s = fma(s, factor, addend);
    s = fma(s, factor, addend);
    return fma(s, factor, addend);
}

@compute @workgroup_size(WORKGROUP)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let factor = vec4(params.factor);
    let addend = vec4(params.addend);
    var sums: array<vec4<f32>, SUMS>;
    for (var j = 0u; j < SUMS; j++) {
        sums[j] = vec4(f32(local + j));
    }
    for (var round = 0u; round < params.rounds; round++) {
        for (var step = 0u; step < STEPS; step += 8u) {
            for (var j = 0u; j < SUMS; j++) {
                sums[j] = eight_steps(sums[j], factor, addend);
            }
        }
    }
    var sum = vec4(0.0);
    for (var j = 0u; j < SUMS; j++) {
        sum += sums[j];
    }
    y[group.x * WORKGROUP + local] = sum;
}

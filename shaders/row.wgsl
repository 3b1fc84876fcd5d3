// What changes from step to step, written once at its beginning by one workgroup.
//   counter, key = (seed low, seed high, step, first image), (first bad step counted from 1 or else 0, 0, 0, 0)
//   training row = (learning rate, 1 - beta1^t, 1 - beta2^t, 1 - ema decay)    with t = step + 1
//   timesteps = the first column of the table, of all rows; steps = the number of this step, for every image
//   sampling row = the row of the table, of which the first number is the timestep
// Warm-up is linear, and so is the decay after it; the EMA's decay is min(decay, (1 + step) / (10 + step)) if it warms up too.
// import: coefficients
// iterations: training = 20
// iterations: sampling = batch.div_ceil(256) + 7
// iterations: all_timesteps = 5

struct Params {
    /// training: the learning rate after the warm-up.
    learning_rate: f32,
    /// training: steps of the warm-up; the first has rate learning_rate / warmup.
    warmup: u32,
    /// training: steps at whose end the rate has fallen to zero; 0 if it does not fall.
    decay_steps: u32,
    /// training: ln beta1.
    first_log: f32,
    /// training: ln beta2.
    second_log: f32,
    /// training: 1 - decay of the moving average.
    ema_rate: f32,
    /// training: 1 if the decay begins lower.
    ema_warmup: u32,
    /// sampling: rows of the table.
    steps: u32,
    /// sampling: images.
    batch: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> counter: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> key: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> row: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> coefficients: array<Coefficients>;
@group(0) @binding(4) var<storage, read> table: array<Coefficients>;
@group(0) @binding(5) var<storage, read_write> timesteps: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> steps: array<vec4<u32>>;

/// 1 - exp(-x) for x >= 0, by its series where the difference would cancel.
fn one_less_exponential(x: f32) -> f32 {
    if x > 0.5 {
        return 1.0 - exp(-x);
    }
    var sum = 1.0;
    for (var n = 9.0; n > 1.0; n -= 1.0) {
        sum = 1.0 - sum * x / n;
    }
    return x * sum;
}

@compute @workgroup_size(1)
fn training() {
    let words = counter[0];
    let step = f32(words.z);
    let warmed = min(1.0, (step + 1.0) / max(f32(params.warmup), 1.0));
    let end = f32(params.decay_steps);
    let left = clamp((end - step) / max(end - f32(params.warmup), 1.0), 0.0, 1.0);
    let rate = params.learning_rate * warmed * select(left, 1.0, params.decay_steps == 0u);
    let first = one_less_exponential(-(step + 1.0) * params.first_log);
    let second = one_less_exponential(-(step + 1.0) * params.second_log);
    let ema_rate = select(params.ema_rate, max(params.ema_rate, 9.0 / (10.0 + step)), params.ema_warmup == 1u);
    key[0] = words;
    key[1] = counter[1];
    row[0] = vec4<f32>(rate, first, second, ema_rate);
}

const LANES: u32 = 64u;

@compute @workgroup_size(LANES)
fn sampling(@builtin(local_invocation_index) lane: u32) {
    let words = counter[0];
    let step = min(words.z, params.steps - 1u);
    let timestep = table[step].timestep;
    if lane == 0u {
        key[0] = words;
        key[1] = counter[1];
        coefficients[0] = table[step];
    }
    for (var image = 4u * lane; image < params.batch; image += 4u * LANES) {
        let inside = vec4<u32>(image) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.batch);
        timesteps[image / 4u] = select(vec4<f32>(), vec4<f32>(timestep), inside);
        steps[image / 4u] = select(vec4<u32>(), vec4<u32>(step), inside);
    }
}

@compute @workgroup_size(LANES)
fn all_timesteps(@builtin(global_invocation_id) id: vec3<u32>) {
    let step = 4u * id.x;
    if step >= params.steps {
        return;
    }
    var column: vec4<f32>;
    for (var lane = 0u; lane < 4u; lane++) {
        if step + lane < params.steps {
            column[lane] = table[step + lane].timestep;
        }
    }
    timesteps[id.x] = column;
}

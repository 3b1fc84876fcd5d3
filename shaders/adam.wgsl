// One step of Adam (Kingma and Ba 2015, algorithm 1) or AdamW (Loshchilov and Hutter 2019), with the moving average of the weights, and a
// copy of them in halves, rounded once.
//   g = scale * gradient + l2 * p        m += (1 - beta1) (g - m)        v += (1 - beta2) (g^2 - v)
//   p = (1 - rate * decay) p - rate * (m / correction1) / (sqrt(v / correction2) + epsilon)        ema += (1 - ema_decay) (p - ema)
// A step whose verdict is no leaves everything as it was.  One invocation per vec4.
// import: invocation

struct Params {
    /// vec4s of the parameter.
    vectors: u32,
    /// 1 - beta1.
    first_rate: f32,
    /// 1 - beta2.
    second_rate: f32,
    /// Added to the root of the second moment.
    epsilon: f32,
    /// Weight decay that is added to the gradient (Adam).
    l2: f32,
    /// Weight decay that shrinks the parameter (AdamW).
    decay: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
// learning rate, 1 - beta1^t, 1 - beta2^t, 1 - ema_decay
@group(0) @binding(1) var<storage, read> row: array<vec4<f32>>;
// global norm, clip scale, 1 if the step is good
@group(0) @binding(2) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> gradient: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> parameter: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> first_moment: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> second_moment: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> ema: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> halves: array<weight4>;

override HAS_EMA: bool = false;
override HAS_HALVES: bool = false;
override WORKGROUP: u32 = 256u;

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = invocation(id, groups);
    let verdict = norm[0];
    if index >= params.vectors || verdict.z != 1.0 {
        return;
    }
    let rates = row[0];
    let before = parameter[index];
    let g = verdict.y * gradient[index] + params.l2 * before;
    var m = first_moment[index];
    m += params.first_rate * (g - m);
    var v = second_moment[index];
    v += params.second_rate * (g * g - v);
    let direction = (m / rates.y) / (sqrt(v / rates.z) + params.epsilon);
    let after = before - rates.x * (params.decay * before + direction);
    first_moment[index] = m;
    second_moment[index] = v;
    parameter[index] = after;
    if HAS_EMA {
        let average = ema[index];
        ema[index] = average + rates.w * (after - average);
    }
    if HAS_HALVES {
        halves[index] = narrow_weight(after);
    }
}

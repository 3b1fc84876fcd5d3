// The learning rate of a step, lowered: row = (factor * row.x, row.yzw)
//   cosine: factor = sin(pi u / 2)^2 with u = clamp((steps - step) / (steps - warmup), 0, 1), which is (1 + cos(pi (1 - u))) / 2
//   inverse root: factor = 1 / sqrt(max((step + 1) / steps, 1))
// One workgroup.

struct Params {
    /// 0: cosine, 1: inverse root.
    kind: u32,
    /// Steps before a cosine falls.
    warmup: u32,
    /// Steps at whose end a cosine has fallen to zero, or after which an inverse root falls.
    steps: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// seed low, seed high, step
@group(0) @binding(1) var<storage, read> key: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> row: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> lowered: array<vec4<f32>>;

/// The sine of x in 0 to pi / 2, by its series: small ones keep all of their digits.
fn sine(x: f32) -> f32 {
    let y = x * x;
    let high = 1.0 / 362880.0 + y * (-1.0 / 39916800.0 + y / 6227020800.0);
    return x * (1.0 + y * (-1.0 / 6.0 + y * (1.0 / 120.0 + y * (-1.0 / 5040.0 + y * high))));
}

@compute @workgroup_size(1)
fn forward() {
    let step = f32(key[0].z);
    let steps = f32(params.steps);
    var factor = 1.0 / sqrt(max((step + 1.0) / max(steps, 1.0), 1.0));
    if params.kind == 0u {
        let left = clamp((steps - step) / max(steps - f32(params.warmup), 1.0), 0.0, 1.0);
        let root = sine(1.57079632679 * left);
        factor = root * root;
    }
    lowered[0] = row[0] * vec4<f32>(factor, 1.0, 1.0, 1.0);
}

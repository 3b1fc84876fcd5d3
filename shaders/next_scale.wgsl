// The loss scale of the next step.  Micikevicius et al. 2018, "Mixed Precision Training", section 3.2, as PyTorch's GradScaler.
//   a good step: after `interval` of them in a row scale *= 2, at most `most`
//   a bad one: scale /= 2, and the step is skipped, unless that would be one of more than `skips` in a row or take the scale below `least`
//   tally = (good steps since the scale changed, skipped in a row, skipped in all, 1 if this step is skipped and the run goes on)
// After a step that was bad for good nothing changes.  One invocation.

struct Params {
    /// Good steps until the scale grows.
    interval: f32,
    /// Largest scale.
    most: f32,
    /// Least scale.
    least: f32,
    /// Steps that may be skipped in a row.
    skips: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
// global norm, clip scale, 1 if the step is good
@group(0) @binding(1) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> key: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> scale: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> tally: array<vec4<f32>>;

@compute @workgroup_size(1)
fn forward() {
    if key[1].x != 0u {
        return;
    }
    var now = tally[0];
    var factor = scale[0].x;
    if norm[0].z == 1.0 {
        now = vec4<f32>(now.x + 1.0, 0.0, now.z, 0.0);
        if now.x >= params.interval {
            factor = min(2.0 * factor, params.most);
            now.x = 0.0;
        }
    } else if now.y + 1.0 > params.skips || 0.5 * factor < params.least {
        now.w = 0.0;
    } else {
        factor *= 0.5;
        now = vec4<f32>(0.0, now.y + 1.0, now.z + 1.0, 1.0);
    }
    scale[0] = vec4<f32>(factor, 0.0, 0.0, 0.0);
    tally[0] = now;
}

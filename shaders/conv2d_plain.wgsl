// Convolution in both directions, as conv2d_subgroup.wgsl has it (the same sum), term by term.
// Tiling: one invocation per pixel and vec4 of channels; nothing is shared.
// import: convolution, invocation
// iterations: forward = kernel_height + kernel_height * kernel_width * (in_channels.div_ceil(4) + 1) + 2

override WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = invocation(id, groups);
    let pixel = index / params.out_channels4;
    let column = index - pixel * params.out_channels4;
    let row = pixel / params.out_width;
    let n = row / params.out_height;
    if n >= params.batch {
        return;
    }
    let first_y = i32((row - n * params.out_height) * params.stride) - i32(params.top);
    let first_x = i32((pixel - row * params.out_width) * params.stride) - i32(params.left);
    let in_channels4 = (params.in_channels + 3u) / 4u;
    var sum = vec4<f32>();
    for (var ky = 0u; ky < params.kernel_height; ky++) {
        for (var kx = 0u; kx < params.kernel_width; kx++) {
            let spread_y = first_y + i32(ky);
            let spread_x = first_x + i32(kx);
            let iy = u32(spread_y) / params.spread;
            let ix = u32(spread_x) / params.spread;
            let meets = spread_y >= 0 && spread_x >= 0 && iy * params.spread == u32(spread_y) && ix * params.spread == u32(spread_x);
            if !meets || iy >= params.in_height || ix >= params.in_width {
                continue;
            }
            let source = ((n * params.in_height + iy) * params.in_width + ix) * in_channels4;
            let tap = (ky * params.kernel_width + kx) * params.in_channels;
            // Short sums meet a longer one: a third of the rounding.
            var tap_sum = vec4<f32>();
            for (var k = 0u; k < in_channels4; k++) {
                let a = widen_activation(x[source + k]);
                // The pad lanes of x are zero; any weight of this tap will do for them.
                let channel = vec4<u32>(4u * k, 4u * k + 1u, 4u * k + 2u, 4u * k + 3u);
                let at = (tap + min(channel, vec4<u32>(params.in_channels - 1u))) * params.out_channels4 + column;
                var s = a.x * widen_weight(weight[at.x]);
                s = fma(vec4<f32>(a.y), widen_weight(weight[at.y]), s);
                s = fma(vec4<f32>(a.z), widen_weight(weight[at.z]), s);
                s = fma(vec4<f32>(a.w), widen_weight(weight[at.w]), s);
                tap_sum += s;
            }
            sum += tap_sum;
        }
    }
    y[index] = narrow_activation(finish(sum + bias_of(column), pixel, column));
}

// The maximum or the average of each window of an image: y[n, i, j, c] over x[n, i stride + ky - padding, j stride + kx - padding, c].
// What lies outside of the image takes no part, and does not count.  One invocation per vec4.
// import: invocation
// iterations: forward = kernel * kernel + kernel

struct Params {
    /// vec4s of the result.
    vectors: u32,
    /// vec4s of one pixel.
    channels4: u32,
    /// Rows of x.
    in_height: u32,
    /// Columns of x.
    in_width: u32,
    /// Rows of the result.
    out_height: u32,
    /// Columns of the result.
    out_width: u32,
    /// Side of a window.
    kernel: u32,
    /// Pixels from one window to the next.
    stride: u32,
    /// Pixels outside of the image, on each side.
    padding: u32,
    /// 1: the average, 0: the maximum.
    average: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<activation4>;
@group(0) @binding(2) var<storage, read_write> y: array<activation4>;

override WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = invocation(id, groups);
    if index >= params.vectors {
        return;
    }
    let pixel = index / params.channels4;
    let channel4 = index - pixel * params.channels4;
    let line = pixel / params.out_width;
    let column = pixel - line * params.out_width;
    let image = line / params.out_height;
    let row = line - image * params.out_height;
    var sum = vec4<f32>();
    var most = vec4<f32>(-3.4028234e38);
    var count = 0.0;
    for (var ky = 0u; ky < params.kernel; ky++) {
        let source_row = i32(row * params.stride + ky) - i32(params.padding);
        if source_row < 0 || source_row >= i32(params.in_height) {
            continue;
        }
        for (var kx = 0u; kx < params.kernel; kx++) {
            let source_column = i32(column * params.stride + kx) - i32(params.padding);
            if source_column >= 0 && source_column < i32(params.in_width) {
                let place = (image * params.in_height + u32(source_row)) * params.in_width + u32(source_column);
                let value = widen_activation(x[place * params.channels4 + channel4]);
                sum += value;
                most = max(most, value);
                count += 1.0;
            }
        }
    }
    // The sum carries what is not finite to where a maximum would drop it.
    let carried = select(sum * 0.0, vec4<f32>(), abs(sum) <= vec4<f32>(3.4028234e38));
    y[index] = narrow_activation(select(most + carried, sum / count, params.average == 1u));
}

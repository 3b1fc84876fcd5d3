// Pools over square windows, which may overlap.  y[n, i, j, c] is the maximum, or the average, over ky, kx < kernel of
//   x[n, i stride + ky - padding, j stride + kx - padding, c]
// What lies outside of the image takes no part, and does not count; every window has a pixel inside.
// One invocation per vec4 of y.
// import: finite, invocation
// iterations: maximum = (kernel + 1) * (kernel + 1) + 1
// iterations: average = (kernel + 1) * (kernel + 1) + 1

struct Params {
    /// vec4s of y.
    vectors: u32,
    /// vec4s of one pixel.
    channels4: u32,
    /// Rows of x.
    in_height: u32,
    /// Columns of x.
    in_width: u32,
    /// Rows of y.
    out_height: u32,
    /// Columns of y.
    out_width: u32,
    /// Side of a window.
    kernel: u32,
    /// Pixels from one window to the next.
    stride: u32,
    /// Pixels outside of the image, on each side.
    padding: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<activation4>;
@group(0) @binding(2) var<storage, read_write> y: array<activation4>;

override WORKGROUP: u32 = 64u;

// The part of a window inside of its image, and the place of the image's first vec4 of these channels.
struct Window {
    top: u32,
    bottom: u32,
    left: u32,
    right: u32,
    first: u32,
}

// The window that vec4 number `index` of y is of.
fn window_of(index: u32) -> Window {
    let pixel = index / params.channels4;
    let line = pixel / params.out_width;
    let image = line / params.out_height;
    let row = (line - image * params.out_height) * params.stride;
    let column = (pixel - line * params.out_width) * params.stride;
    return Window(
        max(row, params.padding) - params.padding,
        min(row + params.kernel - params.padding, params.in_height),
        max(column, params.padding) - params.padding,
        min(column + params.kernel - params.padding, params.in_width),
        image * params.in_height * params.in_width * params.channels4 + index - pixel * params.channels4,
    );
}

fn pixel_at(window: Window, row: u32, column: u32) -> vec4<f32> {
    return widen_activation(x[window.first + (row * params.in_width + column) * params.channels4]);
}

@compute @workgroup_size(WORKGROUP)
fn maximum(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = invocation(id, groups);
    if index >= params.vectors {
        return;
    }
    let window = window_of(index);
    var most = pixel_at(window, window.top, window.left);
    // A driver's maximum may drop NaN: the last one of the window is kept beside it.
    var bad = vec4<f32>();
    for (var row = window.top; row < window.bottom; row++) {
        for (var column = window.left; column < window.right; column++) {
            let value = pixel_at(window, row, column);
            most = max(most, value);
            bad = select(bad, value, not_a_number(value));
        }
    }
    y[index] = narrow_activation(select(most, bad, not_a_number(bad)));
}

@compute @workgroup_size(WORKGROUP)
fn average(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = invocation(id, groups);
    if index >= params.vectors {
        return;
    }
    let window = window_of(index);
    var sum = vec4<f32>();
    for (var row = window.top; row < window.bottom; row++) {
        for (var column = window.left; column < window.right; column++) {
            sum += pixel_at(window, row, column);
        }
    }
    let count = f32((window.bottom - window.top) * (window.right - window.left));
    y[index] = narrow_activation(sum / count);
}

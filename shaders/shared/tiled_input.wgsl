// What the tiled kernels of a convolution and of its weight gradient read for their input: `x`, or the concatenation of `x`
// and of what the kernel's `second_at` reads, normalized and activated on the way.
// import: silu

// [batch, 3, in_channels]: center, scale and shift of each image and channel.
@group(0) @binding(8) var<storage, read> affine: array<vec4<f32>>;

override HAS_AFFINE: bool = false;
/// Whether SiLU follows `affine`.
override SILU: bool = false;

/// Four channels of the input at a pixel of `x`.
fn input_at(pixel: u32, image: u32, c4: u32) -> vec4<f32> {
    let in_channels4 = (params.in_channels + 3u) / 4u;
    var value: vec4<f32>;
    if JOINED {
        // Both, so that no load waits for a branch.
        let first = widen_activation(x[pixel * params.split4 + min(c4, params.split4 - 1u)]);
        let place = pixel * (in_channels4 - params.split4) + max(c4, params.split4) - params.split4;
        value = select(first, second_at(place), c4 >= params.split4);
    } else {
        value = widen_activation(x[pixel * in_channels4 + c4]);
    }
    if HAS_AFFINE {
        let own = 3u * image * in_channels4 + c4;
        value = fma(value - affine[own], affine[own + in_channels4], affine[own + 2u * in_channels4]);
    }
    if SILU {
        value = silu(value);
    }
    return value;
}

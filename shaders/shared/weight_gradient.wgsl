// What the direct kernels of a weight gradient are told.
struct Params {
    /// Rows of an image of `x`.
    in_height: u32,
    /// Pixels in a row of `x`.
    in_width: u32,
    /// Channels of the input.
    in_channels: u32,
    /// Of a concatenation: vec4s of its channels that `x` holds. Else 0.
    split4: u32,
    /// Halvings from the image that the convolution sees to what `x` holds: 1 reads every pixel four times.
    upsample: u32,
    /// Rows of an image of `dy`.
    out_height: u32,
    /// Pixels in a row of `dy`.
    out_width: u32,
    /// Channels of `dy`, in vec4.
    out_channels4: u32,
    /// Rows of taps.
    kernel_height: u32,
    /// Taps in a row.
    kernel_width: u32,
    /// Source pixels from one output pixel to the next.
    stride: u32,
    /// Rows of zeros above the image.
    top: u32,
    /// Zeros left of the image.
    left: u32,
    /// Output pixels in all images.
    pixels: u32,
    /// Output pixels that a slot adds.
    slot_pixels: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<activation4>;
@group(0) @binding(2) var<storage, read> dy: array<activation4>;
@group(0) @binding(3) var<storage, read_write> dweight: array<vec4<f32>>;

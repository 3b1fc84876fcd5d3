// What the direct kernels of a convolution are told, bind, and add to the sums of their products. The importer binds x and the
// weight, as numbers or as pairs.
// import: silu

struct Params {
    /// Images.
    batch: u32,
    /// Rows of an image of `x`.
    in_height: u32,
    /// Pixels in a row of `x`.
    in_width: u32,
    /// Channels of `x`: rows of one tap of `weight`.
    in_channels: u32,
    /// Of a concatenation: vec4s of its channels that `x` holds; the others are in `residual`. Else 0.
    split4: u32,
    /// Halvings from the image that the convolution sees to what `x` holds: 1 reads every pixel four times.
    upsample: u32,
    /// Rows of an image of `y`.
    out_height: u32,
    /// Pixels in a row of `y`.
    out_width: u32,
    /// Channels of `y`, in vec4.
    out_channels4: u32,
    /// Channels of `y`: rows of one tap of a turned `weight`.
    out_channels: u32,
    /// Rows of taps.
    kernel_height: u32,
    /// Taps in a row.
    kernel_width: u32,
    /// Source pixels from one output pixel to the next.
    stride: u32,
    /// Output pixels from one source pixel to the next; 1, or the forward stride in an input gradient.
    spread: u32,
    /// Rows of zeros above the image; at most `kernel_height - 1`.
    top: u32,
    /// Zeros left of the image; at most `kernel_width - 1`.
    left: u32,
    /// Pixels of a phase in a row: `out_width / spread`, rounded up.
    lattice_width: u32,
    /// Workgroups side by side along the channels of `y`; the grid's x axis has this many for each phase.
    column_groups: u32,
    /// Whether there is a bias.
    has_bias: u32,
    /// Whether there is an embedding.
    has_embedding: u32,
    /// vec4s of a row of it.
    embedding_pitch4: u32,
    /// Those before the channels that are added.
    embedding_first4: u32,
    /// Whether there is a residual.
    has_residual: u32,
    /// Whether SiLU is applied.
    silu: u32,
    /// Whether moments are wanted.
    has_moments: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
// [batch, channels]: out_channels of them are added.
@group(0) @binding(4) var<storage, read> embedding: array<activation4>;
@group(0) @binding(5) var<storage, read> residual: array<activation4>;
@group(0) @binding(6) var<storage, read_write> y: array<activation4>;

/// The bias of a vec4 of channels.
fn bias_of(column: u32) -> vec4<f32> {
    if params.has_bias != 0u {
        return bias[column];
    }
    return vec4<f32>();
}

/// What `y` holds at a pixel and vec4 of channels whose products sum to `sum`.
fn finish(sum: vec4<f32>, pixel: u32, column: u32) -> vec4<f32> {
    var value = sum;
    if params.has_embedding != 0u {
        let image = pixel / (params.out_height * params.out_width);
        value += widen_activation(embedding[image * params.embedding_pitch4 + params.embedding_first4 + column]);
    }
    if params.has_residual != 0u && params.split4 == 0u {
        value += widen_activation(residual[pixel * params.out_channels4 + column]);
    }
    if params.silu != 0u {
        value = silu(value);
    }
    return value;
}

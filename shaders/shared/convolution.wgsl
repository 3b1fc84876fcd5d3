// What the direct kernels of a convolution are told.
struct Params {
    /// Images.
    batch: u32,
    /// Rows of an image of `x`.
    in_height: u32,
    /// Pixels in a row of `x`.
    in_width: u32,
    /// Channels of `x`: rows of one tap of `weight`.
    in_channels: u32,
    /// Rows of an image of `y`.
    out_height: u32,
    /// Pixels in a row of `y`.
    out_width: u32,
    /// Channels of `y`, in vec4.
    out_channels4: u32,
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

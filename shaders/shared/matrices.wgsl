// What the kernels of matrix products are told.
struct Params {
    /// Rows of x and y.
    rows: u32,
    /// Rows of a weight: columns of x.
    in_channels: u32,
    /// Columns of `x0`, in vec4; those of `x1` come after them.
    split4: u32,
    /// Columns of y, in vec4.
    out_channels4: u32,
    /// Products.
    batch: u32,
    /// Workgroups along the rows.
    row_groups: u32,
    /// Whether there is a bias.
    has_bias: u32,
    /// Whether there is a residual.
    has_residual: u32,
    /// Whether SiLU is applied.
    silu: u32,
}

@group(0) @binding(0) var<uniform> params: Params;

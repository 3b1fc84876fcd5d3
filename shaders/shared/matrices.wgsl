// Matrix products by subgroups, one for each of `batch` pairs of matrices. The importer says what a Unit of channels is
// (fours or eights), binds x0, x1 and the weight, and loads the weights of a unit.
// import: silu

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
@group(0) @binding(4) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> residual: array<activation4>;
@group(0) @binding(6) var<storage, read_write> y: array<activation4>;

override HAS_X1: bool = false;

const ROWS = LANES * ROWS_PER_LANE;

@compute @workgroup_size(LANES)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let lane = local.x;
    // Software drivers read a uniform once for all lanes only where no branch can have stopped the first of them.
    let out_channels4 = params.out_channels4;
    let rows = params.rows;
    let has_bias = params.has_bias != 0u;
    let has_residual = params.has_residual != 0u;
    let has_silu = params.silu != 0u;
    let split = params.split4 / UNIT4;
    let in_channels = params.in_channels;
    let in_units = (in_channels + 3u) / 4u / UNIT4;
    let x1_units = in_units - split;

    let slab = group.z * groups.y + group.y;
    let n = slab / params.row_groups;
    if n >= params.batch {
        return;
    }
    let first_row = (slab - n * params.row_groups) * ROWS;
    var row: array<u32, ROWS_PER_LANE>;
    for (var r = 0u; r < ROWS_PER_LANE; r++) {
        row[r] = n * rows + min(first_row + r * LANES + lane, rows - 1u);
    }
    let own_column = group.x * LANES + lane;
    let panels = (out_channels4 + LANES - 1u) / LANES;
    let first_weight = (n * panels + group.x) * in_channels;

    // Loops over a whole array: drivers unroll them whatever they hold, and only then keep it in registers.
    var sum: array<array<vec4<f32>, LANES>, ROWS_PER_LANE>;
    for (var k = 0u; k < in_units; k++) {
        var a: array<Unit, ROWS_PER_LANE>;
        for (var r = 0u; r < ROWS_PER_LANE; r++) {
            if HAS_X1 && k >= split {
                a[r] = unit_of(x1[row[r] * x1_units + k - split]);
            } else {
                a[r] = unit_of(x0[row[r] * split + k]);
            }
        }
        var b: Columns;
        for (var q = 0u; q < 4u; q++) {
            insert(&b, q, weights_at(first_weight, k, q, in_channels, lane));
        }
        for (var r = 0u; r < ROWS_PER_LANE; r++) {
            for (var source = 0u; source < LANES; source++) {
                // Short sums meet a longer one: a third of the rounding.
                sum[r][source] += product(a[r], source, b);
            }
        }
    }

    if own_column >= out_channels4 {
        return;
    }
    var addend = vec4<f32>();
    if has_bias {
        addend = bias[own_column];
    }
    for (var r = 0u; r < ROWS_PER_LANE; r++) {
        for (var source = 0u; source < LANES; source++) {
            let own_row = first_row + r * LANES + source;
            if own_row < rows {
                let element = (n * rows + own_row) * out_channels4 + own_column;
                var value = sum[r][source] + addend;
                if has_residual {
                    value += widen_activation(residual[element]);
                }
                if has_silu {
                    value = silu(value);
                }
                y[element] = narrow_activation(value);
            }
        }
    }
}

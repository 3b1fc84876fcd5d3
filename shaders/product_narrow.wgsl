// Matrix products with few columns, one for each of `batch` pairs of matrices:
//   y[n, row, :] = activation(sum over k of x[n, row, k] weight[n, k, :] + bias + residual[n, row, :])
// where x may stand in two matrices, side by side.
// Tiling: a lane computes ROWS_PER_LANE rows by all columns, at most COLUMNS4 vec4. It loads four elements of its own
// rows of x; the weights are loaded once for the subgroup and go round by shuffles, the sums stay in registers.
// tile: LANES = 8
// tile: COLUMNS4 = 4
// tile: ROWS_PER_LANE = 8
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
@group(0) @binding(1) var<storage, read> x0: array<activation4>;
@group(0) @binding(2) var<storage, read> x1: array<activation4>;
@group(0) @binding(3) var<storage, read> weight: array<weight4>;
@group(0) @binding(4) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> residual: array<activation4>;
@group(0) @binding(6) var<storage, read_write> y: array<activation4>;

override HAS_X1: bool = false;

const ROWS = LANES * ROWS_PER_LANE;
// vec4s of weights for four elements of a row of x, and those that a lane loads.
const WEIGHTS = 4u * COLUMNS4;
const LOADS = (WEIGHTS + LANES - 1u) / LANES;

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
    let split4 = params.split4;
    let in_channels = params.in_channels;

    let slab = group.z * groups.y + group.y;
    let n = slab / params.row_groups;
    if n >= params.batch {
        return;
    }
    let first_row = (slab - n * params.row_groups) * ROWS + lane;
    let in_channels4 = (in_channels + 3u) / 4u;
    let x1_channels4 = in_channels4 - split4;
    var row: array<u32, ROWS_PER_LANE>;
    for (var r = 0u; r < ROWS_PER_LANE; r++) {
        row[r] = n * rows + min(first_row + r * LANES, rows - 1u);
    }
    let first_weight = n * in_channels;
    var own_channel: array<u32, LOADS>;
    var own_column: array<u32, LOADS>;
    for (var i = 0u; i < LOADS; i++) {
        let w = i * LANES + lane;
        own_channel[i] = w / COLUMNS4;
        own_column[i] = min(w % COLUMNS4, out_channels4 - 1u);
    }

    var sum: array<vec4<f32>, ROWS_PER_LANE * COLUMNS4>;
    for (var k = 0u; k < in_channels4; k++) {
        var loaded: array<vec4<f32>, LOADS>;
        for (var i = 0u; i < LOADS; i++) {
            // The pad lanes of x are zero; any weight will do for them.
            let weight_row = first_weight + min(4u * k + own_channel[i], in_channels - 1u);
            loaded[i] = widen_weight(weight[weight_row * out_channels4 + own_column[i]]);
        }
        var a: array<vec4<f32>, ROWS_PER_LANE>;
        for (var r = 0u; r < ROWS_PER_LANE; r++) {
            if HAS_X1 && k >= split4 {
                a[r] = widen_activation(x1[row[r] * x1_channels4 + k - split4]);
            } else {
                a[r] = widen_activation(x0[row[r] * split4 + k]);
            }
        }
        var b: array<vec4<f32>, WEIGHTS>;
        for (var w = 0u; w < WEIGHTS; w++) {
            b[w] = subgroupShuffle(loaded[w / LANES], w % LANES);
        }
        for (var i = 0u; i < ROWS_PER_LANE * COLUMNS4; i++) {
            let r = i / COLUMNS4;
            let o = i % COLUMNS4;
            // Short sums meet a longer one: a third of the rounding.
            var s = vec4<f32>(a[r].x) * b[o];
            s = fma(vec4<f32>(a[r].y), b[COLUMNS4 + o], s);
            s = fma(vec4<f32>(a[r].z), b[2u * COLUMNS4 + o], s);
            s = fma(vec4<f32>(a[r].w), b[3u * COLUMNS4 + o], s);
            sum[i] += s;
        }
    }

    for (var i = 0u; i < ROWS_PER_LANE * COLUMNS4; i++) {
        let own_row = first_row + i / COLUMNS4 * LANES;
        let column = i % COLUMNS4;
        if own_row < rows && column < out_channels4 {
            let element = (n * rows + own_row) * out_channels4 + column;
            var value = sum[i];
            if has_bias {
                value += bias[column];
            }
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

// Matrix products, one for each of `batch` pairs of matrices:
//   y[n, row, :] = activation(sum over k of x[n, row, k] weight[n, k, :] + bias + residual[n, row, :])
// where x may stand in two matrices, side by side.
// Tiling: a subgroup computes LANES * ROWS_PER_LANE rows by LANES * 4 columns. Each lane loads four elements of its own
// rows of x and four weights of its own columns; x goes round by shuffles, the sums stay in registers.
// The weight is cut into panels of LANES vec4 of columns: see panels.wgsl.
// tile: LANES = 8
// tile: ROWS_PER_LANE = 4
// import: combine, silu, matrices
// iterations: forward = in_channels.div_ceil(4) + 4

@group(0) @binding(1) var<storage, read> x0: array<activation4>;
@group(0) @binding(2) var<storage, read> x1: array<activation4>;
@group(0) @binding(3) var<storage, read> weight: array<weight4>;
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
    let split4 = params.split4;
    let in_channels = params.in_channels;
    let in_channels4 = (in_channels + 3u) / 4u;
    let x1_channels4 = in_channels4 - split4;

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
    for (var k = 0u; k < in_channels4; k++) {
        var a: array<vec4<f32>, ROWS_PER_LANE>;
        for (var r = 0u; r < ROWS_PER_LANE; r++) {
            if HAS_X1 && k >= split4 {
                a[r] = widen_activation(x1[row[r] * x1_channels4 + k - split4]);
            } else {
                a[r] = widen_activation(x0[row[r] * split4 + k]);
            }
        }
        var b: mat4x4<f32>;
        for (var q = 0u; q < 4u; q++) {
            // The pad lanes of x are zero; any weight will do for them.
            let weight_row = first_weight + min(k * 4u + q, in_channels - 1u);
            b[q] = widen_weight(weight[weight_row * LANES + lane]);
        }
        for (var r = 0u; r < ROWS_PER_LANE; r++) {
            for (var source = 0u; source < LANES; source++) {
                let element = subgroupShuffle(a[r], source);
                // Short sums meet a longer one: a third of the rounding.
                sum[r][source] += combine(element, b);
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

// The products of product_subgroup.wgsl for software drivers, which charge for a load by the lane and the element,
// however wide it is: an element is 64 bits here, two numbers. `in_channels`, and those in each of two x, are a multiple
// of 8, and a lane finds the weights of two rows side by side: see panels.wgsl, a depth of 2.
// Tiling: as there, but a lane loads eight elements of its own rows and eight weights of its own columns.
// tile: LANES = 8
// tile: ROWS_PER_LANE = 4
// import: silu, split, matrices
// iterations: forward = in_channels.div_ceil(8) + 4

@group(0) @binding(1) var<storage, read> x0: array<vec4<u64>>;
@group(0) @binding(2) var<storage, read> x1: array<vec4<u64>>;
@group(0) @binding(3) var<storage, read> weight: array<vec4<u64>>;
@group(0) @binding(4) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> residual: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> y: array<vec4<f32>>;

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
    let split8 = params.split4 / 2u;
    let in_channels8 = params.in_channels / 8u;
    let x1_channels8 = in_channels8 - split8;

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
    let first_weight = (n * panels + group.x) * in_channels8 * 4u;

    // Loops over a whole array: drivers unroll them whatever they hold, and only then keep it in registers.
    var sum: array<array<vec4<f32>, LANES>, ROWS_PER_LANE>;
    for (var k = 0u; k < in_channels8; k++) {
        var even: array<vec4<f32>, ROWS_PER_LANE>;
        var odd: array<vec4<f32>, ROWS_PER_LANE>;
        for (var r = 0u; r < ROWS_PER_LANE; r++) {
            var pairs: vec4<u64>;
            if HAS_X1 && k >= split8 {
                pairs = x1[row[r] * x1_channels8 + k - split8];
            } else {
                pairs = x0[row[r] * split8 + k];
            }
            even[r] = firsts(pairs);
            odd[r] = seconds(pairs);
        }
        var b: Split;
        for (var q = 0u; q < 4u; q++) {
            let pairs = weight[(first_weight + k * 4u + q) * LANES + lane];
            b.even[q] = lower(firsts(pairs), seconds(pairs));
            b.odd[q] = upper(firsts(pairs), seconds(pairs));
        }
        for (var r = 0u; r < ROWS_PER_LANE; r++) {
            for (var source = 0u; source < LANES; source++) {
                // Short sums meet a longer one: a third of the rounding.
                sum[r][source] += product(even[r], odd[r], source, b);
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
                    value += residual[element];
                }
                if has_silu {
                    value = silu(value);
                }
                y[element] = value;
            }
        }
    }
}

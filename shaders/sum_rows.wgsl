// Sums of the columns of a matrix: the gradient of a bias.
//   total[slot, c] = sum over the rows r of the slot of x[r, c];  `fold_slots` adds the slots in order
// Tiling: a workgroup sums COLUMNS vec4 of columns; its LANES invocations per column take every LANES-th row of the
// slot, and a tree in workgroup memory adds them.
// iterations: forward = slot_rows.div_ceil(LANES) + 1 + halvings(LANES)

struct Params {
    /// Rows of `x`.
    rows: u32,
    /// vec4s of a row.
    channels4: u32,
    /// Rows that a slot adds.
    slot_rows: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<activation4>;
@group(0) @binding(2) var<storage, read_write> total: array<vec4<f32>>;

override COLUMNS: u32 = 8u;
override LANES: u32 = 8u;
var<workgroup> sums: array<vec4<f32>, COLUMNS * LANES>;

@compute @workgroup_size(COLUMNS, LANES)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let column = group.x * COLUMNS + local.x;
    let inside = column < params.channels4;
    let first = group.y * params.slot_rows;
    let end = min(first + params.slot_rows, params.rows);
    var sum = vec4<f32>();
    if inside {
        for (var row = first + local.y; row < end; row += LANES) {
            sum += widen_activation(x[row * params.channels4 + column]);
        }
    }
    let place = local.y * COLUMNS + local.x;
    sums[place] = sum;
    for (var half = LANES / 2u; half > 0u; half >>= 1u) {
        workgroupBarrier();
        if local.y < half {
            sums[place] += sums[place + half * COLUMNS];
        }
    }
    if inside && local.y == 0u {
        total[group.y * params.channels4 + column] = sums[place];
    }
}

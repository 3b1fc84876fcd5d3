// Weight gradient of a product: an outer product summed over the rows of each slot.
//   dweight[slot, c, :] = sum over its rows of x[row, c] dy[row, :]
// For software drivers, which charge for a load by the lane and the element, however wide it is: an element is 64 bits
// here, two numbers. `x` has a multiple of 16 channels, `dy` one of 8 LANES.
// Tiling: a subgroup computes 16 rows of `dweight` by LANES * 8 columns, LANES / 2 rows at a time. Two lanes load the 16
// channels of a row of x, which go round by shuffles; each lane loads eight channels of its own of dy for every row.
// tile: LANES = 8
// import: pairs
// iterations: forward = slot_rows.div_ceil(32) * 3 + slot_rows.div_ceil((LANES / 2).max(1)) + 4

struct Params {
    /// Rows of x and dy.
    rows: u32,
    /// Rows that a slot adds.
    slot_rows: u32,
    /// Channels of x, in eights.
    in_channels8: u32,
    /// Channels of dy, in eights.
    out_channels8: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u64>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<u64>>;
@group(0) @binding(3) var<storage, read_write> dweight: array<vec4<f32>>;

const ROWS = LANES / 2u;
const CHANNELS = 16u;
// Rows that are added before they meet the total: a short sum rounds less. A multiple of ROWS.
const BLOCK = 32u;

@compute @workgroup_size(LANES)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let lane = local.x;
    let in_channels8 = params.in_channels8;
    let out_channels8 = params.out_channels8;
    let own_channels = group.y * 2u + lane % 2u;
    let column = group.x * LANES + lane;
    let first = group.z * params.slot_rows;
    let end = min(first + params.slot_rows, params.rows);

    // Of each eight of columns, those of even numbers and those of odd ones.
    var even_total: array<vec4<f32>, CHANNELS>;
    var odd_total: array<vec4<f32>, CHANNELS>;
    for (var block = first; block < end; block += BLOCK) {
        let block_end = min(block + BLOCK, end);
        var even_sum: array<vec4<f32>, CHANNELS>;
        var odd_sum: array<vec4<f32>, CHANNELS>;
        for (var row = block; row < block_end; row += ROWS) {
            let own_row = row + lane / 2u;
            let own = x[min(own_row, end - 1u) * in_channels8 + own_channels];
            var a: array<vec4<f32>, 2>;
            a[0] = select(vec4<f32>(), firsts(own), own_row < end);
            a[1] = select(vec4<f32>(), seconds(own), own_row < end);
            var even: array<vec4<f32>, ROWS>;
            var odd: array<vec4<f32>, ROWS>;
            for (var r = 0u; r < ROWS; r++) {
                let pairs = dy[min(row + r, end - 1u) * out_channels8 + column];
                even[r] = firsts(pairs);
                odd[r] = seconds(pairs);
            }
            for (var c = 0u; c < CHANNELS; c++) {
                var even_c = even_sum[c];
                var odd_c = odd_sum[c];
                for (var r = 0u; r < ROWS; r++) {
                    let element = vec4<f32>(subgroupShuffle(a[c % 2u][c % 8u / 2u], 2u * r + c / 8u));
                    even_c = fma(element, even[r], even_c);
                    odd_c = fma(element, odd[r], odd_c);
                }
                even_sum[c] = even_c;
                odd_sum[c] = odd_c;
            }
        }
        for (var c = 0u; c < CHANNELS; c++) {
            even_total[c] += even_sum[c];
            odd_total[c] += odd_sum[c];
        }
    }

    let first_row = group.z * in_channels8 * 8u + group.y * CHANNELS;
    for (var c = 0u; c < CHANNELS; c++) {
        let at = 2u * ((first_row + c) * out_channels8 + column);
        dweight[at] = lower(even_total[c], odd_total[c]);
        dweight[at + 1u] = upper(even_total[c], odd_total[c]);
    }
}

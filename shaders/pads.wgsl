// Zeros in the pad lanes of a tensor, whatever it holds: y[row, channel] = 0 for the channels
// past the last. One row per invocation, at most three elements of it.
// import: invocation
// iterations: forward = 4

struct Params {
    /// Rows.
    rows: u32,
    /// Words of 32 bits from one row to the next.
    pitch: u32,
    /// Words of a row that are kept whole; fewer than the pitch.
    kept: u32,
    /// Bits that are kept of the word after them: two f16 elements share a word.
    mask: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;

override WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let row = invocation(id, groups);
    if row >= params.rows { return; }
    let first = row * params.pitch + params.kept;
    y[first] &= params.mask;
    for (var word = 1u; word < params.pitch - params.kept; word += 1u) {
        y[first + word] = 0u;
    }
}

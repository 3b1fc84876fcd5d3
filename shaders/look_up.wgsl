// Numbers of a table by row: what a network is told at the noise levels of a batch.
//   y[b] = table[min(rows[b], count - 1)]
// One invocation per image.
// import: invocation

struct Params {
    /// Images.
    batch: u32,
    /// Numbers of the table.
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<f32>;
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

override WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let image = invocation(id, groups);
    // The vector is written whole, its pad lanes as zeros.
    if image >= (params.batch + 3u) / 4u * 4u {
        return;
    }
    if image >= params.batch {
        y[image] = 0.0;
        return;
    }
    y[image] = table[min(u32(rows[image]), params.count - 1u)];
}

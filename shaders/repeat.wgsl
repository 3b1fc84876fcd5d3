// A tensor twice along its outermost axis, whatever it holds: y = [x, x].
// Sixteen bytes per invocation, written to both places.

struct Params {
    /// Blocks of 16 bytes of `x`.
    blocks: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<u32>>;

override WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = (group.y * groups.x + group.x) * WORKGROUP + local;
    if i >= params.blocks {
        return;
    }
    let block = x[i];
    y[i] = block;
    y[params.blocks + i] = block;
}

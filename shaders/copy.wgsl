// Copy of whole buffers, whatever they hold: y = x.
// Sixteen bytes per invocation.
// import: invocation

struct Params {
    /// Blocks of 16 bytes; the last may be partly filled.
    blocks: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<u32>>;

override WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = invocation(id, groups);
    if i >= params.blocks { return; }
    y[i] = x[i];
}

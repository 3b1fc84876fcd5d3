// Cuts a matrix into panels of WIDTH vec4 of columns, one after another, so that a subgroup which computes those columns
// reads one run of memory:
//   panels[column / WIDTH, row / depth, column % WIDTH, row % depth] = weight[row, column]
// What pads the last panel is never used. The panels may be of another element type than the matrix.
// Tiling: one invocation per vec4.
// tile: WIDTH = 8
// import: invocation

struct Params {
    /// Rows of the matrix.
    rows: u32,
    /// Its columns, in vec4.
    columns4: u32,
    /// Rows of a lane that stand together; divides the rows.
    depth: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weight: array<weight4>;
@group(0) @binding(2) var<storage, read_write> panels: array<activation4>;

override WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = invocation(id, groups);
    let row = index / params.columns4;
    if row >= params.rows {
        return;
    }
    let column = index - row * params.columns4;
    let panel = column / WIDTH;
    let level = row % params.depth;
    let lane = column - panel * WIDTH;
    panels[(panel * params.rows + row - level) * WIDTH + lane * params.depth + level] =
        narrow_activation(widen_weight(weight[index]));
}

// Rows of a table by number (the class embedding), and the gradient of the table.
//   y[b] = table[labels[b]],   dtable[k] = sum of dy[b] over the b with labels[b] = k, in the order of b
// One invocation per vec4 of y, or of a slot of dtable: each slot adds a run of labels, and `fold_slots` adds the slots in
// order.  A label past the table reads its last row.
// import: invocation
// iterations: backward = slot_labels + 1

struct Params {
    /// Labels.
    batch: u32,
    /// Rows of the table.
    classes: u32,
    /// vec4s of one row.
    width4: u32,
    /// backward: labels that a slot adds.
    slot_labels: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> labels: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<activation4>;
@group(0) @binding(2) var<storage, read> dy: array<activation4>;
@group(0) @binding(3) var<storage, read_write> dtable: array<vec4<f32>>;

override WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = invocation(id, groups);
    let image = index / params.width4;
    if image >= params.batch {
        return;
    }
    let row = min(labels[image], params.classes - 1u);
    y[index] = narrow_activation(table[row * params.width4 + index - image * params.width4]);
}

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = invocation(id, groups);
    let slot_row = index / params.width4;
    let slot = slot_row / params.classes;
    let first = slot * params.slot_labels;
    if first >= params.batch {
        return;
    }
    let row = slot_row - slot * params.classes;
    let column4 = index - slot_row * params.width4;
    let end = min(first + params.slot_labels, params.batch);
    var sum = vec4<f32>();
    for (var image = first; image < end; image++) {
        if min(labels[image], params.classes - 1u) == row {
            sum += widen_activation(dy[image * params.width4 + column4]);
        }
    }
    dtable[index] = sum;
}

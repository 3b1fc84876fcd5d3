// Rows of a table by number (the class embedding, tokens), and the gradient of the table.
//   y[b] = table[labels[b]],   dtable[k] = sum of dy[b] over the b with labels[b] = k, in the order of b
// One invocation per vec4 of y, or of a slot of dtable: each slot adds a run of labels, and `fold_slots` adds the slots in
// order.  A label past the whole table reads its last row; one outside the part that is bound gives zeros.
// import: invocation
// iterations: backward = slot_labels + 1

struct Params {
    /// Labels.
    batch: u32,
    /// Rows that are bound.
    classes: u32,
    /// vec4s of one row.
    width4: u32,
    /// backward: labels that a slot adds.
    slot_labels: u32,
    /// Labels of the innermost axis.
    tokens: u32,
    /// And from one run of them to the next.
    pitch: u32,
    /// Number of the first row that is bound.
    first: u32,
    /// Number of the last row of the whole table.
    last: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> labels: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<weight4>;
@group(0) @binding(3) var<storage, read_write> y: array<activation4>;
@group(0) @binding(2) var<storage, read> dy: array<activation4>;
@group(0) @binding(3) var<storage, read_write> dtable: array<vec4<f32>>;

override WORKGROUP: u32 = 64u;

// The bound row that a label names.
fn row_of(label: u32) -> u32 {
    let run = label / params.tokens;
    return min(labels[run * params.pitch + label - run * params.tokens], params.last) - params.first;
}

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = invocation(id, groups);
    let label = index / params.width4;
    if label >= params.batch {
        return;
    }
    let row = row_of(label);
    let bound = row < params.classes;
    let read = widen_weight(table[select(0u, row, bound) * params.width4 + index - label * params.width4]);
    y[index] = narrow_activation(select(vec4<f32>(), read, bound));
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
    for (var label = first; label < end; label++) {
        if row_of(label) == row {
            sum += widen_activation(dy[label * params.width4 + column4]);
        }
    }
    dtable[index] = sum;
}

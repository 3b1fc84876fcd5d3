// Adds partial sums in the order of their slots, so that the result does not depend on who finished first:
//   total[i] = ((slots[0, i] + slots[1, i]) + slots[2, i]) + ...
// Tiling: one invocation per vec4 of the result.
// iterations: forward = slots + 1
// iterations: both = slots + 1

struct Params {
    /// Partial sums of each element.
    slots: u32,
    /// Elements of the result, in vec4.
    elements4: u32,
    /// Elements of the other result of `both`, in vec4.
    other4: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partial: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> total: array<activation4>;
@group(0) @binding(3) var<storage, read> other_partial: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> other_total: array<activation4>;

override WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let element = (group.y * groups.x + group.x) * WORKGROUP + local.x;
    if element >= params.elements4 {
        return;
    }
    var sum = partial[element];
    for (var slot = 1u; slot < params.slots; slot++) {
        sum += partial[slot * params.elements4 + element];
    }
    total[element] = narrow_activation(sum);
}

// Two results of as many slots.
@compute @workgroup_size(WORKGROUP)
fn both(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let index = (group.y * groups.x + group.x) * WORKGROUP + local.x;
    let in_other = index >= params.elements4;
    let element = select(index, index - params.elements4, in_other);
    if in_other && element >= params.other4 {
        return;
    }
    var sum = vec4<f32>();
    if in_other {
        sum = other_partial[element];
    } else {
        sum = partial[element];
    }
    for (var slot = 1u; slot < params.slots; slot++) {
        if in_other {
            sum += other_partial[slot * params.other4 + element];
        } else {
            sum += partial[slot * params.elements4 + element];
        }
    }
    if in_other {
        other_total[element] = narrow_activation(sum);
    } else {
        total[element] = narrow_activation(sum);
    }
}

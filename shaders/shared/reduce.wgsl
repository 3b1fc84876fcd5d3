var<workgroup> reduce_scratch: array<vec4<f32>, WORKGROUP>;

// The sum of `value` over the workgroup, known to every lane. WORKGROUP is a power of two; the tree is always the same.
fn reduce_sum(lane: u32, value: vec4<f32>) -> vec4<f32> {
    reduce_scratch[lane] = value;
    for (var stride = WORKGROUP / 2u; stride > 0u; stride /= 2u) {
        workgroupBarrier();
        if lane < stride {
            reduce_scratch[lane] += reduce_scratch[lane + stride];
        }
    }
    workgroupBarrier();
    let total = reduce_scratch[0];
    // The next call writes the scratch: nobody may still be reading it.
    workgroupBarrier();
    return total;
}

/// The number of invocation `id` of a grid whose workgroups, WORKGROUP invocations each, are folded into rows.
fn invocation(id: vec3<u32>, groups: vec3<u32>) -> u32 {
    return id.y * groups.x * WORKGROUP + id.x;
}

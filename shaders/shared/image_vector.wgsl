// Which vec4 of which image invocation `id` owns. The grid counts the vec4s of all images, and is folded.
// import: invocation
struct ImageVector {
    image: u32,
    // Counted from the first of its image.
    vector: u32,
    // Counted from the first image.
    index: u32,
    inside: bool,
}

fn image_vector_of(id: vec3<u32>, groups: vec3<u32>) -> ImageVector {
    let index = invocation(id, groups);
    let image = index / params.vectors;
    return ImageVector(image, index - image * params.vectors, index, image < params.batch);
}

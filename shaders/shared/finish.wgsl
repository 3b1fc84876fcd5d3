// What a convolution adds to the sums of its products. The importer binds `embedding` and `residual`.

/// What `y` holds at a pixel and vec4 of channels whose products sum to `sum`.
fn finish(sum: vec4<f32>, pixel: u32, column: u32) -> vec4<f32> {
    var value = sum;
    if params.has_embedding != 0u {
        let image = pixel / (params.out_height * params.out_width);
        value += widen_activation(embedding[image * params.embedding_pitch4 + params.embedding_first4 + column]);
    }
    if params.has_residual != 0u {
        value += widen_activation(residual[pixel * params.out_channels4 + column]);
    }
    if params.silu != 0u {
        value = silu(value);
    }
    return value;
}

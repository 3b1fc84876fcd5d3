// Four channels of the output of a network, from `channel` of a pixel on, which need not begin a vec4.
fn output_at(pixel: u32, channel: u32) -> vec4<f32> {
    var values: vec4<f32>;
    for (var lane = 0u; lane < 4u; lane++) {
        let place = min((channel + lane) / 4u, params.output_channels4 - 1u);
        values[lane] = widen_activation(output[pixel * params.output_channels4 + place])[(channel + lane) % 4u];
    }
    return values;
}

// What the output, which may have twice the channels of the image, predicts for vec4 number `index` of the images.
fn predicted(index: u32) -> vec4<f32> {
    if !IS_WIDE {
        return widen_activation(output[index]);
    }
    let pixel = index / params.channels4;
    let channel4 = index % params.channels4;
    return mask_channels(output_at(pixel, 4u * channel4), channel4, params.channels);
}

/// `v`, the vec4 number `channel4` of a pixel, with zeros in the lanes at and past `channels`.
fn mask_channels(v: vec4<f32>, channel4: u32, channels: u32) -> vec4<f32> {
    let channel = vec4<u32>(4u * channel4) + vec4<u32>(0u, 1u, 2u, 3u);
    return select(vec4<f32>(), v, channel < vec4<u32>(channels));
}

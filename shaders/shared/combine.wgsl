// Four steps of a sum of products.

/// The sum of four vectors, each times its weight.
fn combine(weight: vec4<f32>, vectors: mat4x4<f32>) -> vec4<f32> {
    var sum = weight.x * vectors[0];
    sum = fma(vec4<f32>(weight.y), vectors[1], sum);
    sum = fma(vec4<f32>(weight.z), vectors[2], sum);
    return fma(vec4<f32>(weight.w), vectors[3], sum);
}

/// That and a sum of others.
fn combine_more(others: vec4<f32>, weight: vec4<f32>, vectors: mat4x4<f32>) -> vec4<f32> {
    var sum = fma(vec4<f32>(weight.x), vectors[0], others);
    sum = fma(vec4<f32>(weight.y), vectors[1], sum);
    sum = fma(vec4<f32>(weight.z), vectors[2], sum);
    return fma(vec4<f32>(weight.w), vectors[3], sum);
}

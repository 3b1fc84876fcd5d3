// An image of a tensor to a texture and back, a pixel each:
//   texel = (x - low) / (high - low),   x = low + texel * (high - low).
// Rows of a tensor are padded to four elements, and images have at most four channels: a pixel is one PIXEL.
// PIXEL, FORMAT, `unpacked` and `packed` are put in place by `gpu/textures.rs`.
struct Params {
    // First pixel of the image.
    first: u32,
    width: u32,
    height: u32,
    channels: u32,
    low: f32,
    high: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> pixels: array<PIXEL>;
@group(0) @binding(2) var written: texture_storage_2d<FORMAT, write>;
@group(0) @binding(3) var read: texture_2d<f32>;

fn pixel(at: vec2<u32>) -> u32 {
    return params.first + at.y * params.width + at.x;
}

fn is_inside(at: vec2<u32>) -> bool {
    return at.x < params.width && at.y < params.height;
}

@compute @workgroup_size(8, 8)
fn to_texture(@builtin(global_invocation_id) id: vec3<u32>) {
    if !is_inside(id.xy) {
        return;
    }
    let x = unpacked(pixels[pixel(id.xy)]);
    let t = (x - params.low) / (params.high - params.low);
    var texel = vec4(t.rgb, 1.0);
    switch params.channels {
        case 1u: { texel = vec4(t.rrr, 1.0); }
        case 2u: { texel = vec4(t.rg, 0.0, 1.0); }
        case 4u: { texel = t; }
        default: {}
    }
    textureStore(written, id.xy, texel);
}

@compute @workgroup_size(8, 8)
fn from_texture(@builtin(global_invocation_id) id: vec3<u32>) {
    if !is_inside(id.xy) {
        return;
    }
    let x = params.low + textureLoad(read, id.xy, 0) * (params.high - params.low);
    // Pads are zeros.
    let kept = vec4(0u, 1u, 2u, 3u) < vec4(params.channels);
    pixels[pixel(id.xy)] = packed(select(vec4(0.0), x, kept));
}

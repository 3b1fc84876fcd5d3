// Scale and shift of every channel by an embedding.  Dhariwal and Nichol 2021, section 3 (adaptive group normalization).
//   y = x * (1 + scale) + shift    with (scale, shift) the halves of an image's embedding
//   dx = dy * (1 + scale), dscale = sum over pixels of dy * x, dshift = sum over pixels of dy
// Tiling: an invocation owns four channels and one tile of pixels of an image.
// import: pixel_tile
// iterations: forward = tile_pixels + 12
// iterations: backward = tile_pixels + 7
// iterations: fold = 4 * (tiles + 1) + 6

struct Params {
    /// Images.
    batch: u32,
    /// Pixels of an image.
    pixels: u32,
    /// Channels of a pixel: half the embedding.
    channels: u32,
    /// vec4s of a pixel.
    channels4: u32,
    /// vec4s of an image's embedding.
    embedding4: u32,
    /// Tiles of an image.
    tiles: u32,
    /// Pixels of a tile; the last one may have fewer.
    tile_pixels: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<activation4>;
@group(0) @binding(2) var<storage, read> embedding: array<activation4>;
@group(0) @binding(3) var<storage, read_write> y: array<activation4>;
@group(0) @binding(4) var<storage, read> dy: array<activation4>;
@group(0) @binding(5) var<storage, read_write> dx: array<activation4>;
// [batch, tiles, 2, channels]: sums of (dy * x, dy).
@group(0) @binding(6) var<storage, read> partials: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> partials_out: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> dembedding: array<activation4>;

override WORKGROUP: u32 = 64u;

// Four entries of an image's embedding from `first` on, which need not be a multiple of four; zero past channel `channels`.
fn embedding_at(image: u32, part: u32, channel4: u32) -> vec4<f32> {
    var values = vec4<f32>();
    for (var lane = 0u; lane < 4u; lane++) {
        let channel = 4u * channel4 + lane;
        if channel < params.channels {
            let entry = part * params.channels + channel;
            values[lane] = widen_activation(embedding[image * params.embedding4 + entry / 4u])[entry % 4u];
        }
    }
    return values;
}

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let tile = tile_of(id, groups);
    if !tile.inside {
        return;
    }
    let scale = 1.0 + embedding_at(tile.image, 0u, tile.channel4);
    let shift = embedding_at(tile.image, 1u, tile.channel4);
    for (var i = tile.first; i < tile.end; i += params.channels4) {
        y[i] = narrow_activation(fma(widen_activation(x[i]), scale, shift));
    }
}

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let tile = tile_of(id, groups);
    if !tile.inside {
        return;
    }
    let scale = 1.0 + embedding_at(tile.image, 0u, tile.channel4);
    var product = vec4<f32>();
    var sum = vec4<f32>();
    for (var i = tile.first; i < tile.end; i += params.channels4) {
        let gradient = widen_activation(dy[i]);
        dx[i] = narrow_activation(gradient * scale);
        product = fma(gradient, widen_activation(x[i]), product);
        sum += gradient;
    }
    partials_out[tile.partial] = product;
    partials_out[tile.partial + params.channels4] = sum;
}

// Adds up the tiles, one invocation per vec4 of the embedding's gradient.
@compute @workgroup_size(WORKGROUP)
fn fold(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let image = id.z * groups.y + id.y;
    if id.x >= params.embedding4 || image >= params.batch {
        return;
    }
    var total = vec4<f32>();
    for (var lane = 0u; lane < 4u; lane++) {
        let entry = 4u * id.x + lane;
        if entry < 2u * params.channels {
            let part = select(0u, 1u, entry >= params.channels);
            let channel = entry - part * params.channels;
            var at = (2u * image * params.tiles + part) * params.channels4 + channel / 4u;
            for (var tile = 0u; tile < params.tiles; tile++) {
                total[lane] += partials[at][channel % 4u];
                at += 2u * params.channels4;
            }
        }
    }
    dembedding[image * params.embedding4 + id.x] = narrow_activation(total);
}

// Weight gradient of a convolution, as conv2d_weight_gradient_subgroup.wgsl has it (the same sum, slots and
// bindings), for devices without a small subgroup of fixed size.
// Tiling: 64 invocations compute 16 vec4 of rows by 64 columns, 8 rows by 2 vec4 each; 16 pixels of x and of dy at a
// time stand in workgroup memory (8 KiB). The first workgroups of a column sum dy too: the gradient of a bias.
// import: weight_gradient, tiled_input
// iterations: forward = slot_pixels.div_ceil(16) * (27 + 4 * 4u128.div_ceil(out_width.max(1))) + 24

// The rest of a concatenation.
@group(0) @binding(4) var<storage, read> x1: array<activation4>;
// [slots, out_channels]
@group(0) @binding(5) var<storage, read_write> dbias: array<vec4<f32>>;

override HAS_X1: bool = false;
override HAS_DBIAS: bool = false;
override JOINED: bool = HAS_X1;

const WIDTH4 = 16u;
const DEPTH = 16u;
const FETCHED = DEPTH / 4u;

var<workgroup> x_tile: array<vec4<f32>, DEPTH * WIDTH4>;
var<workgroup> dy_tile: array<vec4<f32>, DEPTH * WIDTH4>;

fn second_at(place: u32) -> vec4<f32> {
    return widen_activation(x1[place]);
}

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let own = local.x;
    let in_channels4 = (params.in_channels + 3u) / 4u;
    let rows4 = params.kernel_height * params.kernel_width * in_channels4;

    // Every invocation fetches every fourth pixel, for one vec4 of rows and one of columns.
    let row4 = min(group.y * WIDTH4 + own % WIDTH4, rows4 - 1u);
    let tap = row4 / in_channels4;
    let c4 = row4 - tap * in_channels4;
    let ky = tap / params.kernel_width;
    let offset_y = i32(ky) - i32(params.top);
    let offset_x = i32(tap - ky * params.kernel_width) - i32(params.left);
    let column = min(group.x * WIDTH4 + own % WIDTH4, params.out_channels4 - 1u);

    let tile_row = own / 8u;
    let tile_column = own % 8u;
    let first = group.z * params.slot_pixels;
    let end = min(first + params.slot_pixels, params.pixels);
    var pixel = first + own / WIDTH4;
    var ox = pixel % params.out_width;
    var oy = pixel / params.out_width % params.out_height;
    var image = pixel / params.out_width / params.out_height;
    var sum: array<vec4<f32>, 16>;
    var bias = vec4<f32>();
    for (var start = first; start < end; start += DEPTH) {
        // The tiles of the step before are still being read.
        workgroupBarrier();
        for (var p = 0u; p < FETCHED; p++) {
            let iy = i32(oy * params.stride) + offset_y;
            let ix = i32(ox * params.stride) + offset_x;
            let inside = iy >= 0 && iy < i32(params.in_height) && ix >= 0 && ix < i32(params.in_width) && pixel < end;
            let line = image * (params.in_height >> params.upsample) + (u32(iy) >> params.upsample);
            let source = select(0u, line * (params.in_width >> params.upsample) + (u32(ix) >> params.upsample), inside);
            x_tile[p * 64u + own] = select(vec4<f32>(), input_at(source, select(0u, image, inside), c4), inside);
            let gradient = widen_activation(dy[min(pixel, end - 1u) * params.out_channels4 + column]);
            dy_tile[p * 64u + own] = gradient;
            if HAS_DBIAS {
                bias += select(vec4<f32>(), gradient, pixel < end);
            }
            pixel += 4u;
            ox += 4u;
            while ox >= params.out_width {
                ox -= params.out_width;
                let next_image = oy + 1u == params.out_height;
                oy = select(oy + 1u, 0u, next_image);
                image = select(image, image + 1u, next_image);
            }
        }
        workgroupBarrier();
        for (var p = 0u; p < DEPTH; p++) {
            let b0 = dy_tile[p * WIDTH4 + tile_column];
            let b1 = dy_tile[p * WIDTH4 + 8u + tile_column];
            for (var h = 0u; h < 2u; h++) {
                let a = x_tile[p * WIDTH4 + h * 8u + tile_row];
                for (var q = 0u; q < 4u; q++) {
                    let i = (h * 4u + q) * 2u;
                    sum[i] = fma(vec4<f32>(a[q]), b0, sum[i]);
                    sum[i + 1u] = fma(vec4<f32>(a[q]), b1, sum[i + 1u]);
                }
            }
        }
    }

    let slot_rows = group.z * params.kernel_height * params.kernel_width * params.in_channels;
    for (var h = 0u; h < 2u; h++) {
        let written4 = group.y * WIDTH4 + h * 8u + tile_row;
        let written_tap = written4 / in_channels4;
        let channel = (written4 - written_tap * in_channels4) * 4u;
        let first_row = slot_rows + written_tap * params.in_channels + channel;
        let rows = select(0u, min(params.in_channels - channel, 4u), written4 < rows4);
        // The bounds are constant: with `rows` for one, NVIDIA's compiler keeps the sums in memory.
        for (var q = 0u; q < 4u; q++) {
            for (var j = 0u; j < 2u; j++) {
                let written_column = group.x * WIDTH4 + j * 8u + tile_column;
                if q < rows && written_column < params.out_channels4 {
                    dweight[(first_row + q) * params.out_channels4 + written_column] = sum[(h * 4u + q) * 2u + j];
                }
            }
        }
    }
    if HAS_DBIAS {
        workgroupBarrier();
        dy_tile[own] = bias;
        workgroupBarrier();
        let written_column = group.x * WIDTH4 + own;
        if group.y == 0u && own < WIDTH4 && written_column < params.out_channels4 {
            let halves = mat2x4<f32>(dy_tile[own] + dy_tile[own + 16u], dy_tile[own + 32u] + dy_tile[own + 48u]);
            dbias[group.z * params.out_channels4 + written_column] = halves[0] + halves[1];
        }
    }
}

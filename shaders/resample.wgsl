// Between an image and one of half its height and width, by blocks of 2x2 pixels.
//   up:   y[2h + i, 2w + j] = scale * x[h, w]            nearest upsampling (scale 1), gradient of the average pool (1/4)
//   down: y[h, w] = scale * sum over i, j of x[2h + i, 2w + j]      average pool (1/4), gradient of the upsampling (1)
// An odd last row or column of the large image takes no part: down leaves it out, up writes zeros there.
// One invocation per block and vec4; the grid is (pixels of a row, rows of all images), whose rows are folded into y and z.
// iterations: up = 3

struct Params {
    /// Images.
    batch: u32,
    /// Rows of the small image.
    height: u32,
    /// Columns of the small image.
    width: u32,
    /// Rows of the large image.
    large_height: u32,
    /// Columns of the large image.
    large_width: u32,
    /// vec4s of one pixel.
    channels4: u32,
    /// What the pixels are multiplied by.
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<activation4>;
@group(0) @binding(2) var<storage, read_write> y: array<activation4>;

override WORKGROUP: u32 = 64u;

struct ImageRow {
    image: u32,
    row: u32,
}

fn image_row_of(id: vec3<u32>, groups: vec3<u32>, rows: u32) -> ImageRow {
    let row = id.z * groups.y + id.y;
    return ImageRow(row / rows, row % rows);
}

@compute @workgroup_size(WORKGROUP)
fn up(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let place = image_row_of(id, groups, (params.large_height + 1u) / 2u);
    let column = id.x / params.channels4;
    let channel4 = id.x - column * params.channels4;
    if 2u * column >= params.large_width || place.image >= params.batch {
        return;
    }
    var value = vec4<f32>();
    if place.row < params.height && column < params.width {
        value = params.scale * widen_activation(x[(place.image * params.height + place.row) * params.width * params.channels4 + id.x]);
    }
    let stored = narrow_activation(value);
    for (var i = 0u; i < 2u; i++) {
        let row = 2u * place.row + i;
        if row >= params.large_height {
            break;
        }
        let first = ((place.image * params.large_height + row) * params.large_width + 2u * column) * params.channels4 + channel4;
        y[first] = stored;
        if 2u * column + 1u < params.large_width {
            y[first + params.channels4] = stored;
        }
    }
}

@compute @workgroup_size(WORKGROUP)
fn down(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let place = image_row_of(id, groups, params.height);
    let column = id.x / params.channels4;
    let channel4 = id.x - column * params.channels4;
    if column >= params.width || place.image >= params.batch {
        return;
    }
    let pitch = params.large_width * params.channels4;
    let first = (place.image * params.large_height + 2u * place.row) * pitch + 2u * column * params.channels4 + channel4;
    let above = widen_activation(x[first]) + widen_activation(x[first + params.channels4]);
    let below = widen_activation(x[first + pitch]) + widen_activation(x[first + pitch + params.channels4]);
    y[(place.image * params.height + place.row) * params.width * params.channels4 + id.x] = narrow_activation(params.scale * (above + below));
}

// What invocation `id` owns: four channels and one tile of the pixels of an image, with the first row of its two partials.
// The grid is (tiles, images); where one axis is too short for the images, y and z share them, and a few may be past the last.
// `pixel` is the tile's first, counted from the first image; `first` and `end` are vec4s.
struct Tile {
    image: u32,
    pixel: u32,
    channel4: u32,
    first: u32,
    end: u32,
    partial: u32,
    inside: bool,
}

fn tile_of(id: vec3<u32>, groups: vec3<u32>) -> Tile {
    let image = id.z * groups.y + id.y;
    let index = id.x / params.channels4;
    let channel4 = id.x - index * params.channels4;
    let begin = index * params.tile_pixels;
    let end = min(begin + params.tile_pixels, params.pixels);
    let first_pixel = image * params.pixels;
    let pixel = first_pixel + begin;
    return Tile(
        image,
        pixel,
        channel4,
        pixel * params.channels4 + channel4,
        (first_pixel + end) * params.channels4 + channel4,
        2u * (image * params.tiles + index) * params.channels4 + channel4,
        index < params.tiles && image < params.batch,
    );
}

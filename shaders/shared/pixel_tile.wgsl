// What invocation `id` owns: four channels and one tile of the pixels of image `id.y`, with the first row of its two partials.
// `pixel` is the tile's first, counted from the first image; `first` and `end` are vec4s.
struct Tile {
    pixel: u32,
    channel4: u32,
    first: u32,
    end: u32,
    partial: u32,
    inside: bool,
}

fn tile_of(id: vec3<u32>) -> Tile {
    let index = id.x / params.channels4;
    let channel4 = id.x - index * params.channels4;
    let begin = index * params.tile_pixels;
    let end = min(begin + params.tile_pixels, params.pixels);
    let image = id.y * params.pixels;
    let pixel = image + begin;
    return Tile(
        pixel,
        channel4,
        pixel * params.channels4 + channel4,
        (image + end) * params.channels4 + channel4,
        2u * (id.y * params.tiles + index) * params.channels4 + channel4,
        index < params.tiles,
    );
}

// Products with eight channels at a time, read as pairs.
// import: combine, pairs

/// Four columns of eight channels: those of even numbers, and those of odd ones, a vector of the four columns for each.
struct Split {
    even: mat4x4<f32>,
    odd: mat4x4<f32>,
}

/// Of four tokens, each a column.
fn across(a: vec4<u64>, b: vec4<u64>, c: vec4<u64>, d: vec4<u64>) -> Split {
    return Split(
        transpose(mat4x4<f32>(firsts(a), firsts(b), firsts(c), firsts(d))),
        transpose(mat4x4<f32>(seconds(a), seconds(b), seconds(c), seconds(d))),
    );
}

/// The products of eight channels of lane `source`, those of even numbers and those of odd ones, with those of four
/// columns.
fn product(own_even: vec4<f32>, own_odd: vec4<f32>, source: u32, columns: Split) -> vec4<f32> {
    let even = combine(subgroupShuffle(own_even, source), columns.even);
    return combine_more(even, subgroupShuffle(own_odd, source), columns.odd);
}

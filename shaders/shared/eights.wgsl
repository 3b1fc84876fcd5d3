// What a lane loads at once of a token, on software drivers: eight channels, as pairs.
// import: combine, pairs

/// The channels of even numbers, and those of odd ones.
struct Unit { even: vec4<f32>, odd: vec4<f32> }

/// The same channels of four tokens, or four tokens' sums, as the columns of two matrices.
struct Columns { even: mat4x4<f32>, odd: mat4x4<f32> }

/// vec4s of a unit.
const UNIT4 = 2u;

fn unit_of(loaded: vec4<u64>) -> Unit {
    return Unit(firsts(loaded), seconds(loaded));
}

/// Channels of four tokens, a vector of the tokens for each.
fn across(a: Unit, b: Unit, c: Unit, d: Unit) -> Columns {
    return Columns(
        transpose(mat4x4<f32>(a.even, b.even, c.even, d.even)),
        transpose(mat4x4<f32>(a.odd, b.odd, c.odd, d.odd)),
    );
}

fn insert(columns: ptr<function, Columns>, index: u32, unit: Unit) {
    (*columns).even[index] = unit.even;
    (*columns).odd[index] = unit.odd;
}

/// The products of a unit of lane `source` with those of four tokens.
fn product(own: Unit, source: u32, tokens: Columns) -> vec4<f32> {
    let even = combine(subgroupShuffle(own.even, source), tokens.even);
    return combine_more(even, subgroupShuffle(own.odd, source), tokens.odd);
}

/// A sum of units, and four more, each times its weight: short sums meet a longer one, which rounds less and is read a
/// quarter as often.
fn added(sum: Unit, weights: vec4<f32>, columns: Columns) -> Unit {
    return Unit(sum.even + combine(weights, columns.even), sum.odd + combine(weights, columns.odd));
}

fn scaled(factor: f32, sum: Unit) -> Unit {
    return Unit(factor * sum.even, factor * sum.odd);
}

/// The first four channels of a unit, and the other four, as they are stored: with pairs the loops that store sums are too
/// long for lavapipe to unroll, and take up to twice as long.
fn first_four(unit: Unit) -> vec4<f32> {
    return lower(unit.even, unit.odd);
}

fn second_four(unit: Unit) -> vec4<f32> {
    return upper(unit.even, unit.odd);
}

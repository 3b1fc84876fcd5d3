// What a lane loads at once of a token: four channels.
// import: combine

alias Unit = vec4<f32>;
/// The same channels of four tokens, or four tokens' sums, as the columns of a matrix.
alias Columns = mat4x4<f32>;
/// vec4s of a unit.
const UNIT4 = 1u;

fn unit_of(loaded: activation4) -> Unit {
    return widen_activation(loaded);
}

/// Channels of four tokens, a vector of the tokens for each.
fn across(a: Unit, b: Unit, c: Unit, d: Unit) -> Columns {
    return transpose(mat4x4<f32>(a, b, c, d));
}

fn insert(columns: ptr<function, Columns>, index: u32, unit: Unit) {
    (*columns)[index] = unit;
}

/// The products of a unit of lane `source` with those of four tokens.
fn product(own: Unit, source: u32, tokens: Columns) -> vec4<f32> {
    return combine(subgroupShuffle(own, source), tokens);
}

/// A sum of units, and four more, each times its weight: short sums meet a longer one, which rounds less and is read a
/// quarter as often.
fn added(sum: Unit, weights: vec4<f32>, columns: Columns) -> Unit {
    return sum + combine(weights, columns);
}

fn scaled(factor: f32, sum: Unit) -> Unit {
    return factor * sum;
}

/// The first four channels of a unit, and the other four of one that has them, as they are stored.
fn first_four(unit: Unit) -> activation4 {
    return narrow_activation(unit);
}

fn second_four(unit: Unit) -> activation4 {
    return narrow_activation(unit);
}

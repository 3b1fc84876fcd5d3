// Products in f16, where the caller allows them and both operands are stored so: tiles take half of the workgroup memory, and
// a GPU that packs two f16 to a register does two multiply-adds at once. The products of a step are added in f16, which rounds
// each partial sum to 11 bits, and then to a sum in f32: roundings of short sums do not grow with the number of channels.

/// Four numbers of a tile in workgroup memory. Zeros are `factor4(0.0)`: of `factor4()` naga 30 writes a function in HLSL, which has
/// the name of that of the type without an alias.
alias factor4 = vec4<f16>;

// A tile of f16 is too narrow for what invocations exchange.
var<workgroup> exchange_tile: array<vec4<f32>, LANES>;

fn narrow_factor(v: vec4<f32>) -> factor4 {
    return factor4(v);
}

/// What the products of a step are added to.
fn begin_products(sum: vec4<f32>) -> factor4 {
    return factor4(0.0);
}

/// The sum with the products of a step.
fn end_products(sum: vec4<f32>, products: factor4) -> vec4<f32> {
    return sum + vec4<f32>(products);
}

/// Gives other invocations a number.
fn exchange(place: u32, number: vec4<f32>) {
    exchange_tile[place] = number;
}

fn exchanged(place: u32) -> vec4<f32> {
    return exchange_tile[place];
}

// Products in f32, of tiles in f32. Where the caller allows products in f16, factors_f16.wgsl stands in place of this module
// (build/prelude.rs).

/// Four numbers of a tile in workgroup memory. Zeros are `factor4(0.0)`: of `factor4()` naga 30 writes a function in HLSL, which has
/// the name of that of the type without an alias.
alias factor4 = vec4<f32>;

fn narrow_factor(v: vec4<f32>) -> factor4 {
    return v;
}

/// What the products of a step are added to: the sum itself.
fn begin_products(sum: vec4<f32>) -> factor4 {
    return sum;
}

/// The sum with the products of a step.
fn end_products(sum: vec4<f32>, products: factor4) -> vec4<f32> {
    return products;
}

/// Gives other invocations a number. The tile of weights is as wide, and is not needed meanwhile.
fn exchange(place: u32, number: vec4<f32>) {
    weight_tile[place] = number;
}

fn exchanged(place: u32) -> vec4<f32> {
    return weight_tile[place];
}

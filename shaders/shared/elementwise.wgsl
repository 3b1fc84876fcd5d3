// What an elementwise kernel has besides its operands and its expression: an invocation computes the vec4 of its number.
// import: invocation

struct Params {
    /// `vec4`s of each operand and of the result.
    vectors: u32,
}

@group(0) @binding(0) var<uniform> params: Params;

override WORKGROUP: u32 = 64u;

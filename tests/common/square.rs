//! An operation of another crate, as its author would write it.
use ddim::{
    Error,
    error::ShapeError,
    graph::Equation,
    ops::{Backward, Lowering, Op, Operator},
    plan::{Cost, Dispatch, fold},
    reference::Tensor,
    value::{TensorType, Value},
};
use std::fmt;

const SQUARE: &str = "
struct Params { factor: f32, vectors: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> dy: array<vec4<f32>>;
override ADDEND: f32 = 0.0;

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= params.vectors { return; }
    y[id.x] = params.factor * x[id.x] * x[id.x] + ADDEND;
}

@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= params.vectors { return; }
    y[id.x] = 2.0 * params.factor * x[id.x] * dy[id.x];
}
";

/// `factor x^2`, whose shape is the caller's business; the rest says how to get it wrong.
#[derive(Clone, Debug)]
pub struct Square {
    pub factor: f32,
    pub flops: u64,
    pub wrong: fn(Dispatch, Value) -> Dispatch,
    pub entry: &'static str,
    pub source: &'static str,
}

impl Default for Square {
    fn default() -> Self {
        let wrong = |dispatch, _| dispatch;
        Self { factor: 1.0, flops: 0, wrong, entry: "forward", source: SQUARE }
    }
}

impl fmt::Display for Square {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "square{{{}}}", self.factor)
    }
}

/// Gradient of [`Square`]; operands `x`, `dy`.
#[derive(Clone, Debug)]
struct SquareBackward(Square);

impl fmt::Display for SquareBackward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("square_backward")
    }
}

fn dispatch(square: &Square, entry: &'static str, of: TensorType) -> Dispatch {
    let mut params = square.factor.to_le_bytes().to_vec();
    params.extend((of.vectors() as u32).to_le_bytes());
    let grid = fold(of.vectors().div_ceil(64));
    Dispatch::custom(square.source, entry).params(&params).workgroups(grid)
}

impl Operator for Square {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        if inputs.len() != 1 {
            return Err(ShapeError::count("square", 1, inputs));
        }
        Ok(inputs.to_vec())
    }
    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        vec![inputs[0].map(|x| f64::from(self.factor) * x * x)]
    }
    fn vjp(
        &self,
        backward: &mut Backward,
        equation: &Equation,
    ) -> Result<Vec<Option<Value>>, Error> {
        let Some(dy) = backward.cotangent(0) else { return Ok(vec![None]) };
        let op = Op::custom(SquareBackward(self.clone()));
        Ok(vec![Some(backward.push(op, &[equation.inputs[0], dy])?)])
    }
    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let (x, y) = (equation.inputs[0], equation.outputs[0]);
        let right = dispatch(self, self.entry, lowering.type_of(x)).read(1, x).write(2, y);
        Ok(lowering.push((self.wrong)(right, x))?)
    }
    fn cost(&self, _: &[TensorType]) -> Cost {
        Cost { flops: self.flops, bytes: 0 }
    }
}

impl Operator for SquareBackward {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        Ok(inputs[..1].to_vec())
    }
    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        vec![inputs[0].zip(inputs[1], |x, dy| 2.0 * f64::from(self.0.factor) * x * dy)]
    }
    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [x, dy] = [equation.inputs[0], equation.inputs[1]];
        let dispatch = dispatch(&self.0, "backward", lowering.type_of(x));
        Ok(lowering.push(dispatch.read(1, x).read(3, dy).write(2, equation.outputs[0]))?)
    }
    fn cost(&self, _: &[TensorType]) -> Cost {
        Cost::default()
    }
}

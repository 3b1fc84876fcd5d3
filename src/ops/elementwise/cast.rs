//! Another storage type.
use crate::{
    error::Error,
    graph::Equation,
    ops::{Backward, Case, Elementwise, Gradients, Input, display},
    plan::Dispatch,
    shaders::cast as shader,
    value::{ElementType, TensorType, Value},
};

/// `y = x` in another storage, rounded once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cast {
    /// Storage of the result: f32 or f16.
    pub to: ElementType,
}

display!("cast", Cast { to });

impl Elementwise for Cast {
    const NAME: &'static str = "cast";
    const OPERANDS: &'static [&'static str] = &["x"];
    const FLOPS: u64 = 0;

    fn element(&self, operands: &[f64]) -> f64 {
        operands[0]
    }

    fn gradients(&self, backward: &mut Backward, equation: &Equation) -> Result<Gradients, Error> {
        let (dy, to) = (backward.dy(), backward.type_of(equation.inputs[0]).element);
        Ok(vec![Some(backward.push(Self { to }, &[dy])?)])
    }

    fn kernel(&self, operands: &[Value], y: Value, of: TensorType) -> Dispatch {
        let params = shader::Params { vectors: of.vectors() as u32 };
        shader::Forward { x: operands[0], y }.over(params, of.vectors())
    }

    fn result(&self, of: TensorType) -> TensorType {
        of.with_element(self.to)
    }
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let (f32, f16) = (ElementType::F32, ElementType::F16);
    [(f32, f16), (f16, f32), (f32, f32)]
        .map(|(from, to)| {
            let x = TensorType::f32(&[2, 7, 5, 3]).with_element(from);
            Case::new(Cast { to }, vec![Input::normal(x)])
        })
        .into()
}

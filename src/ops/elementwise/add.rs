//! Sum of two tensors of one type.
use crate::{ops::prelude::*, shaders::add as shader};

/// `y = a + b`; the residual connection, and what autodiff joins gradients with.
///
/// ```
/// use ddim::{ops::{Add, Operator}, reference::Tensor, value::Shape};
///
/// let [a, b] = [[1.0, 2.0], [10.0, 20.0]].map(|of| Tensor::new(Shape::new(&[2]), of.into()));
/// assert_eq!(Add.reference(&[&a, &b])[0].data, [11.0, 22.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Add;

display!("add", Add);

impl Add {
    /// The operands of an op that adds its last one to its result if it has a residual, and that.
    pub(in crate::ops) fn residual<T>(inputs: &[T], has: bool) -> (&[T], Option<&T>) {
        match inputs.split_last() {
            Some((residual, given)) if has => (given, Some(residual)),
            _ => (inputs, None),
        }
    }
}

impl Elementwise for Add {
    const OPERANDS: &'static [&'static str] = &["a", "b"];
    const FLOPS: u64 = 1;

    fn element(&self, operands: &[f64]) -> f64 {
        operands[0] + operands[1]
    }

    fn gradients(&self, backward: &mut Backward, _: &Equation) -> Result<Gradients, Error> {
        Ok(vec![Some(backward.dy()); 2])
    }

    fn kernel(&self, operands: &[Value], y: Value, of: TensorType) -> Dispatch {
        let params = shader::Params { vectors: of.vectors() as u32 };
        shader::Forward { a: operands[0], b: operands[1], y }.over(params, of.vectors())
    }
}

fn case(of: TensorType) -> Case {
    Case::new(Add, vec![Input::normal(of); 2]).half(&[0, 1])
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    [&[1, 7, 5, 3][..], &[2, 8, 8, 32], &[5]].map(|shape| case(TensorType::f32(shape))).into()
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    case(dice.tensor())
}

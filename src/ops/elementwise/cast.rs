//! Another storage type.
use crate::{ops::prelude::*, shaders::cast as shader};

/// `y = x` in another storage, rounded once.
///
/// ```
/// use ddim::{ops::{Cast, Operator}, value::{ElementType, TensorType}};
///
/// let cast = Cast { to: ElementType::F16 };
/// assert_eq!(cast.infer(&[TensorType::f32(&[2, 3])])?, [TensorType::f16(&[2, 3])]);
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cast {
    /// Storage of the result: f32, f16 or bf16.
    pub to: ElementType,
}

/// Writes `x`, rounded once, over `y`, whatever that held; operands `y` and `x` of one shape. The output is the
/// next content of `y`.
///
/// ```
/// use ddim::{ops::{CastInto, Operator}, value::TensorType};
///
/// let (halves, x) = (TensorType::f16(&[64]), TensorType::f32(&[64]));
/// assert_eq!(CastInto.infer(&[halves, x])?, [halves]);
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CastInto;

display!("cast", Cast { to });

display!("cast_into", CastInto);

impl Elementwise for Cast {
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
        kernel(operands[0], y, of)
    }

    fn result(&self, inputs: &[TensorType]) -> TensorType {
        inputs[0].with_element(self.to)
    }
}

/// Writes `y`, of type `of`.
fn kernel(x: Value, y: Value, of: TensorType) -> Dispatch {
    let params = shader::Params { vectors: of.vectors() as u32 };
    shader::Forward { x, y }.over(params, of.vectors())
}

impl Operator for CastInto {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [y, x] = check.operands()?;
        check.floats("y", y)?;
        check.floats("x", x)?;
        check.is("x", x, y.with_element(x.element))?;
        Ok(vec![y])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        vec![inputs[1].clone()]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let (x, y) = (equation.inputs[1], equation.outputs[0]);
        Ok(lowering.push(kernel(x, y, lowering.type_of(y)))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(0, &inputs[1..], &inputs[..1])
    }

    fn in_place(&self) -> &[(usize, usize)] {
        &[(0, 0)]
    }
}

fn case(x: TensorType, to: ElementType) -> Case {
    Case::new(Cast { to }, vec![Input::normal(x)])
}

fn into(x: TensorType, to: ElementType) -> Case {
    Case::new(CastInto, vec![Input::normal(x.with_element(to)), Input::normal(x)])
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let (f32, f16, bf16) = (ElementType::F32, ElementType::F16, ElementType::Bf16);
    let of = |element| TensorType::f32(&[2, 7, 5, 3]).with_element(element);
    let alone = [(f32, f16), (f16, f32), (f32, f32), (f32, bf16), (bf16, f32), (f16, bf16)];
    let alone = alone.map(|(from, to)| case(of(from), to));
    let over = [(f32, f16), (f32, bf16), (f16, f32)].map(|(from, to)| into(of(from), to));
    alone.into_iter().chain(over).collect()
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    let make = dice.pick([case as fn(TensorType, ElementType) -> Case, into]);
    make(dice.tensor().with_element(dice.element()), dice.element())
}

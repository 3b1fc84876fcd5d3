//! Sums over all rows: the gradient of a bias.
use crate::{
    error::{Error, ShapeError},
    graph::Equation,
    ops::{Case, Dice, Input, Lowering, Operator, display, floats, kit::fold_slots, operands},
    plan::Cost,
    reference::Tensor,
    shaders::sum_rows as shader,
    value::{TensorType, Value},
};

/// `y[c]`, the sum of `x[.., c]` over all other axes; `y` is f32 whatever the storage of `x`.
///
/// ```
/// use ddim::{ops::{Operator, SumRows}, reference::Tensor, value::Shape};
///
/// let x = Tensor::new(Shape::new(&[2, 2]), vec![1.0, 2.0, 3.0, 4.0]);
/// assert_eq!(SumRows.reference(&[&x])[0].data, [4.0, 6.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SumRows;

/// Rows that one slot adds at least: enough to hide the price of a workgroup.
const SLOT_ROWS: usize = 256;
/// Slots at most: what one invocation of `fold_slots` then adds.
const SLOTS: usize = 64;

/// Rows that a slot adds of as many as these.
pub(in crate::ops) fn slot_rows(rows: usize) -> usize {
    rows.div_ceil(SLOTS).max(SLOT_ROWS)
}

display!("sum_rows", SumRows);

impl SumRows {
    /// Appends what sums the rows of `x` into `y`.
    ///
    /// # Errors
    /// As [`Lowering::push`].
    pub(in crate::ops) fn compute(
        self,
        lowering: &mut Lowering,
        x: Value,
        y: Value,
    ) -> Result<(), Error> {
        let of = lowering.type_of(x);
        let slot_rows = slot_rows(of.rows());
        let slots = of.rows().div_ceil(slot_rows);
        let total = fold_slots::slots(lowering, slots, y);
        let params = shader::Params {
            rows: of.rows() as u32,
            channels4: (of.pitch() / 4) as u32,
            slot_rows: slot_rows as u32,
        };
        let overrides = shader::Overrides::default();
        let grid = [params.channels4.div_ceil(overrides.columns), slots as u32, 1];
        lowering.push(shader::Forward { x, total }.dispatch(params, overrides, grid))?;
        if let Some(fold) = fold_slots::fold(lowering, slots, total, y) {
            lowering.push(fold)?;
        }
        Ok(())
    }
}

impl Operator for SumRows {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let [x] = operands("sum_rows", inputs)?;
        floats("sum_rows", "x", x, inputs)?;
        Ok(vec![TensorType::f32(&[x.shape.last()])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let x = inputs[0];
        let channels = x.shape.last();
        let mut y = Tensor::zeros(TensorType::f32(&[channels]).shape);
        for (i, x) in x.data.iter().enumerate() {
            y.data[i % channels] += x;
        }
        vec![y]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        self.compute(lowering, equation.inputs[0], equation.outputs[0])
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        let bytes = inputs[0].bytes() + 4 * inputs[0].pitch() as u64;
        Cost { flops: inputs[0].shape.elements() as u64, bytes }
    }
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    [&[2, 7, 5, 3][..], &[1, 1], &[65, 5], &[3, 16, 16, 32], &[700, 40]]
        .into_iter()
        .map(|shape| {
            let x = TensorType::f32(shape);
            Case::new(SumRows, vec![Input::shifted(x, 1.0, 1.0)]).terms(x.rows()).half(&[0])
        })
        .collect()
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    let x = dice.tensor();
    let x1 = Input::shifted(x, dice.float(-2.0, 2.0), 1.0);
    Case::new(SumRows, vec![x1]).terms(x.rows()).half(&[0])
}

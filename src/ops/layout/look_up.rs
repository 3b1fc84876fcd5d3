//! Numbers of a table by row: what a network is told at the noise levels of a batch.
use crate::{ops::prelude::*, shaders::look_up as shader};

/// `y f32[batch] = table[rows]`; operands `rows f32[batch]` of whole numbers and `table f32[count]`. A
/// row past the table reads its last number.
///
/// ```
/// use ddim::{ops::{LookUp, Operator}, reference::Tensor, value::Shape};
///
/// let rows = Tensor::new(Shape::new(&[2]), vec![1.0, 9.0]);
/// let table = Tensor::new(Shape::new(&[3]), vec![0.1, 0.2, 0.3]);
/// assert_eq!(LookUp.reference(&[&rows, &table])[0].data, [0.2, 0.3]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LookUp;

display!("look_up", LookUp);

impl Operator for LookUp {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [rows, table] = check.operands()?;
        check.is("rows", rows, TensorType::f32(&[rows.shape[0]]))?;
        check.is("table", table, TensorType::f32(&[table.shape[0]]))?;
        Ok(vec![rows])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [rows, table] = fitted(inputs);
        let last = table.data.len() - 1;
        vec![rows.map(|row| table.data[(row as usize).min(last)])]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [rows, table] = fitted(&equation.inputs);
        let (of, count) = (lowering.type_of(rows), lowering.type_of(table).shape[0]);
        let params = shader::Params { batch: of.shape[0] as u32, count: count as u32 };
        let kernel = shader::Forward { rows, table, y: equation.outputs[0] };
        Ok(lowering.push(kernel.over(params, of.pitch()))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(1, inputs, &inputs[..1])
    }
}

fn case(batch: usize, count: usize) -> Case {
    let rows = Input::below(TensorType::f32(&[batch]), count as u32);
    Case::new(LookUp, vec![rows, Input::normal(TensorType::f32(&[count]))]).selecting(&[0])
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    [(1, 1), (67, 5), (3, 1000), (MANY_IMAGES, 9)].map(|(batch, count)| case(batch, count)).into()
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    case(dice.extent(300), dice.extent(700))
}

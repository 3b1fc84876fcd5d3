//! What changes from one sampling step to the next, read from the table of the sampler.
use crate::{
    error::{Error, ShapeError},
    graph::Equation,
    ops::{
        Case, Input, Lowering, ONE_WORKGROUP, Operator, bytes, check, display,
        kit::random::{Counter, check_key, counter_at},
        operands,
    },
    plan::{Cost, fold},
    reference::Tensor,
    shaders::{row as shader, shared::coefficients::Coefficients},
    value::TensorType,
};
use bytemuck::Zeroable;

/// Begins a sampling step: from `counter u32[8]` and `table f32[steps, 16]`, `key u32[8]` (the
/// counter's copy), `row f32[16]` (the table's row of this step, as
/// [`SamplingStep`](crate::ops::SamplingStep) reads it), `timesteps f32[batch]`, all its first number, and
/// `steps u32[batch]`, all the row's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SamplingRow {
    /// Images.
    pub batch: usize,
}

/// `timesteps f32[steps]` of all rows of `table f32[steps, 16]`: its first column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AllTimesteps;

impl SamplingRow {
    /// Numbers in a row of the table.
    pub const COLUMNS: usize = Coefficients::<f32>::NUMBERS;
}

display!("sampling_row", SamplingRow { batch });

display!("all_timesteps", AllTimesteps);

/// Invocations of a workgroup that has more than one.
const LANES: usize = 64;

impl Operator for SamplingRow {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let [counter, table] = operands("sampling_row", inputs)?;
        check_key("sampling_row", counter, inputs)?;
        check(
            "sampling_row",
            "table",
            table,
            TensorType::f32(&[table.shape[0], SamplingRow::COLUMNS]),
            inputs,
        )?;
        let (timesteps, steps) = (TensorType::f32(&[self.batch]), TensorType::u32(&[self.batch]));
        Ok(vec![Counter::of(), TensorType::f32(&[Self::COLUMNS]), timesteps, steps])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [counter, table] = inputs else { unreachable!("two operands, as infer found") };
        let step = (Counter::read(counter).step as usize).min(table.shape[0] - 1);
        let row = table.data[Self::COLUMNS * step..][..Self::COLUMNS].to_vec();
        let timesteps = vec![Coefficients::read(&row).timestep; self.batch];
        vec![
            (*counter).clone(),
            Tensor::new(TensorType::f32(&[Self::COLUMNS]).shape, row),
            Tensor::new(TensorType::f32(&[self.batch]).shape, timesteps),
            Tensor::new(TensorType::u32(&[self.batch]).shape, vec![step as f64; self.batch]),
        ]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let table = equation.inputs[1];
        let params = shader::Params {
            steps: lowering.type_of(table).rows() as u32,
            batch: self.batch as u32,
            ..shader::Params::zeroed()
        };
        let kernel = shader::Sampling {
            counter: equation.inputs[0],
            table,
            key: equation.outputs[0],
            coefficients: equation.outputs[1],
            timesteps: equation.outputs[2],
            steps: equation.outputs[3],
        };
        Ok(lowering.push(kernel.dispatch(params, shader::Overrides::default(), ONE_WORKGROUP))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        bytes(&inputs[..1])
    }
}

impl Operator for AllTimesteps {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let [table] = operands("all_timesteps", inputs)?;
        check(
            "all_timesteps",
            "table",
            table,
            TensorType::f32(&[table.shape[0], SamplingRow::COLUMNS]),
            inputs,
        )?;
        Ok(vec![TensorType::f32(&[table.shape[0]])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let column: Vec<f64> = inputs[0]
            .data
            .chunks(SamplingRow::COLUMNS)
            .map(|row| Coefficients::read(row).timestep)
            .collect();
        vec![Tensor::new(TensorType::f32(&[column.len()]).shape, column)]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let (table, timesteps) = (equation.inputs[0], equation.outputs[0]);
        let steps = lowering.type_of(table).rows();
        let params = shader::Params { steps: steps as u32, ..shader::Params::zeroed() };
        let grid = fold(steps.div_ceil(4 * LANES));
        let kernel = shader::AllTimesteps { table, timesteps };
        Ok(lowering.push(kernel.dispatch(params, shader::Overrides::default(), grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        bytes(inputs)
    }
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let table = |steps| Input::normal(TensorType::f32(&[steps, SamplingRow::COLUMNS]));
    vec![
        Case::new(SamplingRow { batch: 3 }, vec![counter_at(4), table(5)]),
        Case::new(SamplingRow { batch: 300 }, vec![counter_at(0), table(5)]),
        Case::new(AllTimesteps, vec![table(5)]),
        Case::new(AllTimesteps, vec![table(260)]),
    ]
}

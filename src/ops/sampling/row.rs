//! What changes from one sampling step to the next, read from the table of the sampler.
use crate::{
    ops::{kit::random::counter_at, prelude::*},
    shaders::{row as shader, shared::coefficients::Coefficients},
};
use bytemuck::Zeroable;

/// Begins a sampling step: from `counter u32[8]` and `table f32[steps, 24]`, `key u32[8]` (the
/// counter's copy), `row f32[24]` (the table's row of this step, as
/// [`SamplingStep`](crate::ops::SamplingStep) reads it), `timesteps f32[batch]`, all its first number, and
/// `steps u32[batch]`, all the row's number.
///
/// ```
/// use ddim::ops::{AllTimesteps, Counter, Operator, SamplingRow};
/// use ddim::{reference::Tensor, value::Shape};
///
/// let mut table = Tensor::zeros(Shape::new(&[2, SamplingRow::COLUMNS]));
/// table.data[0] = 999.0;
/// table.data[SamplingRow::COLUMNS] = 499.0;
/// assert_eq!(AllTimesteps.reference(&[&table])[0].data, [999.0, 499.0]);
/// let words = Counter { step: 1, ..Counter::default() }.words().map(f64::from);
/// let counter = Tensor::new(Counter::of().shape, words.into());
/// let begun = SamplingRow { batch: 3 }.reference(&[&counter, &table]);
/// assert_eq!(begun[2].data, [499.0; 3]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SamplingRow {
    /// Images.
    pub batch: usize,
}

/// `timesteps f32[steps]` of all rows of `table f32[steps, 24]`: its first column.
///
/// Example: [`SamplingRow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AllTimesteps;

impl SamplingRow {
    /// Numbers in a row of the table.
    pub const COLUMNS: usize = Coefficients::<f32>::NUMBERS;

    /// Type of a table of so many steps.
    fn table(steps: usize) -> TensorType {
        TensorType::f32(&[steps, Self::COLUMNS])
    }
}

display!("sampling_row", SamplingRow { batch });

display!("all_timesteps", AllTimesteps);

/// Invocations of a workgroup that has more than one.
const LANES: usize = 64;

impl Operator for SamplingRow {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [counter, table] = check.operands()?;
        check.key(counter)?;
        check.is("table", table, Self::table(table.shape[0]))?;
        let (timesteps, steps) = (TensorType::f32(&[self.batch]), TensorType::u32(&[self.batch]));
        Ok(vec![Counter::of(), TensorType::f32(&[Self::COLUMNS]), timesteps, steps])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [counter, table] = fitted(inputs);
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
        let [counter, table] = fitted(&equation.inputs);
        let [key, coefficients, timesteps, steps] = fitted(&equation.outputs);
        let params = shader::Params {
            steps: lowering.type_of(table).rows() as u32,
            batch: self.batch as u32,
            ..shader::Params::zeroed()
        };
        let kernel = shader::Sampling { counter, table, key, coefficients, timesteps, steps };
        Ok(lowering.push(kernel.dispatch(params, shader::Overrides::default(), ONE_WORKGROUP))?)
    }
}

impl Operator for AllTimesteps {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [table] = check.operands()?;
        check.is("table", table, SamplingRow::table(table.shape[0]))?;
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
}

/// Checks an image, the network's output for it, which may have twice the channels, and the row of a
/// sampler's table.
pub(super) fn check_output(
    check: Check,
    x: TensorType,
    output: TensorType,
    row: TensorType,
) -> Result<(), ShapeError> {
    check.that(x == TensorType::f32(&x.shape), "x", "f32", x)?;
    check.images("x", x)?;
    check.floats("output", output)?;
    let wide = x.with_last(2 * x.shape.last());
    let fits = output.shape == x.shape || output.shape == wide.shape;
    check.that(fits, "output", format!("{x} or {wide}"), output)?;
    check.is("row", row, TensorType::f32(&[SamplingRow::COLUMNS]))
}

/// A row of a sampler's table as an operand.
pub(super) fn row_input(row: Coefficients<f64>) -> Input {
    Input::values(TensorType::f32(&[SamplingRow::COLUMNS]), row.write().into())
}

/// A random row of a sampler's table.
pub(super) fn random_row(dice: &mut Dice) -> Input {
    let numbers = [(); SamplingRow::COLUMNS].map(|()| dice.float(-1.5, 1.5));
    row_input(Coefficients {
        timestep: dice.below(1000) as f64,
        clip: dice.pick([0.7, 1.0, 1e30]),
        sigma: dice.pick([0.0, 0.3]),
        slot: dice.pick([-1.0, 0.0, 1.0, 2.0]),
        adaptive: dice.pick([0.0, 1.0]),
        ..Coefficients::read(&numbers)
    })
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let table = |steps| Input::normal(SamplingRow::table(steps));
    vec![
        Case::new(SamplingRow { batch: 3 }, vec![counter_at(4), table(5)]),
        Case::new(SamplingRow { batch: 300 }, vec![counter_at(0), table(5)]),
        Case::new(AllTimesteps, vec![table(5)]),
        Case::new(AllTimesteps, vec![table(260)]),
    ]
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    let table = |steps| Input::normal(SamplingRow::table(steps));
    if dice.flip() {
        return Case::new(AllTimesteps, vec![table(dice.extent(600))]);
    }
    let steps = dice.extent(60);
    Case::new(SamplingRow { batch: dice.extent(300) }, vec![dice.key(), table(steps)])
}

//! Channels side by side, and runs of channels cut out or set among zeros.
use crate::{ops::prelude::*, shaders::concat as shader};

/// `y = [x0, x1]` along the channels; the other axes and the storage agree.
///
/// ```
/// use ddim::ops::{Concat, Operator, PadChannels, SliceChannels};
/// use ddim::{reference::Tensor, value::Shape};
///
/// let row = |data: &[f64]| Tensor::new(Shape::new(&[1, data.len()]), data.to_vec());
/// let y = &Concat.reference(&[&row(&[1.0]), &row(&[2.0, 3.0])])[0];
/// assert_eq!(y.data, [1.0, 2.0, 3.0]);
/// let part = &SliceChannels { start: 1, count: 2 }.reference(&[y])[0];
/// assert_eq!(part.data, [2.0, 3.0]);
/// assert_eq!(PadChannels { before: 1, after: 0 }.reference(&[part])[0].data, [0.0, 2.0, 3.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Concat;

/// Channels `start .. start + count` of `x`.
///
/// Example: [`Concat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SliceChannels {
    /// First channel.
    pub start: usize,
    /// Number of channels.
    pub count: usize,
}

/// `x` with this many channels of zeros before and after it: the gradient of a slice.
///
/// Example: [`Concat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PadChannels {
    /// Channels before.
    pub before: usize,
    /// Channels after.
    pub after: usize,
}

impl PadChannels {
    /// The type of the result; of `usize::MAX` channels where these are passed.
    fn padded(&self, x: TensorType) -> TensorType {
        x.with_last(self.before.saturating_add(x.shape.last()).saturating_add(self.after))
    }
}

display!("concat", Concat);

display!("slice_channels", SliceChannels { start, count });

display!("pad_channels", PadChannels { before, after });

/// The tensor whose rows `row` makes of the rows of `x`.
fn map_rows(x: &Tensor, channels: usize, row: impl Fn(usize, &[f64]) -> Vec<f64>) -> Tensor {
    let rows = x.data.chunks(x.shape.last()).enumerate();
    let shape = TensorType::f32(&x.shape).with_last(channels).shape;
    Tensor::new(shape, rows.flat_map(|(i, of)| row(i, of)).collect())
}

fn channels4(of: TensorType) -> u32 {
    of.pitch() as u32 / 4
}

/// The dispatch of either entry point, given what makes it from parameters, overrides and grid.
pub(in crate::ops) fn dispatch(
    start: usize,
    x0: Option<TensorType>,
    x1: TensorType,
    y: TensorType,
    make: impl FnOnce(shader::Params, shader::Overrides, [u32; 3]) -> Dispatch,
) -> Dispatch {
    let overrides = shader::Overrides::default();
    let params = shader::Params {
        rows: y.rows() as u32,
        start: start as u32,
        x0_channels4: x0.map_or(0, channels4),
        x1_channels4: channels4(x1),
        y_channels4: channels4(y),
        y_channels: y.shape.last() as u32,
    };
    let invocations = y.rows().div_ceil(overrides.rows as usize) * params.y_channels4 as usize;
    make(params, overrides, fold(invocations.div_ceil(overrides.workgroup as usize)))
}

/// Rows `first` to `first + count` of every matrix of `weight [.., rows, columns]`, as a copy.
pub(in crate::ops) fn rows_of(
    lowering: &mut Lowering,
    weight: Value,
    first: usize,
    count: usize,
) -> Result<Value, Error> {
    let of = lowering.type_of(weight);
    let axis = of.shape.len() - 2;
    let part = lowering.scratch(of.with_extent(axis, count));
    // Each matrix is one row of the copy, pad lanes and all.
    let matrices: usize = of.shape[..axis].iter().product();
    let row = |rows: usize| of.with_shape(&[matrices, rows * of.pitch()]);
    let (whole, cut) = (row(of.shape[axis]), row(count));
    let slice = shader::Slice { x1: weight, y: part };
    let copy = dispatch(first * of.pitch(), None, whole, cut, |params, overrides, grid| {
        slice.dispatch(params, overrides, grid)
    });
    lowering.push(copy)?;
    Ok(part)
}

impl Operator for Concat {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [x0, x1] = check.operands()?;
        check.floats("x0", x0)?;
        if x0 != x1.with_last(x0.shape.last()) {
            return Err(check.conflict("x0 and x1 differ in more than their channels"));
        }
        Ok(vec![x0.with_last(x0.shape.last() + x1.shape.last())])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [x0, x1] = fitted(inputs);
        let count = x1.shape.last();
        vec![map_rows(x0, x0.shape.last() + count, |i, row| {
            [row, &x1.data[i * count..(i + 1) * count]].concat()
        })]
    }

    fn vjp(&self, backward: &mut Backward, equation: &Equation) -> Result<Gradients, Error> {
        let dy = backward.dy();
        let mut start = 0;
        let mut parts = Vec::new();
        for (i, &x) in equation.inputs.iter().enumerate() {
            let count = backward.type_of(x).shape.last();
            let slice = SliceChannels { start, count };
            parts.push(if backward.needs(i) { Some(backward.push(slice, &[dy])?) } else { None });
            start += count;
        }
        Ok(parts)
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [x0, x1, y] = [equation.inputs[0], equation.inputs[1], equation.outputs[0]];
        let of = |value| lowering.type_of(value);
        let start = of(x0).shape.last();
        let dispatch = dispatch(start, Some(of(x0)), of(x1), of(y), |params, overrides, grid| {
            shader::Forward { x0: Some(x0), x1, y }.dispatch(params, overrides, grid)
        });
        Ok(lowering.push(dispatch)?)
    }
}

impl Operator for SliceChannels {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [x] = check.operands()?;
        check.floats("x", x)?;
        let (Self { start, count }, channels) = (*self, x.shape.last());
        if count == 0 || start.checked_add(count).is_none_or(|end| end > channels) {
            let message = format!("{count} channels from {start} on are not in 0..{channels}");
            return Err(check.conflict(message));
        }
        Ok(vec![x.with_last(count)])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let range = self.start..self.start + self.count;
        vec![map_rows(inputs[0], self.count, |_, row| row[range.clone()].to_vec())]
    }

    fn vjp(&self, backward: &mut Backward, equation: &Equation) -> Result<Gradients, Error> {
        let dy = backward.dy();
        let channels = backward.type_of(equation.inputs[0]).shape.last();
        let after = channels - self.start - self.count;
        let pad = PadChannels { before: self.start, after };
        Ok(vec![Some(backward.push(pad, &[dy])?)])
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [x1, y] = [equation.inputs[0], equation.outputs[0]];
        let of = |value| lowering.type_of(value);
        let dispatch = dispatch(self.start, None, of(x1), of(y), |params, overrides, grid| {
            shader::Slice { x1, y }.dispatch(params, overrides, grid)
        });
        Ok(lowering.push(dispatch)?)
    }
}

impl Operator for PadChannels {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [x] = check.operands()?;
        check.floats("x", x)?;
        Ok(vec![self.padded(x)])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let channels = self.before + inputs[0].shape.last() + self.after;
        vec![map_rows(inputs[0], channels, |_, row| {
            [&vec![0.0; self.before], row, &vec![0.0; self.after]].concat()
        })]
    }

    fn vjp(&self, backward: &mut Backward, equation: &Equation) -> Result<Gradients, Error> {
        let dy = backward.dy();
        let count = backward.type_of(equation.inputs[0]).shape.last();
        let slice = SliceChannels { start: self.before, count };
        Ok(vec![Some(backward.push(slice, &[dy])?)])
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [x1, y] = [equation.inputs[0], equation.outputs[0]];
        let of = |value| lowering.type_of(value);
        let dispatch = dispatch(self.before, None, of(x1), of(y), |params, overrides, grid| {
            shader::Forward { x0: None, x1, y }.dispatch(params, overrides, grid)
        });
        Ok(lowering.push(dispatch)?)
    }
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let x = |channels| Input::normal(TensorType::f32(&[2, 7, 5, channels]));
    let mut all = Vec::new();
    for (first, second) in [(3, 5), (4, 8), (1, 1), (5, 3), (2, 9), (6, 16), (7, 2)] {
        all.push(Case::new(Concat, vec![x(first), x(second)]).half(&[0, 1]));
    }
    for (start, count) in [(0, 5), (4, 4), (3, 8), (1, 1), (10, 3), (6, 2)] {
        all.push(Case::new(SliceChannels { start, count }, vec![x(13)]).half(&[0]));
    }
    for (before, after) in [(0, 3), (5, 0), (3, 6), (4, 4), (9, 1), (0, 0)] {
        all.push(Case::new(PadChannels { before, after }, vec![x(5)]).half(&[0]));
    }
    all
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    let x = dice.tensor();
    match dice.below(3) {
        0 => {
            let other = x.with_last(dice.extent(70));
            Case::new(Concat, [x, other].map(Input::normal).into()).half(&[0, 1])
        }
        1 => {
            let start = dice.below(x.shape.last());
            let count = dice.extent(x.shape.last() - start);
            Case::new(SliceChannels { start, count }, vec![Input::normal(x)]).half(&[0])
        }
        _ => {
            let (before, after) = (dice.below(20), dice.below(20));
            Case::new(PadChannels { before, after }, vec![Input::normal(x)]).half(&[0])
        }
    }
}

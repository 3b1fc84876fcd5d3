//! Bands of convolutions and of their gradients.
use super::{Band, Operand, cuts, keeps_tiles, moments, tiles};
use crate::{
    ops::{
        Add, Conv2d, Conv2dInputGradient, Conv2dWeightGradient, FusedConv2d,
        FusedConv2dWeightGradient, Load, Lowering, Op,
    },
    value::{TensorType, Value},
};
use std::ops::Range;

/// How the rows of `y` and those of `x` meet in a convolution.
struct Rows {
    /// Rows of `x`, as it is read.
    height: usize,
    taps: usize,
    stride: usize,
    /// Zeros above.
    top: usize,
}

impl Rows {
    fn new(
        lowering: &Lowering,
        load: &Load,
        read: &[Value],
        taps: usize,
        conv: Conv2d,
    ) -> Option<Self> {
        let types: Vec<TensorType> = read.iter().map(|x| lowering.type_of(*x)).collect();
        let height = load.infer(&types).ok()?.shape[1];
        Some(Self { height, taps, stride: conv.stride, top: conv.padding[0] })
    }

    /// How many rows less the first band has. The rows of `x` behind a band must be whole if each stands for two.
    fn shift(&self, load: &Load) -> usize {
        if load.upsample { self.top } else { 0 }
    }

    /// The rows of `x` that these of `y` read, and the zeros above and below them.
    fn read(&self, of: &Range<usize>) -> (Range<usize>, [usize; 2]) {
        let [first, end] = [of.start * self.stride, (of.end - 1) * self.stride + self.taps];
        let (start, last) = (first.saturating_sub(self.top), end.saturating_sub(self.top));
        let above = self.top.saturating_sub(first);
        (start..last.min(self.height), [above, last.saturating_sub(self.height)])
    }
}

/// What a load reads for these rows.
fn loaded(load: &Load, read: &[Value], rows: &Range<usize>) -> Option<Vec<Operand>> {
    let rows = match load.upsample {
        false => rows.clone(),
        true if rows.start.is_multiple_of(2) && rows.end.is_multiple_of(2) => {
            rows.start / 2..rows.end / 2
        }
        true => return None,
    };
    let pictures = 1 + usize::from(load.concat);
    let operand = |(at, value): (usize, &Value)| match at < pictures {
        true => Operand::of(*value, &rows),
        false => Operand::whole(*value),
    };
    Some(read.iter().enumerate().map(operand).collect())
}

/// A padding with other zeros above and below.
fn padded([above, below]: [usize; 2], [_, _, left, right]: [usize; 4]) -> [usize; 4] {
    [above, below, left, right]
}

pub(super) fn convolution(
    lowering: &Lowering,
    fused: FusedConv2d,
    inputs: &[Value],
    outputs: &[Value],
    rows: usize,
) -> Option<Vec<Band>> {
    let (read, others) = inputs.split_at(fused.load.arity());
    let taps = lowering.type_of(others[0]).shape[0];
    let geometry = Rows::new(lowering, &fused.load, read, taps, fused.conv)?;
    let (y, shift) = (outputs[0], geometry.shift(&fused.load));
    let of = lowering.type_of(y);
    // Tiles of moments are whole in bands that are not shifted.
    let measured = fused.moments && shift == 0 && keeps_tiles(of);
    let mut bands = Vec::new();
    for cut in cuts(of.shape[1], rows, shift) {
        let (source, zeros) = geometry.read(&cut);
        let conv = Conv2d { padding: padded(zeros, fused.conv.padding), ..fused.conv };
        let mut given = loaded(&fused.load, read, &source)?;
        given.extend(others.iter().map(|value| Operand::whole(*value)));
        if let Some(residual) = given.last_mut().filter(|_| fused.residual) {
            residual.rows = Some(cut.clone());
        }
        let mut made = vec![Operand::of(y, &cut)];
        let results = outputs[1..].iter().filter(|_| measured);
        made.extend(results.map(|of_tiles| Operand::of(*of_tiles, &tiles(&cut, of.shape[2]))));
        let op = FusedConv2d { conv, moments: measured, ..fused };
        bands.push(Band { op: op.into(), inputs: given, outputs: made });
    }
    if fused.moments && !measured {
        bands.extend(moments(lowering, y, outputs[1], rows)?);
    }
    Some(bands)
}

/// Rows of `dx` follow from those of `dy` that read them.
pub(super) fn input_gradient(
    lowering: &Lowering,
    op: Conv2dInputGradient,
    inputs: &[Value],
    dx: Value,
    rows: usize,
) -> Option<Vec<Band>> {
    let Conv2dInputGradient { stride, padding, height, .. } = op;
    let (&dy, &weight) = (inputs.first()?, inputs.get(1)?);
    let (end_of_y, taps) = (lowering.type_of(dy).shape[1], lowering.type_of(weight).shape[0]);
    let top = padding[0];
    let mut bands = Vec::new();
    for cut in cuts(height, rows, 0) {
        // dy[i] meets dx[i stride + k - top].
        let first = (cut.start + top + 1).saturating_sub(taps).div_ceil(stride);
        let end = ((cut.end - 1 + top) / stride + 1).min(end_of_y);
        let above = (cut.start + top).checked_sub(first * stride)?;
        let reached = (end.checked_sub(first + 1)?) * stride + taps;
        let zeros = [above, reached.saturating_sub(cut.len() + above)];
        let padding = padded(zeros, padding);
        let op = Conv2dInputGradient { padding, height: cut.len(), ..op };
        let mut given = vec![Operand::of(dy, &(first..end)), Operand::whole(weight)];
        given.extend(inputs[2..].iter().map(|residual| Operand::of(*residual, &cut)));
        bands.push(Band { op: op.into(), inputs: given, outputs: vec![Operand::of(dx, &cut)] });
    }
    Some(bands)
}

/// The sum over all rows of `dy`.
pub(super) fn weight_gradient(
    lowering: &mut Lowering,
    op: FusedConv2dWeightGradient,
    inputs: &[Value],
    outputs: &[Value],
    rows: usize,
) -> Option<Vec<Band>> {
    let (&dy, read) = inputs.split_last()?;
    let Conv2dWeightGradient { stride, padding, kernel, .. } = op.gradient;
    let conv = Conv2d { stride, padding };
    let geometry = Rows::new(lowering, &op.load, read, kernel[0], conv)?;
    let shift = geometry.shift(&op.load);
    let mut parts = Vec::new();
    for cut in cuts(lowering.type_of(dy).shape[1], rows, shift) {
        let (source, zeros) = geometry.read(&cut);
        let padding = padded(zeros, padding);
        let gradient = Conv2dWeightGradient { padding, ..op.gradient };
        let mut given = loaded(&op.load, read, &source)?;
        given.push(Operand::of(dy, &cut));
        let part: Op = FusedConv2dWeightGradient { gradient, ..op }.into();
        parts.push((part, given));
    }
    Some(summed(lowering, parts, outputs))
}

/// What each part computes, added up.
pub(super) fn summed(
    lowering: &mut Lowering,
    parts: Vec<(Op, Vec<Operand>)>,
    results: &[Value],
) -> Vec<Band> {
    let (count, mut bands, mut sums) = (parts.len(), Vec::new(), Vec::<Value>::new());
    for (at, (op, inputs)) in parts.into_iter().enumerate() {
        let mut fresh = |last: bool| -> Vec<Value> {
            let place = |&result: &Value| match last {
                true => result,
                false => lowering.scratch(lowering.type_of(result)),
            };
            results.iter().map(place).collect()
        };
        let own = fresh(count == 1);
        let outputs = own.iter().copied().map(Operand::whole).collect();
        bands.push(Band { op, inputs, outputs });
        if at == 0 {
            sums = own;
            continue;
        }
        let next = fresh(at + 1 == count);
        for ((sum, more), total) in sums.iter().zip(&own).zip(&next) {
            bands.push(Band::whole(Add, &[*sum, *more], &[*total]));
        }
        sums = next;
    }
    bands
}

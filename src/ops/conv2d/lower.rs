//! Lowering of convolutions, linear layers and their gradients: the candidates of all families, of
//! which the plan's selector takes one.
use super::{
    Extents, Operands,
    families::{CONVOLUTIONS, Member, WEIGHT_GRADIENTS, candidates},
};
use crate::{
    error::Error,
    ops::{Cast, Lowering, SliceChannels, kit::Elementwise, layout::concat::rows_of},
    plan::{OpClass, Problem},
    value::{ElementType, Value},
};

/// Lowers a convolution, or a linear layer as one of a single tap.
pub(in crate::ops) fn forward(
    lowering: &mut Lowering,
    op: &str,
    extents: &Extents,
    operands: &Operands,
) -> Result<(), Error> {
    let class = if lowering.trains() { OpClass::TrainedConvolution } else { OpClass::Convolution };
    convolve(lowering, op, class, extents, operands)
}

/// Lowers `dx` from `dy` and the weight: the same sum over the turned weight.
pub(in crate::ops) fn input_gradient(
    lowering: &mut Lowering,
    op: &str,
    extents: &Extents,
    [dy, weight, dx]: [Value; 3],
    residual: Option<Value>,
) -> Result<(), Error> {
    let base = Operands::new(dy, extents.out_channels, weight, dx);
    let operands = Operands { turned: true, residual, ..base };
    convolve(lowering, op, OpClass::InputGradient, &extents.turned(), &operands)
}

/// Lowers `dweight`, the operands' `y`, from `x` and `dy`, their `weight`.
pub(in crate::ops) fn weight_gradient(
    lowering: &mut Lowering,
    op: &str,
    extents: &Extents,
    operands: &Operands,
) -> Result<(), Error> {
    choose(lowering, op, OpClass::WeightGradient, WEIGHT_GRADIENTS, extents, operands)
}

/// Products of a sum, of channels and taps, that the loops of every family still walk to the end.
const LONGEST_SUM: usize = 1 << 17;

/// Lowers the convolution of any direction.
fn convolve(
    lowering: &mut Lowering,
    op: &str,
    class: OpClass,
    extents: &Extents,
    operands: &Operands,
) -> Result<(), Error> {
    let longest = (LONGEST_SUM / extents.taps()).next_multiple_of(16);
    if extents.in_channels > longest {
        return in_parts(lowering, op, class, extents, operands, longest);
    }
    let class = if extents.is_product() { OpClass::Product } else { class };
    choose(lowering, op, class, CONVOLUTIONS, extents, operands)
}

fn choose(
    lowering: &mut Lowering,
    op: &str,
    class: OpClass,
    families: &[Member],
    extents: &Extents,
    operands: &Operands,
) -> Result<(), Error> {
    let channels = extents.in_channels.min(extents.out_channels);
    let problem = Problem::new(class, extents.pixels(), channels, extents.out_channels);
    let candidates = candidates(lowering, families, extents, operands)?;
    Ok(lowering.choose(op, problem, candidates)?)
}

/// Lowers a convolution whose sums are too long: run of channels by run of channels, each adding
/// what those before it gave. Halves are widened, so that a sum is rounded to one at its end alone.
fn in_parts(
    lowering: &mut Lowering,
    op: &str,
    class: OpClass,
    extents: &Extents,
    operands: &Operands,
    longest: usize,
) -> Result<(), Error> {
    let (before, dense) = operands.dense(lowering)?;
    let (form, dense) = dense.straight(lowering, extents);
    let form = form.filter(|form| lowering.is_first(form)).map(|form| form.dispatch);
    before.into_iter().chain(form).try_for_each(|dispatch| lowering.push(dispatch))?;
    let stored = lowering.type_of(dense.y);
    let sums = stored.with_element(ElementType::F32);
    let last = if stored == sums { dense.y } else { lowering.scratch(sums) };
    let mut wide = |value: Option<Value>| value.map(|x| widened(lowering, x)).transpose();
    let (embedding, residual) = (wide(dense.embedding)?, wide(dense.residual)?);
    let mut part = Operands { activated: false, moments: None, embedding, residual, ..dense };
    for start in (0..extents.in_channels).step_by(longest) {
        let count = longest.min(extents.in_channels - start);
        let x = lowering.nested(SliceChannels { start, count }, &[dense.x0])?;
        part.x0 = widened(lowering, x)?;
        part.split4 = count.div_ceil(4);
        part.weight = rows_of(lowering, dense.weight, start, count)?;
        if start + count == extents.in_channels {
            part = Operands { y: last, activated: dense.activated, moments: dense.moments, ..part };
        } else {
            part.y = lowering.scratch(sums);
        }
        let extents = Extents { in_channels: count, ..*extents };
        convolve(lowering, op, class, &extents, &part)?;
        part = Operands { bias: None, embedding: None, residual: Some(part.y), ..part };
    }
    if last != dense.y {
        lowering.push(Cast { to: stored.element }.kernel(&[last], dense.y, stored))?;
    }
    Ok(())
}

/// `x` in f32.
fn widened(lowering: &mut Lowering, x: Value) -> Result<Value, Error> {
    if lowering.type_of(x).element == ElementType::F32 {
        return Ok(x);
    }
    lowering.nested(Cast { to: ElementType::F32 }, &[x])
}

//! Checks of operands, and costs, as most ops have them.
use crate::{
    error::ShapeError,
    plan::Cost,
    value::{ElementType, TensorType},
};

/// Refuses an operand that is not stored as floats.
pub(in crate::ops) fn floats(
    op: &str,
    name: &str,
    of: TensorType,
    inputs: &[TensorType],
) -> Result<(), ShapeError> {
    match of.element {
        ElementType::F32 | ElementType::F16 => Ok(()),
        ElementType::U32 => Err(ShapeError::operand(op, name, "f32 or f16", of, inputs)),
    }
}

/// The operands as an array, or an error that says how many there should be.
pub(in crate::ops) fn operands<const N: usize>(
    op: &str,
    inputs: &[TensorType],
) -> Result<[TensorType; N], ShapeError> {
    inputs.try_into().map_err(|_| ShapeError::count(op, N, inputs))
}

/// Cost of an elementwise op: `flops` per element of the first output, every tensor moved once.
pub(in crate::ops) fn elementwise_cost(
    flops: u64,
    inputs: &[TensorType],
    outputs: &[TensorType],
) -> Cost {
    let elements = outputs.first().map_or(0, |of| of.shape.elements() as u64);
    Cost {
        flops: flops.saturating_mul(elements),
        bytes: inputs.iter().chain(outputs).map(TensorType::bytes).sum(),
    }
}

/// Checks that an operand has the type that it must have.
pub(in crate::ops) fn check(
    op: &str,
    name: &str,
    found: TensorType,
    expected: TensorType,
    inputs: &[TensorType],
) -> Result<(), ShapeError> {
    if found == expected {
        return Ok(());
    }
    Err(ShapeError::operand(op, name, expected, found, inputs))
}

/// Bytes of a few operands, which are all that these ops cost.
pub(in crate::ops) fn bytes(inputs: &[TensorType]) -> Cost {
    Cost { flops: 0, bytes: inputs.iter().map(TensorType::bytes).sum() }
}

pub(in crate::ops) const ONE_WORKGROUP: [u32; 3] = [1, 1, 1];

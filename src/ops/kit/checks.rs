//! Checks of operands, and costs, as most ops have them.
use crate::{
    error::ShapeError,
    ops::Counter,
    plan::Cost,
    value::{ElementType, TensorType},
};
use std::fmt::Display;

/// The operands that an op is given, and the errors that refuse them.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Check<'a> {
    op: &'a dyn Display,
    inputs: &'a [TensorType],
}

impl<'a> Check<'a> {
    /// Errors name `op` as it is printed, without its fields.
    pub fn new(op: &'a dyn Display, inputs: &'a [TensorType]) -> Self {
        Self { op, inputs }
    }

    fn name(self) -> String {
        let printed = self.op.to_string();
        printed.split('{').next().unwrap_or_default().to_owned()
    }

    /// The operands as an array, or an error that says how many there should be.
    pub fn operands<const N: usize>(self) -> Result<[TensorType; N], ShapeError> {
        self.inputs.try_into().map_err(|_| self.count(N))
    }

    /// The error of an op that takes another number of operands.
    pub fn count(self, expected: impl Display) -> ShapeError {
        ShapeError::count(self.name(), expected, self.inputs)
    }

    /// The error of operands that do not go together.
    pub fn conflict(self, problem: impl Display) -> ShapeError {
        ShapeError::conflict(self.name(), problem, self.inputs)
    }

    /// Refuses an operand or attribute unless it `holds` what is expected of it.
    pub fn that(
        self,
        holds: bool,
        name: &str,
        expected: impl Display,
        found: impl Display,
    ) -> Result<(), ShapeError> {
        if holds {
            return Ok(());
        }
        Err(ShapeError::operand(self.name(), name, expected, found, self.inputs))
    }

    /// Refuses an operand of another type.
    pub fn is(self, name: &str, found: TensorType, expected: TensorType) -> Result<(), ShapeError> {
        self.that(found == expected, name, expected, found)
    }

    /// Refuses an operand that is not stored as floats.
    pub fn floats(self, name: &str, of: TensorType) -> Result<(), ShapeError> {
        self.that(of.element != ElementType::U32, name, "f32, f16 or bf16", of)
    }

    /// Refuses a tensor that does not hold floats or whose outermost axis cannot count images.
    pub fn images(self, name: &str, x: TensorType) -> Result<(), ShapeError> {
        self.that(x.shape.len() >= 2, name, "[batch, .., channels]", x)?;
        self.floats(name, x)
    }

    /// Refuses what is no key of random numbers.
    pub fn key(self, key: TensorType) -> Result<(), ShapeError> {
        self.is("key", key, Counter::of())
    }

    /// Refuses what is no number for each image.
    pub fn labels(self, labels: TensorType) -> Result<(), ShapeError> {
        let holds = labels.shape.len() == 1 && labels.element == ElementType::U32;
        self.that(holds, "labels", "u32[batch]", labels)
    }
}

/// Refuses an operand that is not stored as floats.
pub(in crate::ops) fn floats(
    op: &str,
    name: &str,
    of: TensorType,
    inputs: &[TensorType],
) -> Result<(), ShapeError> {
    Check::new(&op, inputs).floats(name, of)
}

/// The operands as an array, or an error that says how many there should be.
pub(in crate::ops) fn operands<const N: usize>(
    op: &str,
    inputs: &[TensorType],
) -> Result<[TensorType; N], ShapeError> {
    Check::new(&op, inputs).operands()
}

/// Checks that an operand has the type that it must have.
pub(in crate::ops) fn check(
    op: &str,
    name: &str,
    found: TensorType,
    expected: TensorType,
    inputs: &[TensorType],
) -> Result<(), ShapeError> {
    Check::new(&op, inputs).is(name, found, expected)
}

/// Operands or results of an op as an array: as many as `infer` has found.
pub(in crate::ops) fn fitted<T: Copy, const N: usize>(values: &[T]) -> [T; N] {
    values.try_into().unwrap_or_else(|_| unreachable!("as many as `infer` found"))
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

pub(in crate::ops) const ONE_WORKGROUP: [u32; 3] = [1, 1, 1];

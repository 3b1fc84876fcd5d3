//! Any op as one value: an enum of the crate's own, and those of other crates.
use super::{Backward, Gradients, Lowering, Op, Operator, Special};
use crate::{
    error::{Error, ShapeError},
    graph::Equation,
    plan::Cost,
    reference::Tensor,
    value::TensorType,
};
use std::{
    fmt::{self, Display},
    hash::{Hash, Hasher},
    sync::Arc,
};

/// An operation of another crate, behind the same five facts.
///
/// Example: [`Operator`].
#[derive(Clone, Debug)]
pub struct Custom(pub(super) Arc<dyn Operator>);

impl PartialEq for Custom {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Custom {}

impl Hash for Custom {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::ptr::hash(Arc::as_ptr(&self.0).cast::<()>(), state);
    }
}

impl Op {
    /// Wraps an operation that this crate does not know.
    pub fn custom(operator: impl Operator + 'static) -> Self {
        Self::Custom(Custom(Arc::new(operator)))
    }
}

/// Makes the enum of these ops, and collects their cases from the modules that define them.
macro_rules! operations {
    ($([$($module:tt)+] { $($op:ident),+ $(,)? })+) => {
        $(pub use $($module)+::{$($op),+};)+

        /// Any operation. Built-in ops are plain values; a pass may match on them.
        ///
        /// ```
        /// use ddim::ops::{Op, Silu};
        ///
        /// let op = Op::from(Silu);
        /// assert!(matches!(op, Op::Silu(_)));
        /// assert_eq!(op.to_string(), "silu");
        /// ```
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "each variant holds the documented op of its name")]
        pub enum Op { $($($op($op),)+)+ Custom(Custom) }

        $($(impl From<$op> for Op { fn from(op: $op) -> Self { Self::$op(op) } })+)+

        /// The ops of each module by name, and what makes a random case of any of them.
        const MODULES: &[(&[&str], fn(&mut Dice) -> Case)] =
            &[$((&[$(stringify!($op)),+], $($module)+::random)),+];

        impl Op {
            fn operator(&self) -> &dyn Operator {
                match self { $($(Self::$op(op) => op,)+)+ Self::Custom(op) => &*op.0 }
            }
        }

        /// Every op's table of cases: the GPU check, the gradient check and the bench read it.
        ///
        /// ```
        /// let cases = ddim::ops::cases();
        /// assert!(cases.iter().any(|case| case.op.to_string() == "silu"));
        /// ```
        pub fn cases() -> Vec<Case> {
            let mut all = Vec::new();
            $(all.extend($($module)+::cases());)+
            all
        }
    };
}
pub(super) use operations;

/// Refuses operands and results that kernels cannot count.
fn countable(
    op: &Op,
    name: &str,
    tensors: &[TensorType],
    inputs: &[TensorType],
) -> Result<(), ShapeError> {
    match tensors.iter().enumerate().find(|(_, of)| !of.is_countable()) {
        None => Ok(()),
        Some((n, of)) => {
            let (name, most) = (format!("{name} {n}"), TensorType::MAX_ELEMENTS);
            let expected = format!("of 1 to {most} elements, pad lanes included");
            Err(ShapeError::operand(op, &name, expected, of, inputs))
        }
    }
}

impl Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self.operator(), f)
    }
}

impl Operator for Op {
    /// The one place where graphs ask: besides what the op says, kernels must be able to count
    /// every operand and result, and what is updated in place keeps its type.
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        countable(self, "operand", inputs, inputs)?;
        let outputs = self.operator().infer(inputs)?;
        countable(self, "result", &outputs, inputs)?;
        match self
            .in_place()
            .iter()
            .find(|(y, x)| outputs.get(*y).is_none_or(|y| inputs.get(*x) != Some(y)))
        {
            None => Ok(outputs),
            Some((y, x)) => {
                let message =
                    format!("result {y} must be of the type of operand {x}, whose place it takes");
                Err(ShapeError::conflict(self.to_string(), message, inputs))
            }
        }
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        self.operator().reference(inputs)
    }

    fn vjp(&self, backward: &mut Backward, equation: &Equation) -> Result<Gradients, Error> {
        self.operator().vjp(backward, equation)
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        self.operator().lower(lowering, equation)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        self.operator().cost(inputs)
    }

    fn in_place(&self) -> &[(usize, usize)] {
        self.operator().in_place()
    }

    fn scale(&self) -> f64 {
        self.operator().scale()
    }

    fn special(&self) -> Special {
        self.operator().special()
    }
}

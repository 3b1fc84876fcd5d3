//! The operations: one file per shader family, five facts and a table of cases each. Above 300 lines,
//! for the macro that lists them stands beside the trait that they implement.
//!
//! To add one: `shaders/x.wgsl`, `src/ops/x.rs`, one line in the table below.
use crate::{
    error::{Error, ShapeError},
    graph::Equation,
    plan::Cost,
    reference::Tensor,
    value::{ElementType, TensorType, Value},
};
use std::{
    fmt::{self, Debug, Display},
    hash::{Hash, Hasher},
    sync::Arc,
};

mod backward;
mod cases;
mod custom;
mod kit;
mod lowering;
mod random_cases;

use cases::MANY_IMAGES;
use kit::display;

pub use backward::Backward;
pub use cases::{Case, Fill, Input};
pub use conv2d::{Load, Prologue};
pub use lowering::Lowering;
pub use mean_squared_error::Reduction;
pub use random::Counter;
pub(crate) use random_cases::Dice;
pub use random_cases::random_case;

/// The five facts of an operation.
pub trait Operator: Debug + Display + Send + Sync {
    /// Types of the outputs, or why the operands do not fit.
    ///
    /// # Errors
    /// Names the op, the operand, what it expects and what it found.
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError>;

    /// The definition: f64 arithmetic, naive loops. Operands fit, as `infer` found.
    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor>;

    /// Appends the equations of the gradient; one entry per input, `None` where there is none.
    /// An op that does not say how has no gradient.
    ///
    /// # Errors
    /// [`Error::NotDifferentiable`] if the op has no gradient.
    fn vjp(&self, _: &mut Backward, _: &Equation) -> Result<Vec<Option<Value>>, Error> {
        Err(Error::NotDifferentiable { op: self.to_string() })
    }

    /// Appends the dispatches that compute the equation.
    ///
    /// They read its operands, write all of its results, and may do both with
    /// [`Lowering::scratch`] values, each written before it is read. Rows are padded with zeros to a
    /// multiple of four elements, and every kernel relies on the zeros: after a
    /// [custom](crate::plan::Dispatch::custom) dispatch the pad lanes of what it wrote are zeroed,
    /// unless it [does so itself](crate::plan::Dispatch::zeroes_pads).
    ///
    /// # Errors
    /// If the target cannot run it.
    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error>;

    /// Arithmetic and least memory traffic.
    fn cost(&self, inputs: &[TensorType]) -> Cost;

    /// `(output, input)` pairs that share one buffer: state that is updated where it lies.
    fn in_place(&self) -> &[(usize, usize)] {
        &[]
    }

    /// Size of what is rounded on the way to the results, where those may be far smaller: the
    /// logarithm of a probability near 1 is as exact as the probability.
    fn scale(&self) -> f64 {
        0.0
    }

    /// What the kernels promise of numbers that are not finite.
    fn special(&self) -> Special {
        Special::Same
    }
}

/// What becomes of NaN and infinities in the operands, on the device against the reference;
/// [`verify::check_special`](crate::verify::check_special) holds each op to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// Each element is what the reference's is: finite, NaN, or infinite with its sign.
    Same,
    /// Each element is finite where the reference's is; NaN may stand for infinite, and the other
    /// way round.
    NotFinite,
    /// No element is finite where the reference's is not; its neighbours may be not finite too: a
    /// kernel multiplies by zeros that the definition leaves out, or takes differences.
    Spreads,
    /// As `Spreads` of NaN in an operand; what is infinite there may leave no trace.
    NanSpreads,
}

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

/// Refuses an operand that is not stored as floats.
pub(crate) fn floats(
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
pub(crate) fn operands<const N: usize>(
    op: &str,
    inputs: &[TensorType],
) -> Result<[TensorType; N], ShapeError> {
    inputs.try_into().map_err(|_| ShapeError::count(op, N, inputs))
}

/// Cost of an elementwise op: `flops` per element of the first output, every tensor moved once.
pub(crate) fn elementwise_cost(flops: u64, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
    let elements = outputs.first().map_or(0, |of| of.shape.elements() as u64);
    Cost {
        flops: flops.saturating_mul(elements),
        bytes: inputs.iter().chain(outputs).map(TensorType::bytes).sum(),
    }
}

/// An operation of another crate, behind the same five facts.
#[derive(Clone, Debug)]
pub struct Custom(Arc<dyn Operator>);

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

macro_rules! operations {
    ($($module:ident::{$($op:ident),+ $(,)?};)+) => {
        $(pub use $module::{$($op),+};)+

        /// Any operation. Built-in ops are plain values; a pass may match on them.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "each variant holds the documented op of its name")]
        pub enum Op { $($($op($op),)+)+ Custom(Custom) }

        $($(impl From<$op> for Op { fn from(op: $op) -> Self { Self::$op(op) } })+)+

        /// The ops of this crate by name: a list that `random_cases` must have an answer for.
        #[derive(Clone, Copy, Debug)]
        enum Kind { $($($op),+),+ }

        impl Kind {
            const ALL: &[Self] = &[$($(Self::$op),+),+];

            #[cfg(test)]
            fn is_of(self, op: &Op) -> bool {
                matches!((self, op), $($((Self::$op, Op::$op(_)))|+)|+)
            }
        }

        impl Op {
            fn operator(&self) -> &dyn Operator {
                match self { $($(Self::$op(op) => op,)+)+ Self::Custom(op) => &*op.0 }
            }
        }

        /// Every op's table of cases: the GPU check, the gradient check and the bench read it.
        pub fn cases() -> Vec<Case> {
            let mut all = Vec::new();
            $(all.extend($module::cases());)+
            all
        }
    };
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
    fn vjp(
        &self,
        backward: &mut Backward,
        equation: &Equation,
    ) -> Result<Vec<Option<Value>>, Error> {
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

// The `mod` lines stand outside the macro because rustfmt does not follow those a macro writes.
pub mod adam;
pub mod add;
pub mod add_embedding;
pub mod add_noise;
pub mod arena;
pub mod attention;
pub mod cast;
pub mod concat;
pub mod constant;
pub mod conv2d;
pub mod corrector_size;
pub mod counter;
pub mod draw;
pub mod drop_labels;
pub mod dropout;
pub mod dynamic_threshold;
pub mod embedding;
mod fold_slots;
pub mod gather_rows;
pub mod geglu;
pub mod gelu;
pub mod global_norm;
pub mod group_norm;
pub mod guidance;
pub mod image_squared_error;
pub mod importance;
pub mod layer_norm;
pub mod linear;
pub mod mean_loss;
pub mod mean_squared_error;
pub mod modulate;
mod pads;
mod pixel_tile;
pub mod random;
pub mod resample;
pub mod row;
pub mod sampling_step;
pub mod scale;
pub mod silu;
pub mod softmax_cross_entropy;
pub mod sum_rows;
pub mod variational_bound;

operations! {
    adam::{Adam};
    add::{Add};
    add_embedding::{AddEmbedding, SumPixels};
    add_noise::{AddNoise, AddDrawnNoise, AddNumberedNoise};
    arena::{View, Pack};
    attention::{Attention, AttentionBackward, JointAttention};
    cast::{Cast};
    concat::{Concat, SliceChannels, PadChannels};
    constant::{Constant};
    corrector_size::{CorrectorSize};
    counter::{Advance, Record};
    conv2d::{Conv2d, Conv2dInputGradient, Conv2dWeightGradient, FusedConv2d, FusedConv2dWeightGradient};
    draw::{DrawNormal, DrawTimesteps};
    drop_labels::{DropLabels};
    dropout::{Dropout};
    dynamic_threshold::{DynamicThreshold};
    embedding::{TimestepEmbedding};
    gather_rows::{GatherRows, GatherRowsBackward};
    geglu::{Geglu, GegluBackward};
    gelu::{Gelu, GeluBackward};
    global_norm::{GlobalNorm};
    group_norm::{GroupNorm, GroupMoments, GroupAffine, ApplyAffine, GroupNormBackward};
    guidance::{Twice, Guide};
    image_squared_error::{ImageSquaredError, ImageSquaredErrorBackward};
    importance::{TimestepProbabilities, DrawImportant, Remember};
    layer_norm::{LayerNorm, LayerNormBackward};
    linear::{Linear, FusedLinear, LinearInputGradient, LinearWeightGradient};
    mean_loss::{MeanLoss, MeanLossBackward};
    mean_squared_error::{MeanSquaredError, MeanSquaredErrorBackward};
    modulate::{Modulate, ModulateBackward};
    resample::{UpsampleNearest, UpsampleNearestBackward, AveragePool, AveragePoolBackward};
    row::{AllTimesteps, TrainingRow, SamplingRow};
    sampling_step::{SamplingStep};
    scale::{Scale};
    silu::{Silu, SiluBackward};
    softmax_cross_entropy::{SoftmaxCrossEntropy, SoftmaxCrossEntropyBackward};
    sum_rows::{SumRows};
    variational_bound::{VariationalBound, VariationalBoundBackward};
}

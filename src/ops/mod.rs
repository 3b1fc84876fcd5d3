//! The operations: one file per shader family, five facts and a table of cases each. Above 300 lines,
//! for the macro that lists them stands beside the trait that they implement.
//!
//! To add one: `shaders/x.wgsl`, `src/ops/x.rs`, one line in the table below.
use crate::{
    error::{Error, ShapeError},
    graph::Equation,
    plan::Cost,
    reference::Tensor,
    value::TensorType,
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
use kit::{
    Elementwise, ONE_WORKGROUP, bytes, check, display, elementwise_cost, example_key, floats,
    operands,
};

pub use backward::{Backward, Gradients};
pub use cases::{Case, Fill, Input};
pub use conv2d::{Load, Prologue};
pub use kit::random::Counter;
pub(crate) use kit::random::philox;
pub use loss::mean_squared_error::Reduction;
pub use lowering::Lowering;
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

    /// Appends the equations of the gradient; one entry per input. An op that does not say how has no gradient.
    ///
    /// # Errors
    /// [`Error::NotDifferentiable`] if the op has no gradient.
    fn vjp(&self, _: &mut Backward, _: &Equation) -> Result<Gradients, Error> {
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
    ($([$($module:tt)+] { $($op:ident),+ $(,)? })+) => {
        $(pub use $($module)+::{$($op),+};)+

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
            $(all.extend($($module)+::cases());)+
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

// The `mod` lines stand outside the macro because rustfmt does not follow those a macro writes.
mod attention;
mod conv2d;
mod elementwise;
mod layout;
mod loss;
mod matmul;
mod norm;
mod optimizer;
mod random;
mod resample;
mod sampling;

operations! {
    [attention] { Attention, AttentionBackward, JointAttention }
    [conv2d] { Conv2d, Conv2dInputGradient, Conv2dWeightGradient, FusedConv2d, FusedConv2dWeightGradient }
    [elementwise::add] { Add }
    [elementwise::add_embedding] { AddEmbedding, SumPixels }
    [elementwise::cast] { Cast }
    [elementwise::constant] { Constant }
    [elementwise::geglu] { Geglu, GegluBackward }
    [elementwise::gelu] { Gelu, GeluBackward }
    [elementwise::modulate] { Modulate, ModulateBackward }
    [elementwise::scale] { Scale }
    [elementwise::silu] { Silu, SiluBackward }
    [elementwise::timestep_embedding] { TimestepEmbedding }
    [layout::arena] { View, Pack }
    [layout::concat] { Concat, SliceChannels, PadChannels }
    [layout::gather_rows] { GatherRows, GatherRowsBackward }
    [loss::image_squared_error] { ImageSquaredError, ImageSquaredErrorBackward }
    [loss::mean_loss] { MeanLoss, MeanLossBackward }
    [loss::mean_squared_error] { MeanSquaredError, MeanSquaredErrorBackward }
    [loss::softmax_cross_entropy] { SoftmaxCrossEntropy, SoftmaxCrossEntropyBackward }
    [loss::variational_bound] { VariationalBound, VariationalBoundBackward }
    [matmul::linear] { Linear, FusedLinear, LinearInputGradient, LinearWeightGradient }
    [matmul::sum_rows] { SumRows }
    [norm::group_norm] { GroupNorm, GroupMoments, GroupAffine, ApplyAffine, GroupNormBackward }
    [norm::layer_norm] { LayerNorm, LayerNormBackward }
    [optimizer::adam] { Adam }
    [optimizer::global_norm] { GlobalNorm }
    [optimizer::training_row] { TrainingRow }
    [random::add_noise] { AddNoise, AddDrawnNoise, AddNumberedNoise }
    [random::counter] { Advance, Record }
    [random::draw] { DrawNormal, DrawTimesteps }
    [random::drop_labels] { DropLabels }
    [random::dropout] { Dropout }
    [random::importance] { TimestepProbabilities, DrawImportant, Remember }
    [resample] { UpsampleNearest, UpsampleNearestBackward, AveragePool, AveragePoolBackward }
    [sampling::corrector_size] { CorrectorSize }
    [sampling::dynamic_threshold] { DynamicThreshold }
    [sampling::guidance] { Twice, Guide }
    [sampling::row] { AllTimesteps, SamplingRow }
    [sampling::step] { SamplingStep }
}

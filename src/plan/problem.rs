//! What kernels are chosen for.
use super::Family;
use crate::value::TensorType;
use std::{collections::BTreeMap, fmt};

/// What several families of kernels can compute.
///
/// Example: [`KernelSelector`](super::KernelSelector).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OpClass {
    /// `y = x w` of matrices: linear layers and 1x1 convolutions.
    Product,
    /// A convolution.
    Convolution,
    /// A convolution in a plan that computes gradients of its weights.
    TrainedConvolution,
    /// The gradient of a convolution's input.
    InputGradient,
    /// The gradient of the weights of a convolution or linear layer.
    WeightGradient,
    /// Attention.
    Attention,
    /// The gradients of attention.
    AttentionBackward,
    /// Group norm's scale and shift from its moments.
    NormFold,
}

impl fmt::Display for OpClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Product => "product",
            Self::Convolution => "convolution",
            Self::TrainedConvolution => "convolution in training",
            Self::InputGradient => "input gradient",
            Self::WeightGradient => "weight gradient",
            Self::Attention => "attention",
            Self::AttentionBackward => "attention backward",
            Self::NormFold => "norm fold",
        })
    }
}

/// How often each family was chosen for each class of ops.
///
/// Example: [`KernelSelector`](super::KernelSelector).
pub type Choices = BTreeMap<(OpClass, Family), usize>;

/// What an equation computes, as far as families differ by it.
///
/// Example: [`KernelSelector`](super::KernelSelector).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// What is computed.
    pub class: OpClass,
    /// Pixels or tokens of the batch.
    pub rows: usize,
    /// The lesser of the channels read and written; of attention those of a head.
    pub channels: usize,
    /// The channels written; of attention those of a head.
    pub outputs: usize,
    /// The op's printed form.
    pub op: String,
    /// Types of the equation's operands.
    pub operands: Vec<TensorType>,
}

impl Problem {
    /// A problem of these extents; lowering adds the op and its operands.
    pub fn new(class: OpClass, rows: usize, channels: usize, outputs: usize) -> Self {
        Self { class, rows, channels, outputs, op: String::new(), operands: Vec::new() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class, self.op)?;
        self.operands.iter().try_for_each(|of| write!(f, " {of}"))
    }
}

//! How a fused convolution, or its weight gradient, reads its input.
use super::Operands;
use crate::{
    error::ShapeError,
    ops::{ApplyAffine, Concat, Lowering, Op, Operator, UpsampleNearest},
    reference::Tensor,
    value::{TensorType, Value},
};
use std::fmt;

/// What happens to each element of the input when it is read.
///
/// Example: [`crate::ops::FusedConv2d`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Prologue {
    /// Nothing.
    #[default]
    Identity,
    /// A center, a scale and a shift of each image and channel: a group norm.
    Affine,
    /// The same, then SiLU.
    AffineSilu,
}

/// What a fused convolution reads in place of a tensor that holds its input: operands `x0`, `x1`
/// if a concatenation, `affine f32[batch, 3, channels]` if there is a prologue. Zeros outside the
/// image are zeros after the prologue.
///
/// Example: [`crate::ops::FusedConv2d`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Load {
    /// Two tensors, channels side by side.
    pub concat: bool,
    /// What happens to each element.
    pub prologue: Prologue,
    /// Whether every pixel then becomes a block of 2x2.
    pub upsample: bool,
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prologue = match self.prologue {
            Prologue::Identity => "",
            Prologue::Affine => " affine",
            Prologue::AffineSilu => " affine silu",
        };
        let named = |flag, name| if flag { name } else { "" };
        write!(f, "{}{prologue}", named(self.concat, " concat"))?;
        f.write_str(named(self.upsample, " upsample"))
    }
}

impl Load {
    /// How a convolution, or its weight gradient, reads its input; none of another op.
    pub(crate) fn of(op: &Op) -> Option<Self> {
        match op {
            Op::Conv2d(_) | Op::Conv2dWeightGradient(_) => Some(Self::default()),
            Op::FusedConv2d(fused) => Some(fused.load),
            Op::FusedConv2dWeightGradient(fused) => Some(fused.load),
            _ => None,
        }
    }

    /// Number of operands.
    pub fn arity(&self) -> usize {
        1 + usize::from(self.concat) + usize::from(self.prologue != Prologue::Identity)
    }

    /// The plain ops that make the tensor which is read, one of the result of the other, and how
    /// many more operands each takes.
    fn steps(&self) -> impl Iterator<Item = (Op, usize)> {
        let concat = self.concat.then(|| (Concat.into(), 1));
        let silu = self.prologue == Prologue::AffineSilu;
        let affine = self.prologue != Prologue::Identity;
        let affine = affine.then(|| (ApplyAffine { silu }.into(), 1));
        let upsample = self.upsample.then(|| (UpsampleNearest.into(), 0));
        [concat, affine, upsample].into_iter().flatten()
    }

    /// Type of what is read.
    pub(crate) fn infer(&self, inputs: &[TensorType]) -> Result<TensorType, ShapeError> {
        let Some(&x) = inputs.first().filter(|_| inputs.len() == self.arity()) else {
            return Err(ShapeError::count(format!("load{{{self} }}"), self.arity(), inputs));
        };
        if self.concat && !x.shape.last().is_multiple_of(4) {
            let message = format!("x0 must have a multiple of 4 channels, found {x}");
            return Err(ShapeError::conflict("load", message, inputs));
        }
        let (mut read, mut rest) = (x, inputs[1..].iter().copied());
        for (op, more) in self.steps() {
            let own: Vec<TensorType> = [read].into_iter().chain(rest.by_ref().take(more)).collect();
            read = op.infer(&own)?[0];
        }
        Ok(read)
    }

    /// What is read.
    pub(super) fn reference(&self, inputs: &[&Tensor]) -> Tensor {
        let (mut read, mut rest) = (inputs[0].clone(), &inputs[1..]);
        for (op, more) in self.steps() {
            let (own, left) = rest.split_at(more);
            read = op.reference(&[&[&read], own].concat()).swap_remove(0);
            rest = left;
        }
        read
    }

    /// Fills in the operands of a kernel that reads so.
    pub(super) fn operands(
        &self,
        lowering: &Lowering,
        inputs: &[Value],
        base: Operands,
    ) -> Operands {
        let split4 = lowering.type_of(inputs[0]).pitch() / 4;
        Operands {
            x0: inputs[0],
            x1: self.concat.then(|| inputs[1]),
            split4,
            affine: (self.prologue != Prologue::Identity).then(|| inputs[self.arity() - 1]),
            silu: self.prologue == Prologue::AffineSilu,
            upsample: self.upsample,
            ..base
        }
    }
}

//! Self-attention of queries, keys and values that one linear layer made.
use super::{Attention, Extents, candidates, named};
use crate::{
    error::{Error, ShapeError},
    graph::Equation,
    ops::{Lowering, Operator, SliceChannels, Special, operands},
    plan::{Cost, OpClass},
    reference::Tensor,
    value::{Shape, TensorType},
};
use std::fmt;

/// [`Attention`] of one operand `[batch, .., 3 * channels]` that holds `q`, `k` and `v` side by
/// side; the outputs are those of `Attention`. The channels are a multiple of 4, and so is the
/// size of a head unless there is one head.
///
/// ```
/// use ddim::{ops::{JointAttention, Operator}, value::TensorType};
///
/// let attention = JointAttention { heads: 2, causal: false };
/// let [y, log_sum_exp] = [&[1, 16, 8], &[1, 2, 16]].map(|of| TensorType::f32(of));
/// assert_eq!(attention.infer(&[TensorType::f32(&[1, 16, 3 * 8])])?, [y, log_sum_exp]);
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct JointAttention {
    /// Number of heads; divides the channels.
    pub heads: usize,
    /// Whether query `i` sees keys `0..=i` alone.
    pub causal: bool,
}

impl JointAttention {
    /// The attention of the three parts.
    fn apart(&self) -> Attention {
        Attention { heads: self.heads, causal: self.causal }
    }

    /// Whether `Attention` of tensors like `q` has this form.
    pub fn takes(&self, q: TensorType) -> bool {
        let size = q.shape.last().checked_div(self.heads).unwrap_or_default();
        q.shape.last().is_multiple_of(4) && (self.heads == 1 || size.is_multiple_of(4))
    }

    /// Where `q`, `k` and `v` lie.
    fn parts(of: Shape) -> [SliceChannels; 3] {
        let count = of.last() / 3;
        [0, 1, 2].map(|index| SliceChannels { start: index * count, count })
    }

    fn part(joint: TensorType) -> Result<TensorType, ShapeError> {
        Ok(Self::parts(joint.shape)[0].infer(&[joint])?[0])
    }
}

impl fmt::Display for JointAttention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        named("joint_attention", self.heads, self.causal, f)
    }
}

impl Operator for JointAttention {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let [joint] = operands("joint_attention", inputs)?;
        let channels = joint.shape.last();
        let error = |message: String| Err(ShapeError::conflict("joint_attention", message, inputs));
        if !channels.is_multiple_of(3) {
            return error(format!("takes q, k and v side by side, found {channels} channels"));
        }
        let q = Self::part(joint)?;
        let outputs = self.apart().infer(&[q; 3])?;
        if !self.takes(q) {
            let (channels, heads) = (q.shape.last(), self.heads);
            return error(format!("{channels} channels and {heads} heads are not whole vec4s"));
        }
        Ok(outputs)
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [q, k, v] =
            Self::parts(inputs[0].shape).map(|part| part.reference(inputs).swap_remove(0));
        self.apart().reference(&[&q, &k, &v])
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let joint = equation.inputs[0];
        let q = Self::part(lowering.type_of(joint))?.shape;
        let extents = Extents::of(q, q, self.heads);
        let outputs = [equation.outputs[0], equation.outputs[1]];
        let params = extents.params(true, self.causal);
        let candidates = candidates(lowering, &extents, params, [joint; 3], outputs);
        let problem = extents.problem(OpClass::Attention);
        Ok(lowering.choose(&self.to_string(), problem, candidates)?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        let q = Self::part(inputs[0]).unwrap_or(inputs[0]);
        self.apart().cost(&[q; 3])
    }

    /// A row whose logits are all negative and infinite is as if they were the lowest finite ones.
    fn special(&self) -> Special {
        Special::NanSpreads
    }
}

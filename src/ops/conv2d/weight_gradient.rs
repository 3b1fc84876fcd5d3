//! Gradient of a convolution with respect to its weight.
use super::{Extents, Form, Operands, attributes, extents, lower};
use crate::{
    error::{Error, ShapeError},
    graph::Equation,
    ops::{Lowering, Operator, Special, SumRows, check, operands},
    plan::Cost,
    reference::Tensor,
    value::TensorType,
};
use std::fmt;

/// `dweight[ky, kx, c, o]`, the sum of `x[n, i stride + ky - top, j stride + kx - left, c]
/// dy[n, i, j, o]` over the pixels `n, i, j` of `dy` whose source exists.
///
/// Operands `x [batch, height, width, in]` and `dy [batch, out_height, out_width, out]` of one
/// storage; `dweight [kernel_height, kernel_width, in, out]` is f32, and so is \[`dbias [out]`, the sum of
/// `dy`\].
///
/// Example: [`crate::ops::Conv2dInputGradient`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv2dWeightGradient {
    /// Of the forward op.
    pub stride: usize,
    /// Of the forward op: above, below, left, right.
    pub padding: [usize; 4],
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Whether the gradient of a bias is computed too.
    pub bias: bool,
}

impl fmt::Display for Conv2dWeightGradient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (attributes, [height, width]) = (attributes(self.stride, self.padding), self.kernel);
        let bias = if self.bias { " bias" } else { "" };
        write!(f, "conv2d_weight_gradient{{{attributes} kernel={height},{width}{bias}}}")
    }
}

impl Conv2dWeightGradient {
    pub(super) fn extents(&self, x: TensorType, dy: TensorType) -> Extents {
        Extents::new(x, self.kernel, dy.shape.last(), self.stride, self.padding)
    }

    fn dweight(&self, x: TensorType, dy: TensorType) -> TensorType {
        let [height, width] = self.kernel;
        TensorType::f32(&[height, width, x.shape.last(), dy.shape.last()])
    }
}

impl Operator for Conv2dWeightGradient {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let op = "conv2d_weight_gradient";
        let [x, dy] = operands(op, inputs)?;
        Form::IMAGES.check(op, "x", x, inputs)?;
        Form::IMAGES.check(op, "dy", dy, inputs)?;
        let image = [x.shape[1], x.shape[2]];
        let [height, width] =
            extents::output(op, image, self.kernel, self.stride, self.padding, inputs)?;
        let expected = x.with_shape(&[x.shape[0], height, width, dy.shape.last()]);
        check(op, "dy", dy, expected, inputs)?;
        let dbias = self.bias.then(|| TensorType::f32(&[dy.shape.last()]));
        Ok([self.dweight(x, dy)].into_iter().chain(dbias).collect())
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let (x, dy) = (inputs[0], inputs[1]);
        let of = |tensor: &Tensor| TensorType::f32(&tensor.shape);
        let extents = self.extents(of(x), of(dy));
        let mut dweight = Tensor::zeros(self.dweight(of(x), of(dy)).shape);
        extents.for_each_product(|own, w, out| dweight.data[w] += x.data[own] * dy.data[out]);
        let dbias = self.bias.then(|| SumRows.reference(&[dy]));
        [dweight].into_iter().chain(dbias.into_iter().flatten()).collect()
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let (x, dy, dweight) = (equation.inputs[0], equation.inputs[1], equation.outputs[0]);
        let extents = self.extents(lowering.type_of(x), lowering.type_of(dy));
        let base = Operands::new(x, extents.in_channels, dy, dweight);
        let operands = Operands { dbias: equation.outputs.get(1).copied(), ..base };
        lower::weight_gradient(lowering, &self.to_string(), &extents, &operands)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        let [x, dy] = [inputs[0], inputs[1]];
        let bytes = x.bytes() + dy.bytes() + self.dweight(x, dy).bytes();
        Cost { flops: self.extents(x, dy).flops(), bytes }
    }

    /// Padding is a product with zero in some kernels, and minimal filtering takes differences.
    fn special(&self) -> Special {
        Special::Spreads
    }
}

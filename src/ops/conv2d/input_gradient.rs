//! Gradient of a convolution with respect to its images.
use super::{Extents, Form, attributes, extents, lower};
use crate::{
    error::{Error, ShapeError},
    graph::Equation,
    ops::{Add, Lowering, Operator, Special, check, operands},
    plan::Cost,
    reference::Tensor,
    value::TensorType,
};
use std::fmt;

/// `dx[n, y, x, c]`, the sum of `dy[n, i, j, o] weight[ky, kx, c, o]` over the taps and pixels with
/// `y = i stride + ky - top` and `x = j stride + kx - left`.
///
/// Operands `dy [batch, out_height, out_width, out]` and `weight [kernel_height, kernel_width, in,
/// out]`, \[`residual` as `dx`, which is added\]; `dx [batch, height, width, in]` has the storage of `dy`.
///
/// ```
/// use ddim::{graph::Graph, ops::Conv2d, passes, value::TensorType};
///
/// let mut graph = Graph::new();
/// let x = graph.input(TensorType::f32(&[1, 8, 8, 4]));
/// let weight = graph.input(TensorType::f32(&[3, 3, 4, 16]));
/// let y = graph.push(Conv2d { stride: 2, padding: [1; 4] }, &[x, weight])?;
/// let dy = graph.input(TensorType::f32(&[1, 4, 4, 16]));
/// passes::gradient(&mut graph, y, dy, &[x, weight])?;
/// for op in ["conv2d_input_gradient", "conv2d_weight_gradient"] {
///     assert!(graph.to_string().contains(op));
/// }
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv2dInputGradient {
    /// Of the forward op.
    pub stride: usize,
    /// Of the forward op: above, below, left, right.
    pub padding: [usize; 4],
    /// Height of `dx`.
    pub height: usize,
    /// Width of `dx`.
    pub width: usize,
    /// Whether a residual is added: another gradient of `x`.
    pub residual: bool,
}

impl fmt::Display for Conv2dInputGradient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (attributes, Self { height, width, .. }) =
            (attributes(self.stride, self.padding), self);
        let residual = if self.residual { " residual" } else { "" };
        write!(f, "conv2d_input_gradient{{{attributes} height={height} width={width}{residual}}}")
    }
}

impl Conv2dInputGradient {
    fn dx(&self, dy: TensorType, weight: TensorType) -> TensorType {
        dy.with_shape(&[dy.shape[0], self.height, self.width, weight.shape[2]])
    }

    fn extents(&self, dy: TensorType, weight: TensorType) -> Extents {
        let kernel = [weight.shape[0], weight.shape[1]];
        Extents::new(self.dx(dy, weight), kernel, weight.shape[3], self.stride, self.padding)
    }
}

impl Operator for Conv2dInputGradient {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let op = "conv2d_input_gradient";
        let (given, residual) = Add::residual(inputs, self.residual);
        let [dy, weight] = operands(op, given)?;
        Form::IMAGES.check(op, "dy", dy, inputs)?;
        Form::TAPS.check(op, "weight", weight, inputs)?;
        let (image, kernel) = ([self.height, self.width], [weight.shape[0], weight.shape[1]]);
        let [height, width] =
            extents::output(op, image, kernel, self.stride, self.padding, inputs)?;
        let expected = dy.with_shape(&[dy.shape[0], height, width, weight.shape[3]]);
        check(op, "dy", dy, expected, inputs)?;
        let dx = self.dx(dy, weight);
        residual.map(|&residual| Add.infer(&[dx, residual])).transpose()?;
        Ok(vec![dx])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let (dy, weight) = (inputs[0], inputs[1]);
        let of = |tensor: &Tensor| TensorType::f32(&tensor.shape);
        let extents = self.extents(of(dy), of(weight));
        let mut dx = Tensor::zeros(self.dx(of(dy), of(weight)).shape);
        extents.for_each_product(|own, w, out| dx.data[own] += dy.data[out] * weight.data[w]);
        match Add::residual(inputs, self.residual).1 {
            Some(residual) => Add.reference(&[&dx, residual]),
            None => vec![dx],
        }
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let (dy, weight, dx) = (equation.inputs[0], equation.inputs[1], equation.outputs[0]);
        let extents = self.extents(lowering.type_of(dy), lowering.type_of(weight));
        let residual = Add::residual(&equation.inputs, self.residual).1.copied();
        lower::input_gradient(lowering, &self.to_string(), &extents, [dy, weight, dx], residual)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        let [dy, weight] = [inputs[0], inputs[1]];
        let given: u64 = inputs.iter().map(TensorType::bytes).sum();
        let bytes = given + self.dx(dy, weight).bytes();
        Cost { flops: self.extents(dy, weight).flops(), bytes }
    }

    /// Padding is a product with zero in some kernels, and minimal filtering takes differences.
    fn special(&self) -> Special {
        Special::Spreads
    }
}

//! Two-dimensional convolution (cross-correlation, as in every neural network) and its gradients:
//! Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning".
use super::{
    Backward, Case, Gradients, Input, Lowering, Operator, Special, SumRows, check, operands,
};
use crate::{
    error::{Error, ShapeError},
    graph::Equation,
    plan::Cost,
    reference::Tensor,
    value::{ElementType, TensorType},
};
use std::fmt;

mod extents;
mod families;
mod fused;
mod input_gradient;
mod load;
pub(super) mod lower;
mod operands;
mod random;
mod weight_gradient;

pub(super) use extents::{Extents, Form};
pub use fused::{FusedConv2d, FusedConv2dWeightGradient};
pub use input_gradient::Conv2dInputGradient;
pub use load::{Load, Prologue};
pub(super) use operands::Operands;
pub(super) use random::random;
pub use weight_gradient::Conv2dWeightGradient;

/// `y[n, i, j, o] = bias[o] + sum over (ky, kx, c) of`
/// `x[n, i stride + ky - top, j stride + kx - left, c] weight[ky, kx, c, o]`, zeros outside `x`.
///
/// Operands `x [batch, height, width, in]`, `weight [kernel_height, kernel_width, in, out]` and,
/// if there is a third, `bias [out]` in f32; `y` has the storage of `x` and the extents
/// `(height + top + bottom - kernel_height) / stride + 1`, likewise for the width.
///
/// ```
/// use ddim::{ops::{Conv2d, Operator}, reference::Tensor, value::Shape};
///
/// let conv = Conv2d { stride: 1, padding: [0; 4] };
/// let row = Tensor::new(Shape::new(&[1, 1, 3, 1]), vec![1.0, 2.0, 4.0]);
/// let difference = Tensor::new(Shape::new(&[1, 2, 1, 1]), vec![-1.0, 1.0]);
/// assert_eq!(conv.reference(&[&row, &difference])[0].data, [1.0, 2.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv2d {
    /// Pixels of `x` from one pixel of `y` to the next.
    pub stride: usize,
    /// Zeros above, below, left and right of `x`; each less than the kernel's extent.
    pub padding: [usize; 4],
}

/// `stride=1 padding=1,1,1,1`
fn attributes(stride: usize, [top, bottom, left, right]: [usize; 4]) -> String {
    format!("stride={stride} padding={top},{bottom},{left},{right}")
}

impl fmt::Display for Conv2d {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "conv2d{{{}}}", attributes(self.stride, self.padding))
    }
}

impl Conv2d {
    fn extents(&self, x: TensorType, weight: TensorType) -> Extents {
        let kernel = [weight.shape[0], weight.shape[1]];
        Extents::new(x, kernel, weight.shape[3], self.stride, self.padding)
    }
}

impl Operator for Conv2d {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let wrong = |message: String| Err(ShapeError::conflict("conv2d", message, inputs));
        let [x, weight] = operands("conv2d", &inputs[..inputs.len().min(2)])?;
        if inputs.len() > 3 {
            return Err(ShapeError::count("conv2d", "2 or 3", inputs));
        }
        Form::IMAGES.check("conv2d", "x", x, inputs)?;
        Form::TAPS.check("conv2d", "weight", weight, inputs)?;
        let [kernel_height, kernel_width, in_channels, out_channels] = weight.shape[..] else {
            unreachable!("four axes, as just checked")
        };
        if in_channels != x.shape[3] {
            let found = x.shape[3];
            return wrong(format!("weight has {in_channels} input channels, x has {found}"));
        }
        if let Some(&found) = inputs.get(2) {
            check("conv2d", "bias", found, TensorType::f32(&[out_channels]), inputs)?;
        }
        let kernel = [kernel_height, kernel_width];
        let [height, width] = extents::output(
            "conv2d",
            [x.shape[1], x.shape[2]],
            kernel,
            self.stride,
            self.padding,
            inputs,
        )?;
        Ok(vec![x.with_shape(&[x.shape[0], height, width, out_channels])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let (x, weight) = (inputs[0], inputs[1]);
        let of = |tensor: &Tensor| TensorType::f32(&tensor.shape);
        let extents = self.extents(of(x), of(weight));
        let mut y = Tensor::zeros(extents.y(ElementType::F32).shape);
        if let Some(bias) = inputs.get(2) {
            let channels = bias.data.iter().cycle();
            y.data.iter_mut().zip(channels).for_each(|(y, bias)| *y = *bias);
        }
        extents.for_each_product(|own, w, out| y.data[out] += x.data[own] * weight.data[w]);
        vec![y]
    }

    fn vjp(&self, backward: &mut Backward, equation: &Equation) -> Result<Gradients, Error> {
        let mut gradients = vec![None; equation.inputs.len()];
        let dy = backward.dy();
        let (x, weight) = (equation.inputs[0], equation.inputs[1]);
        let Self { stride, padding } = *self;
        if backward.needs(0) {
            let of = backward.type_of(x);
            let (height, width) = (of.shape[1], of.shape[2]);
            let gradient = Conv2dInputGradient { stride, padding, height, width, residual: false };
            gradients[0] = Some(backward.push(gradient, &[dy, weight])?);
        }
        let bias = equation.inputs.len() == 3 && backward.needs(2);
        if backward.needs(1) {
            let of = backward.type_of(weight);
            let kernel = [of.shape[0], of.shape[1]];
            let gradient = Conv2dWeightGradient { stride, padding, kernel, bias };
            let made = backward.push_all(gradient, &[x, dy])?;
            for (gradient, made) in gradients[1..].iter_mut().zip(made) {
                *gradient = Some(made);
            }
        } else if bias {
            gradients[2] = Some(backward.push(SumRows, &[dy])?);
        }
        Ok(gradients)
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let (x, weight) = (equation.inputs[0], equation.inputs[1]);
        let extents = self.extents(lowering.type_of(x), lowering.type_of(weight));
        let bias = equation.inputs.get(2).copied();
        let operands = Operands::new(x, extents.in_channels, weight, equation.outputs[0]);
        let operands = Operands { bias, ..operands };
        lower::forward(lowering, &self.to_string(), &extents, &operands)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        let extents = self.extents(inputs[0], inputs[1]);
        let bytes: u64 = inputs.iter().map(TensorType::bytes).sum();
        Cost { flops: extents.flops(), bytes: bytes + extents.y(inputs[0].element).bytes() }
    }

    /// Padding is a product with zero in some kernels, and minimal filtering takes differences.
    fn special(&self) -> Special {
        Special::Spreads
    }
}

pub(super) fn cases() -> Vec<Case> {
    let geometries = [
        // batch, height, width, in, out, kernel, stride, padding
        ([1, 7, 5, 3], 5, [3, 3], 1, [1; 4]),
        ([3, 7, 5, 5], 1, [3, 3], 1, [1; 4]),
        ([2, 8, 8, 1], 32, [3, 3], 1, [1; 4]),
        ([1, 1, 1, 4], 4, [3, 3], 1, [1; 4]),
        ([1, 6, 19, 36], 40, [3, 3], 1, [1; 4]),
        ([1, 8, 8, 24], 40, [3, 3], 1, [1; 4]),
        ([2, 7, 20, 8], 8, [3, 3], 1, [0; 4]),
        ([1, 5, 6, 4], 4, [3, 3], 1, [0, 2, 2, 1]),
        ([1, 5, 18, 4], 4, [3, 3], 1, [0, 2, 2, 1]),
        ([2, 7, 5, 3], 4, [3, 3], 2, [0, 1, 0, 1]),
        ([3, 8, 8, 6], 9, [3, 3], 2, [1; 4]),
        ([1, 5, 6, 4], 4, [1, 1], 2, [0; 4]),
        ([2, 7, 5, 5], 7, [1, 1], 1, [0; 4]),
        ([1, 9, 9, 66], 34, [1, 1], 1, [0; 4]),
        ([1, 6, 9, 8], 12, [1, 7], 1, [0, 0, 3, 3]),
        ([2, 5, 6, 4], 8, [5, 5], 1, [2; 4]),
        // More channels, in fours, than a loop over nine taps may have iterations, forward and back.
        ([1, 2, 2, 30_000], 1, [3, 3], 1, [1; 4]),
        ([1, 2, 2, 1], 30_000, [3, 3], 1, [1; 4]),
    ];
    let mut cases = Vec::new();
    for (x, outputs, kernel, stride, padding) in geometries {
        let x = TensorType::f32(&x);
        let extents = Extents::new(x, kernel, outputs, stride, padding);
        let [kernel_height, kernel_width] = kernel;
        let weight = TensorType::f32(&[kernel_height, kernel_width, x.shape[3], outputs]);
        let [x, weight, bias, dy] =
            [x, weight, TensorType::f32(&[outputs]), extents.y(ElementType::F32)]
                .map(Input::normal);
        let (height, width) = (extents.in_height, extents.in_width);
        let taps = kernel_height * kernel_width;
        let input_gradient =
            |residual| Conv2dInputGradient { stride, padding, height, width, residual };
        let weight_gradient = |bias| Conv2dWeightGradient { stride, padding, kernel, bias };
        let conv = Conv2d { stride, padding };
        let all = [
            Case::new(conv, vec![x.clone(), weight.clone(), bias])
                .terms(taps * extents.in_channels + 1)
                .half(&[0, 1]),
            Case::new(conv, vec![x.clone(), weight.clone()]).terms(taps * extents.in_channels),
            Case::new(input_gradient(false), vec![dy.clone(), weight.clone()])
                .terms(taps * outputs)
                .half(&[0, 1]),
            Case::new(input_gradient(true), vec![dy.clone(), weight, x.clone()])
                .terms(taps * outputs + 1),
            Case::new(weight_gradient(false), vec![x.clone(), dy.clone()])
                .terms(extents.pixels())
                .half(&[0, 1]),
            Case::new(weight_gradient(true), vec![x, dy]).terms(extents.pixels()),
        ];
        cases.extend(all.into_iter().filter(Case::is_short_or_stored_in_halves));
    }
    cases.extend(fused::cases());
    cases
}

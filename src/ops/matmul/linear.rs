//! Linear layer and its gradients: a convolution of one tap over a row of pixels. Above 300 lines,
//! for the fused layer stands here too.
use crate::{
    error::{Error, ShapeError},
    graph::Equation,
    ops::{
        Add, Backward, Case, Dice, Gradients, GroupMoments, Input, Lowering, Operator, Silu,
        Special, SumRows, check,
        conv2d::{Extents, Form, Operands, lower},
        display, operands,
    },
    plan::Cost,
    reference::Tensor,
    value::{Shape, TensorType},
};
use std::fmt;

/// `y[.., o] = bias[o] + sum over c of x[.., c] weight[c, o]`.
///
/// Operands `x [.., in]` of two axes or more, `weight [in, out]` and, if there is a third,
/// `bias [out]` in f32; `y [.., out]` has the storage of `x`.
///
/// ```
/// use ddim::{ops::{Linear, Operator}, reference::Tensor, value::Shape};
///
/// let x = Tensor::new(Shape::new(&[1, 2]), vec![1.0, 2.0]);
/// let weight = Tensor::new(Shape::new(&[2, 1]), vec![10.0, 1.0]);
/// let bias = Tensor::new(Shape::new(&[1]), vec![0.5]);
/// assert_eq!(Linear.reference(&[&x, &weight, &bias])[0].data, [12.5]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Linear;

/// `y = activation(linear(x, weight, bias) + residual)`: fusion makes it of [`Linear`] and what
/// follows it. Operands `x`, `weight`, \[`bias`\], \[`residual` as `y`\], as the fields say. Outputs `y` and
/// \[`moments`, as [`GroupMoments`]\].
///
/// ```
/// use ddim::{ops::{FusedLinear, Input, Linear, Operator, Silu}, value::TensorType};
///
/// let shapes = [&[4, 3][..], &[3, 2], &[2]];
/// let [x, weight, bias] = shapes.map(|of| Input::normal(TensorType::f32(of)).tensor(7));
/// let fused = FusedLinear { bias: true, residual: false, silu: true, moments: false };
/// let y = &Linear.reference(&[&x, &weight, &bias])[0];
/// assert_eq!(fused.reference(&[&x, &weight, &bias]), Silu.reference(&[y]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FusedLinear {
    /// Whether there is a bias.
    pub bias: bool,
    /// Whether a residual is added.
    pub residual: bool,
    /// Whether SiLU follows.
    pub silu: bool,
    /// Whether the moments of `y` are computed too.
    pub moments: bool,
}

/// `dx[.., c] = sum over o of dy[.., o] weight[c, o]`; operands `dy`, `weight`, \[`residual` as `dx`,
/// which is added\].
///
/// ```
/// use ddim::{graph::Graph, ops::Linear, passes, value::TensorType};
///
/// let mut graph = Graph::new();
/// let [x, weight, dy] = [[8, 3], [3, 2], [8, 2]].map(|of| graph.input(TensorType::f32(&of)));
/// let y = graph.push(Linear, &[x, weight])?;
/// passes::gradient(&mut graph, y, dy, &[x, weight])?;
/// for op in ["linear_input_gradient", "linear_weight_gradient"] {
///     assert!(graph.to_string().contains(op));
/// }
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LinearInputGradient {
    /// Whether a residual is added: another gradient of `x`.
    pub residual: bool,
}

/// `dweight[c, o]`, the sum of `x[.., c] dy[.., o]` over all rows, in f32; operands `x`, `dy`. Outputs
/// `dweight`, \[`dbias [out]`, the sum of `dy`, in f32\].
///
/// Example: [`LinearInputGradient`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LinearWeightGradient {
    /// Whether the gradient of a bias is computed too.
    pub bias: bool,
}

display!("linear", Linear);

impl fmt::Display for FusedLinear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bias, residual, silu, moments } = *self;
        let parts = [(bias, "bias"), (residual, "residual"), (silu, "silu"), (moments, "moments")];
        let named: Vec<_> =
            parts.iter().filter(|(there, _)| *there).map(|(_, name)| *name).collect();
        write!(f, "fused_linear{{{}}}", named.join(" "))
    }
}

display!("linear_input_gradient", LinearInputGradient { residual });

display!("linear_weight_gradient", LinearWeightGradient { bias });

/// `rows` with `last` as innermost extent.
fn with_last(rows: TensorType, last: usize) -> TensorType {
    let mut extents = rows.shape.to_vec();
    *extents.last_mut().expect("a shape has at least one axis") = last;
    rows.with_shape(&extents)
}

/// The product of so many rows with a weight of this shape.
fn product(rows: usize, weight: Shape) -> Extents {
    Extents::product(rows, weight[0], weight[1])
}

fn product_cost(rows: usize, weight: Shape, tensors: &[TensorType]) -> Cost {
    let bytes = tensors.iter().map(TensorType::bytes).sum();
    Cost { flops: product(rows, weight).flops(), bytes }
}

impl Operator for Linear {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let wrong = |message: String| Err(ShapeError::conflict("linear", message, inputs));
        let [x, weight] = operands("linear", &inputs[..inputs.len().min(2)])?;
        if inputs.len() > 3 {
            return Err(ShapeError::count("linear", "2 or 3", inputs));
        }
        Form::ROWS.check("linear", "x", x, inputs)?;
        Form::MATRIX.check("linear", "weight", weight, inputs)?;
        let (expected, found) = (weight.shape[0], x.shape.last());
        if expected != found {
            return wrong(format!("weight has {expected} input channels, x has {found}"));
        }
        if let Some(&found) = inputs.get(2) {
            check("linear", "bias", found, TensorType::f32(&[weight.shape[1]]), inputs)?;
        }
        Ok(vec![with_last(x, weight.shape[1])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let (x, weight) = (inputs[0], inputs[1]);
        let mut y = Tensor::zeros(with_last(TensorType::f32(&x.shape), weight.shape[1]).shape);
        if let Some(bias) = inputs.get(2) {
            let channels = bias.data.iter().cycle();
            y.data.iter_mut().zip(channels).for_each(|(y, bias)| *y = *bias);
        }
        let product = product(x.shape.rows(), weight.shape);
        product.for_each_product(|own, w, out| y.data[out] += x.data[own] * weight.data[w]);
        vec![y]
    }

    fn vjp(&self, backward: &mut Backward, equation: &Equation) -> Result<Gradients, Error> {
        let mut gradients = vec![None; equation.inputs.len()];
        let dy = backward.dy();
        let (x, weight) = (equation.inputs[0], equation.inputs[1]);
        if backward.needs(0) {
            let gradient = LinearInputGradient::default();
            gradients[0] = Some(backward.push(gradient, &[dy, weight])?);
        }
        let bias = equation.inputs.len() == 3 && backward.needs(2);
        if backward.needs(1) {
            let made = backward.push_all(LinearWeightGradient { bias }, &[x, dy])?;
            for (gradient, made) in gradients[1..].iter_mut().zip(made) {
                *gradient = Some(made);
            }
        } else if bias {
            gradients[2] = Some(backward.push(SumRows, &[dy])?);
        }
        Ok(gradients)
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let (x, weight, y) = (equation.inputs[0], equation.inputs[1], equation.outputs[0]);
        let extents = product(lowering.type_of(x).rows(), lowering.type_of(weight).shape);
        let bias = equation.inputs.get(2).copied();
        let operands = Operands { bias, ..Operands::new(x, extents.in_channels, weight, y) };
        lower::forward(lowering, &self.to_string(), &extents, &operands)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        let [x, weight] = [inputs[0], inputs[1]];
        let y = with_last(x, weight.shape[1]);
        let mut cost = product_cost(x.rows(), weight.shape, inputs);
        cost.bytes += y.bytes();
        cost
    }

    /// Tiles that reach past a matrix are products with zero.
    fn special(&self) -> Special {
        Special::Spreads
    }
}

impl Operator for FusedLinear {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let wanted = 2 + usize::from(self.bias) + usize::from(self.residual);
        if inputs.len() != wanted {
            return Err(ShapeError::count("fused_linear", wanted, inputs));
        }
        let (linear, residual) = Add::residual(inputs, self.residual);
        let y = Linear.infer(linear)?[0];
        if let Some(&residual) = residual {
            Add.infer(&[y, residual])?;
        }
        let moments = self.moments.then(|| GroupMoments.infer(&[y])).transpose()?;
        Ok([y].into_iter().chain(moments.into_iter().flatten()).collect())
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let (linear, residual) = Add::residual(inputs, self.residual);
        let mut y = Linear.reference(linear);
        if let Some(residual) = residual {
            y = Add.reference(&[&y[0], residual]);
        }
        if self.silu {
            y = Silu.reference(&[&y[0]]);
        }
        let moments = self.moments.then(|| GroupMoments.reference(&[&y[0]]));
        y.into_iter().chain(moments.into_iter().flatten()).collect()
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let (linear, residual) = Add::residual(&equation.inputs, self.residual);
        let (x, weight, y) = (linear[0], linear[1], equation.outputs[0]);
        let [of_x, of_weight] = [x, weight].map(|value| lowering.type_of(value));
        // Squares of pixels are those of an image.
        let extents = match of_x.shape.len() {
            4 => Extents::new(of_x, [1, 1], of_weight.shape[1], 1, [0; 4]),
            _ => product(of_x.rows(), of_weight.shape),
        };
        let (bias, residual) = (linear.get(2).copied(), residual.copied());
        let moments = equation.outputs.get(1).copied();
        let base = Operands::new(x, extents.in_channels, weight, y);
        let operands = Operands { bias, residual, activated: self.silu, moments, ..base };
        lower::forward(lowering, &self.to_string(), &extents, &operands)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        let (linear, residual) = Add::residual(inputs, self.residual);
        let mut cost = Linear.cost(linear);
        cost.bytes += residual.map_or(0, TensorType::bytes);
        let moments = self.infer(inputs).ok().and_then(|outputs| outputs.get(1).copied());
        cost.bytes += moments.map_or(0, |of| of.bytes());
        cost
    }

    /// Tiles that reach past a matrix are products with zero.
    fn special(&self) -> Special {
        Special::Spreads
    }
}

impl Operator for LinearInputGradient {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let op = "linear_input_gradient";
        let (given, residual) = Add::residual(inputs, self.residual);
        let [dy, weight] = operands(op, given)?;
        Form::ROWS.check(op, "dy", dy, inputs)?;
        Form::MATRIX.check(op, "weight", weight, inputs)?;
        let (expected, found) = (weight.shape[1], dy.shape.last());
        if expected != found {
            let message = format!("weight has {expected} output channels, dy has {found}");
            return Err(ShapeError::conflict(op, message, inputs));
        }
        let dx = with_last(dy, weight.shape[0]);
        residual.map(|&residual| Add.infer(&[dx, residual])).transpose()?;
        Ok(vec![dx])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let (dy, weight) = (inputs[0], inputs[1]);
        let mut dx = Tensor::zeros(with_last(TensorType::f32(&dy.shape), weight.shape[0]).shape);
        let product = product(dy.shape.rows(), weight.shape);
        product.for_each_product(|own, w, out| dx.data[own] += dy.data[out] * weight.data[w]);
        match Add::residual(inputs, self.residual).1 {
            Some(residual) => Add.reference(&[&dx, residual]),
            None => vec![dx],
        }
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let (dy, weight, dx) = (equation.inputs[0], equation.inputs[1], equation.outputs[0]);
        let extents = product(lowering.type_of(dy).rows(), lowering.type_of(weight).shape);
        let residual = Add::residual(&equation.inputs, self.residual).1.copied();
        lower::input_gradient(lowering, &self.to_string(), &extents, [dy, weight, dx], residual)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        let [dy, weight] = [inputs[0], inputs[1]];
        let tensors = [inputs, &[with_last(dy, weight.shape[0])]].concat();
        product_cost(dy.rows(), weight.shape, &tensors)
    }

    /// Tiles that reach past a matrix are products with zero.
    fn special(&self) -> Special {
        Special::Spreads
    }
}

impl Operator for LinearWeightGradient {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let op = "linear_weight_gradient";
        let [x, dy] = operands(op, inputs)?;
        Form::ROWS.check(op, "x", x, inputs)?;
        Form::ROWS.check(op, "dy", dy, inputs)?;
        let expected = with_last(x, dy.shape.last());
        check(op, "dy", dy, expected, inputs)?;
        let dweight = TensorType::f32(&[x.shape.last(), dy.shape.last()]);
        let dbias = self.bias.then(|| TensorType::f32(&[dy.shape.last()]));
        Ok([dweight].into_iter().chain(dbias).collect())
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let (x, dy) = (inputs[0], inputs[1]);
        let mut dweight = Tensor::zeros(TensorType::f32(&[x.shape.last(), dy.shape.last()]).shape);
        let product = product(x.shape.rows(), dweight.shape);
        product.for_each_product(|own, w, out| dweight.data[w] += x.data[own] * dy.data[out]);
        let dbias = self.bias.then(|| SumRows.reference(&[dy]));
        [dweight].into_iter().chain(dbias.into_iter().flatten()).collect()
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let (x, dy, dweight) = (equation.inputs[0], equation.inputs[1], equation.outputs[0]);
        let extents = product(lowering.type_of(x).rows(), lowering.type_of(dweight).shape);
        let base = Operands::new(x, extents.in_channels, dy, dweight);
        let operands = Operands { dbias: equation.outputs.get(1).copied(), ..base };
        lower::weight_gradient(lowering, &self.to_string(), &extents, &operands)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        let [x, dy] = [inputs[0], inputs[1]];
        let dweight = TensorType::f32(&[x.shape.last(), dy.shape.last()]);
        product_cost(x.rows(), dweight.shape, &[x, dy, dweight])
    }

    /// Tiles that reach past a matrix are products with zero.
    fn special(&self) -> Special {
        Special::Spreads
    }
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let products = [
        (&[1][..], 5, 7),
        (&[65], 3, 1),
        (&[3, 49], 20, 36),
        (&[64], 32, 128),
        (&[37], 24, 20),
        (&[130], 32, 64),
        // More channels, inputs and rows, in fours, than a loop may have iterations.
        (&[1], 270_000, 1),
        (&[1], 1, 270_000),
        (&[270_000], 1, 1),
    ];
    let mut cases = Vec::new();
    for (rows, channels, outputs) in products {
        let of = |last| TensorType::f32(&[rows, &[last][..]].concat());
        let count = of(channels).rows();
        let [x, dy, weight, bias] = [
            of(channels),
            of(outputs),
            TensorType::f32(&[channels, outputs]),
            TensorType::f32(&[outputs]),
        ]
        .map(Input::normal);
        // Beside it a long sum is often far below zero, and its SiLU nothing.
        let above = Input::shifted(bias.of, (channels as f64).sqrt(), 1.0);
        let all = [
            Case::new(Linear, vec![x.clone(), weight.clone(), bias.clone()])
                .terms(channels + 1)
                .half(&[0, 1]),
            Case::new(Linear, vec![x.clone(), weight.clone()]).terms(channels),
            Case::new(
                FusedLinear { bias: true, residual: true, silu: false, moments: false },
                vec![x.clone(), weight.clone(), bias.clone(), dy.clone()],
            )
            .terms(channels + 2)
            .half(&[0, 1, 3]),
            Case::new(
                FusedLinear { bias: true, residual: false, silu: true, moments: false },
                vec![x.clone(), weight.clone(), above],
            )
            .terms(channels + 1),
            Case::new(LinearInputGradient { residual: false }, vec![dy.clone(), weight.clone()])
                .terms(outputs)
                .half(&[0, 1]),
            Case::new(LinearInputGradient { residual: true }, vec![dy.clone(), weight, x.clone()])
                .terms(outputs + 1),
            Case::new(LinearWeightGradient { bias: false }, vec![x.clone(), dy.clone()])
                .terms(count)
                .half(&[0, 1]),
            Case::new(LinearWeightGradient { bias: true }, vec![x, dy]).terms(count),
        ];
        cases.extend(all.into_iter().filter(Case::is_short_or_stored_in_halves));
    }
    for (rows, channels, outputs, note) in [
        (&[2, 8, 12][..], 20, 36, "moments of squares"),
        (&[3, 4, 4], 6, 5, "moments of squares, images within a tile"),
        (&[2, 5, 7], 12, 10, "moments of runs"),
        (&[3, 20], 8, 8, "moments of tokens"),
    ] {
        let of = |last| TensorType::f32(&[rows, &[last][..]].concat());
        let weight = TensorType::f32(&[channels, outputs]);
        let operands = [of(channels), weight, TensorType::f32(&[outputs]), of(outputs)];
        let op = FusedLinear { bias: true, residual: true, silu: false, moments: true };
        let case = Case::new(op, operands.map(Input::normal).into());
        // The squares of the moments.
        cases.push(case.name(note).terms(4 * (channels + 2)));
    }
    cases
}

/// A linear layer, a fused one, the gradient of its input or that of its weight.
pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    let [batch, tokens, channels, outputs] = dice.extents([5, 130, 260, 260], Dice::PRODUCTS / 2);
    let rank2 = dice.flip();
    let rows: &[usize] = if rank2 { &[tokens] } else { &[batch, tokens] };
    let of = |last| TensorType::f32(&[rows, &[last]].concat());
    let count = of(channels).rows();
    let weight = TensorType::f32(&[channels, outputs]);
    let [x, dy, weight, bias] =
        [of(channels), of(outputs), weight, TensorType::f32(&[outputs])].map(Input::normal);
    match dice.below(4) {
        0 => {
            let operands = [x, weight].into_iter().chain(dice.flip().then_some(bias)).collect();
            Case::new(Linear, operands).terms(channels + 1).half(&[0, 1])
        }
        1 => {
            let [has_bias, residual, silu] = [(); 3].map(|()| dice.flip());
            let op = FusedLinear { bias: has_bias, residual, silu, moments: false };
            let mut operands = vec![x, weight];
            operands.extend(has_bias.then_some(bias));
            operands.extend(residual.then_some(dy));
            let half: &[usize] = match (has_bias, residual) {
                (true, true) => &[0, 1, 3],
                (false, true) => &[0, 1, 2],
                _ => &[0, 1],
            };
            Case::new(op, operands).terms(channels + 2).half(half)
        }
        2 => {
            let residual = dice.flip();
            let operands = [dy, weight].into_iter().chain(residual.then_some(x)).collect();
            let half: &[usize] = if residual { &[0, 1, 2] } else { &[0, 1] };
            Case::new(LinearInputGradient { residual }, operands).terms(outputs + 1).half(half)
        }
        _ => {
            let op = LinearWeightGradient { bias: dice.flip() };
            Case::new(op, vec![x, dy]).terms(count).half(&[0, 1])
        }
    }
}

//! What attention pooling needs beside attention: Radford et al., *Learning Transferable Visual Models From Natural
//! Language Supervision* (2021), section 2.4. The mean of the pixels is a token of its own, and what attention makes of
//! that token is the result.
use super::{layout::concat, prelude::*};
use crate::shaders::{add_embedding, concat as rows, pool_tokens as shader};

/// `y [batch, 1 + pixels, channels]`, the mean of each image's pixels and then the pixels, plus the position of each;
/// operands `x [batch, .., channels]` and `position [1 + pixels, channels]` of one storage.
///
/// ```
/// use ddim::{graph::Graph, ops::{FirstToken, PoolTokens}, passes, value::TensorType};
/// let mut graph = Graph::new();
/// let [x, position] = [&[2, 4, 4, 8][..], &[17, 8]].map(|of| graph.input(TensorType::f32(of)));
/// let tokens = graph.push(PoolTokens, &[x, position])?;
/// let y = graph.push(FirstToken, &[tokens])?;
/// let dy = graph.input(TensorType::f32(&[2, 8]));
/// passes::gradient(&mut graph, y, dy, &[x, position])?;
/// assert_eq!(graph.equations.len(), 2 + 3); // FirstTokenBackward, PoolTokensBackward, SumImages
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolTokens;

/// `dx [batch, height, width, channels]` from `dy [batch, 1 + height width, channels]`.
///
/// Example: [`PoolTokens`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolTokensBackward {
    /// Rows of `dx`.
    pub height: usize,
    /// Pixels of a row of `dx`.
    pub width: usize,
}

/// `y [tokens, channels]`, the sum of `x [batch, tokens, channels]` over the images: the gradient of positions.
///
/// Example: [`PoolTokens`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SumImages;

/// `y [batch, channels]`, the first token of each image of `x [batch, tokens, channels]`.
///
/// Example: [`PoolTokens`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FirstToken;

/// `dx [batch, tokens, channels]`, zero but for the first token of each image, which is `dy [batch, channels]`.
///
/// Example: [`PoolTokens`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FirstTokenBackward {
    /// Tokens of an image.
    pub tokens: usize,
}

display!("pool_tokens", PoolTokens);

display!("pool_tokens_backward", PoolTokensBackward { height, width });

display!("sum_images", SumImages);

display!("first_token", FirstToken);

display!("first_token_backward", FirstTokenBackward { tokens });

fn params(x: TensorType) -> shader::Params {
    let (batch, pixels) = (x.shape[0], x.rows() / x.shape[0]);
    shader::Params {
        batch: batch as u32,
        pixels: pixels as u32,
        channels4: (x.pitch() / 4) as u32,
        share: (1.0 / pixels as f64) as f32,
    }
}

/// Images of tokens: three axes.
fn tokens(check: Check, name: &str, x: TensorType) -> Result<[usize; 3], ShapeError> {
    check.floats(name, x)?;
    let [batch, tokens, channels] = x.shape[..] else {
        return Err(check.conflict(format!("{name} must be [batch, tokens, channels]")));
    };
    Ok([batch, tokens, channels])
}

impl Operator for PoolTokens {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [x, position] = check.operands()?;
        check.images("x", x)?;
        check.that(x.shape.len() == 4, "x", "[batch, height, width, channels]", x)?;
        let [batch, channels] = [x.shape[0], x.shape.last()];
        let count = 1 + x.rows() / batch;
        check.is("position", position, x.with_shape(&[count, channels]))?;
        Ok(vec![x.with_shape(&[batch, count, channels])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [x, position] = fitted(inputs);
        let (batch, channels) = (x.shape[0], x.shape.last());
        let mut y = Vec::new();
        for image in x.data.chunks(x.data.len() / batch) {
            let pixels = image.len() / channels;
            let mean =
                |c: usize| image.iter().skip(c).step_by(channels).sum::<f64>() / pixels as f64;
            let tokens = (0..channels).map(mean).chain(image.iter().copied());
            y.extend(tokens.zip(&position.data).map(|(token, place)| token + place));
        }
        vec![Tensor::new(TensorType::f32(&[batch, position.shape[0], channels]).shape, y)]
    }

    fn vjp(&self, backward: &mut Backward, equation: &Equation) -> Result<Gradients, Error> {
        let dy = backward.dy();
        let of = backward.type_of(equation.inputs[0]).shape;
        let op = PoolTokensBackward { height: of[1], width: of[2] };
        let dx = if backward.needs(0) { Some(backward.push(op, &[dy])?) } else { None };
        let dposition =
            if backward.needs(1) { Some(backward.push(SumImages, &[dy])?) } else { None };
        Ok(vec![dx, dposition])
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [x, position] = fitted(&equation.inputs);
        let of = lowering.type_of(x);
        let (params, overrides) = (params(of), shader::Overrides::default());
        let [rows, planes, _] = fold(of.shape[0]);
        let grid = [params.channels4.div_ceil(overrides.columns), rows, planes];
        let kernel = shader::Forward { x, position, y: equation.outputs[0] };
        Ok(lowering.push(kernel.dispatch(params, overrides, grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(2, inputs, &inputs[..1])
    }
}

impl Operator for PoolTokensBackward {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [dy] = check.operands()?;
        let [batch, found, channels] = tokens(check, "dy", dy)?;
        let Self { height, width } = *self;
        let wanted = height.checked_mul(width).and_then(|pixels| pixels.checked_add(1));
        let expected = format!("1 + {height} * {width} tokens");
        check.that(wanted == Some(found) && found > 1, "dy", expected, dy)?;
        Ok(vec![dy.with_shape(&[batch, height, width, channels])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [dy] = fitted(inputs);
        let (batch, channels, pixels) = (dy.shape[0], dy.shape[2], self.height * self.width);
        let mut dx = Vec::new();
        for image in dy.data.chunks(dy.data.len() / batch) {
            let (mean, own) = image.split_at(channels);
            let share = mean.iter().cycle().map(|of_mean| of_mean / pixels as f64);
            dx.extend(own.iter().zip(share).map(|(own, share)| own + share));
        }
        let shape = TensorType::f32(&[batch, self.height, self.width, channels]).shape;
        vec![Tensor::new(shape, dx)]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let (dy, dx) = (equation.inputs[0], equation.outputs[0]);
        let of = lowering.type_of(dx);
        Ok(lowering.push(shader::Backward { dy, dx }.over(params(of), of.vectors()))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(2, inputs, &inputs[..1])
    }
}

impl Operator for SumImages {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [x] = check.operands()?;
        let [_, count, channels] = tokens(check, "x", x)?;
        Ok(vec![x.with_shape(&[count, channels])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [x] = fitted(inputs);
        let mut y = Tensor::zeros(TensorType::f32(&x.shape[1..]).shape);
        let image = y.data.len();
        x.data.iter().enumerate().for_each(|(place, x)| y.data[place % image] += x);
        vec![y]
    }

    /// An image is as one pixel of many channels, of which one image is made.
    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let (x, y) = (equation.inputs[0], equation.outputs[0]);
        let batch = lowering.type_of(x).shape[0];
        let channels4 = lowering.type_of(y).vectors() as u32;
        let params = add_embedding::Params { batch: 1, pixels: batch as u32, channels4 };
        let overrides = add_embedding::Overrides::default();
        let grid = fold(channels4.div_ceil(overrides.columns) as usize);
        let kernel = add_embedding::Backward { dy: x, dembedding: y };
        Ok(lowering.push(kernel.dispatch(params, overrides, grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(1, inputs, &inputs[..1])
    }
}

/// All tokens of an image as one row, pad lanes and all.
fn as_row(of: TensorType, tokens: usize) -> TensorType {
    of.with_shape(&[of.shape[0], tokens * of.pitch()])
}

impl Operator for FirstToken {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [x] = check.operands()?;
        let [batch, _, channels] = tokens(check, "x", x)?;
        Ok(vec![x.with_shape(&[batch, channels])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [x] = fitted(inputs);
        let (image, channels) = (x.data.len() / x.shape[0], x.shape[2]);
        let first = x.data.chunks(image).flat_map(|image| image[..channels].to_vec());
        vec![Tensor::new(TensorType::f32(&[x.shape[0], channels]).shape, first.collect())]
    }

    fn vjp(&self, backward: &mut Backward, equation: &Equation) -> Result<Gradients, Error> {
        let (dy, of) = (backward.dy(), backward.type_of(equation.inputs[0]).shape);
        Ok(vec![Some(backward.push(FirstTokenBackward { tokens: of[1] }, &[dy])?)])
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let (x1, y) = (equation.inputs[0], equation.outputs[0]);
        let (of, first) = (lowering.type_of(x1), lowering.type_of(y));
        let whole = as_row(of, of.shape[1]);
        let copy = concat::dispatch(0, None, whole, first, |params, overrides, grid| {
            rows::Slice { x1, y }.dispatch(params, overrides, grid)
        });
        Ok(lowering.push(copy)?)
    }
}

impl Operator for FirstTokenBackward {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [dy] = check.operands()?;
        check.images("dy", dy)?;
        let [batch, channels] = dy.shape[..] else {
            return Err(check.conflict("dy must be [batch, channels]"));
        };
        check.that(self.tokens > 0, "tokens", "1 or more", self.tokens)?;
        Ok(vec![dy.with_shape(&[batch, self.tokens, channels])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [dy] = fitted(inputs);
        let (batch, channels) = (dy.shape[0], dy.shape[1]);
        let mut dx = Tensor::zeros(TensorType::f32(&[batch, self.tokens, channels]).shape);
        let images = dx.data.chunks_mut(self.tokens * channels).zip(dy.data.chunks(channels));
        images.for_each(|(image, first)| image[..channels].copy_from_slice(first));
        vec![dx]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let (x1, y) = (equation.inputs[0], equation.outputs[0]);
        let (first, of) = (lowering.type_of(x1), lowering.type_of(y));
        let whole = as_row(of, self.tokens);
        let copy = concat::dispatch(0, None, first, whole, |params, overrides, grid| {
            rows::Forward { x0: None, x1, y }.dispatch(params, overrides, grid)
        });
        Ok(lowering.push(copy)?)
    }
}

/// All five, of images of `[batch, height, width, channels]`.
fn all(x: TensorType) -> [Case; 5] {
    let [batch, height, width, channels] = [0, 1, 2, 3].map(|axis| x.shape[axis]);
    let pixels = height * width;
    let tokens = x.with_shape(&[batch, 1 + pixels, channels]);
    let each = x.with_shape(&[batch, channels]);
    let position = x.with_shape(&[1 + pixels, channels]);
    let normal = |of| vec![Input::normal(of)];
    let operands = vec![Input::shifted(x, 1.0, 1.0), Input::normal(position)];
    [
        Case::new(PoolTokens, operands).terms(pixels).half(&[0, 1]),
        Case::new(PoolTokensBackward { height, width }, normal(tokens)).half(&[0]),
        Case::new(SumImages, normal(tokens)).terms(batch).half(&[0]),
        Case::new(FirstToken, normal(tokens)).half(&[0]),
        Case::new(FirstTokenBackward { tokens: 1 + pixels }, normal(each)).half(&[0]),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    let shapes =
        [[2, 7, 5, 3], [1, 1, 1, 5], [3, 8, 8, 32], [1, 16, 16, 40], [MANY_IMAGES, 1, 1, 1]];
    shapes.into_iter().flat_map(|shape| all(TensorType::f32(&shape))).collect()
}

pub(super) fn random(dice: &mut Dice) -> Case {
    let x = dice.image();
    dice.one_of(all(x))
}

//! One vector per image, added to every pixel: Ho et al. 2020, appendix B.
use crate::{
    ops::{Constant, prelude::*},
    shaders::add_embedding as shader,
};

/// `y[b, .., c] = x[b, .., c] + embedding[b, c]`; operands `x [batch, .., channels]` and
/// `embedding [batch, channels]` of one storage.
///
/// ```
/// use ddim::{ops::{AddEmbedding, Operator, SumPixels}, reference::Tensor, value::Shape};
///
/// let x = Tensor::new(Shape::new(&[1, 2, 1]), vec![1.0, 2.0]);
/// let embedding = Tensor::new(Shape::new(&[1, 1]), vec![10.0]);
/// let y = &AddEmbedding.reference(&[&x, &embedding])[0];
/// assert_eq!(y.data, [11.0, 12.0]);
/// assert_eq!(SumPixels.reference(&[y])[0].data, [23.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddEmbedding;

/// `y[b, c]`, the sum of `x[b, .., c]` over the pixels: the gradient of an added embedding,
/// and a mean but for a factor.
///
/// Example: [`AddEmbedding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SumPixels;

display!("add_embedding", AddEmbedding);

display!("sum_pixels", SumPixels);

/// One row per image of `x`.
fn embedding_of(x: TensorType) -> TensorType {
    x.with_shape(&[x.shape[0], x.shape.last()])
}

fn params(x: TensorType) -> shader::Params {
    let (batch, channels4) = (x.shape[0], x.pitch() / 4);
    let pixels = x.rows() / batch;
    shader::Params { batch: batch as u32, pixels: pixels as u32, channels4: channels4 as u32 }
}

impl Operator for AddEmbedding {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [x, embedding] = check.operands()?;
        check.images("x", x)?;
        check.is("embedding", embedding, embedding_of(x))?;
        Ok(vec![x])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [x, embedding] = fitted(inputs);
        let (image, channels) = (x.data.len() / x.shape[0], x.shape.last());
        let add = |(i, x): (usize, &f64)| x + embedding.data[i / image * channels + i % channels];
        vec![Tensor::new(x.shape, x.data.iter().enumerate().map(add).collect())]
    }

    fn vjp(&self, backward: &mut Backward, _: &Equation) -> Result<Gradients, Error> {
        let dy = backward.dy();
        let dembedding =
            if backward.needs(1) { Some(backward.push(SumPixels, &[dy])?) } else { None };
        Ok(vec![Some(dy), dembedding])
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [x, embedding] = fitted(&equation.inputs);
        let of = lowering.type_of(x);
        let (params, overrides) = (params(of), shader::Overrides::default());
        let invocations = params.pixels.div_ceil(overrides.rows) * params.channels4;
        let [rows, planes, _] = fold(of.shape[0]);
        let grid = [invocations.div_ceil(overrides.workgroup), rows, planes];
        let kernel = shader::Forward { x, embedding, y: equation.outputs[0] };
        Ok(lowering.push(kernel.dispatch(params, overrides, grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(1, inputs, &inputs[..1])
    }
}

impl Operator for SumPixels {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [x] = check.operands()?;
        check.images("x", x)?;
        Ok(vec![embedding_of(x)])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let x = inputs[0];
        let (batch, channels) = (x.shape[0], x.shape.last());
        let image = x.data.len() / batch;
        let mut y = Tensor::zeros(TensorType::f32(&[batch, channels]).shape);
        for (i, x) in x.data.iter().enumerate() {
            y.data[i / image * channels + i % channels] += x;
        }
        vec![y]
    }

    fn vjp(&self, backward: &mut Backward, equation: &Equation) -> Result<Gradients, Error> {
        let (dy, of) = (backward.dy(), backward.type_of(equation.inputs[0]));
        let zero = backward.push(Constant { of, number: 0.0.into() }, &[])?;
        Ok(vec![Some(backward.push(AddEmbedding, &[zero, dy])?)])
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let x = lowering.type_of(equation.inputs[0]);
        let params = params(x);
        let kernel = shader::Backward { dy: equation.inputs[0], dembedding: equation.outputs[0] };
        let usual = shader::Overrides::default();
        // Of large images, more lanes share the pixels.
        let shared = shader::Overrides { columns: 1, lanes: usual.columns * usual.lanes, ..usual };
        Ok(lowering.push_first([usual, shared].map(|overrides| {
            let column_groups = params.channels4.div_ceil(overrides.columns) as usize;
            kernel.dispatch(params, overrides, fold(x.shape[0] * column_groups))
        }))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        let bytes = inputs[0].bytes() + embedding_of(inputs[0]).bytes();
        Cost { flops: inputs[0].shape.elements() as u64, bytes }
    }
}

fn both(x: TensorType) -> [Case; 2] {
    let pixels = x.rows() / x.shape[0];
    let operands = vec![Input::normal(x), Input::normal(embedding_of(x))];
    // The largest sum would not fit f16.
    let half: &[usize] = if pixels < 10_000 { &[0] } else { &[] };
    let sum = Case::new(SumPixels, vec![Input::shifted(x, 1.0, 1.0)]);
    [Case::new(AddEmbedding, operands).half(&[0, 1]), sum.terms(pixels).half(half)]
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let shapes = [&[2, 7, 5, 3][..], &[1, 49, 5], &[3, 16, 16, 32], &[2, 8, 8, 40]];
    let many = [&[1, 2_100_000, 1][..], &[MANY_IMAGES, 1, 1]];
    shapes.into_iter().chain(many).flat_map(|shape| both(TensorType::f32(shape))).collect()
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    let x = dice.spatial();
    dice.one_of(both(x))
}

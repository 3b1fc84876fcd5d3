//! Scale and shift of every channel by an embedding: Dhariwal and Nichol 2021, section 3.
use crate::{
    ops::{kit::pixel_tile::Images, prelude::*},
    shaders::modulate as shader,
};

/// `y = x (1 + scale) + shift`, the same for all pixels of an image.
///
/// | operand | shape |
/// |---|---|
/// | `x` | `[batch, height, width, channels]` or `[batch, tokens, channels]` |
/// | `embedding` | `[batch, 2 * channels]` = (scale, shift), stored as `x` |
/// | output `y` | as `x` |
///
/// ```
/// use ddim::{ops::{Modulate, ModulateBackward, Operator}, reference::Tensor, value::Shape};
///
/// let x = Tensor::new(Shape::new(&[1, 2, 1]), vec![1.0, 2.0]);
/// let embedding = Tensor::new(Shape::new(&[1, 2]), vec![1.0, 5.0]);
/// assert_eq!(Modulate.reference(&[&x, &embedding])[0].data, [7.0, 9.0]);
/// let gradients = ModulateBackward.reference(&[&x, &embedding, &x.map(|_| 1.0)]);
/// assert_eq!(gradients[0].data, [2.0, 2.0]);
/// assert_eq!(gradients[1].data, [3.0, 2.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Modulate;

/// Gradients of [`Modulate`]: operands `x`, `embedding`, `dy`; outputs `dx = dy (1 + scale)` and
/// `dembedding`, the sums over the pixels of (`dy x`, `dy`).
///
/// Example: [`Modulate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ModulateBackward;

display!("modulate", Modulate);

display!("modulate_backward", ModulateBackward);

/// Scale and shift of every channel, for each image of `x`.
fn embedding_of(x: TensorType) -> TensorType {
    x.with_shape(&[x.shape[0], 2 * x.shape.last()])
}

fn shader_params(images: &Images) -> shader::Params {
    shader::Params {
        batch: images.batch as u32,
        pixels: images.pixels as u32,
        channels: images.channels as u32,
        channels4: images.channels4() as u32,
        embedding4: (2 * images.channels).div_ceil(4) as u32,
        tiles: images.tiles() as u32,
        tile_pixels: images.tile_pixels() as u32,
    }
}

/// Index of the scale that applies to element `i` of `x`; its shift lies `channels` further on.
fn scale_index(x: &Tensor, i: usize) -> usize {
    let channels = x.shape.last();
    let image = x.data.len() / x.shape[0];
    i / image * 2 * channels + i % channels
}

impl Operator for Modulate {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [x, embedding] = check.operands()?;
        Images::of(check, "x", x)?;
        check.is("embedding", embedding, embedding_of(x))?;
        Ok(vec![x])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [x, embedding] = fitted(inputs);
        let channels = x.shape.last();
        let mut y = x.clone();
        for i in 0..x.data.len() {
            let scale = scale_index(x, i);
            y.data[i] =
                x.data[i] * (1.0 + embedding.data[scale]) + embedding.data[scale + channels];
        }
        vec![y]
    }

    fn vjp(&self, backward: &mut Backward, equation: &Equation) -> Result<Gradients, Error> {
        let Some(dy) = backward.cotangent(0) else {
            return Ok(vec![None; 2]);
        };
        let operands = [equation.inputs[0], equation.inputs[1], dy];
        let gradients = backward.push_all(ModulateBackward, &operands)?;
        Ok(gradients.into_iter().map(Some).collect())
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [x, embedding, y] = [equation.inputs[0], equation.inputs[1], equation.outputs[0]];
        let images = Images::unchecked(lowering.type_of(x));
        let overrides = shader::Overrides::default();
        let kernel = shader::Forward { x, embedding, y };
        let grid = images.grid(overrides.workgroup);
        Ok(lowering.push(kernel.dispatch(shader_params(&images), overrides, grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(2, inputs, &inputs[..1])
    }
}

impl Operator for ModulateBackward {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [x, embedding, dy] = check.operands()?;
        Images::of(check, "x", x)?;
        check.is("embedding", embedding, embedding_of(x))?;
        check.is("dy", dy, x)?;
        Ok(vec![x, embedding])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [x, embedding, dy] = fitted(inputs);
        let channels = x.shape.last();
        let [mut dx, mut dembedding] = [x.clone(), Tensor::zeros(embedding.shape)];
        for i in 0..x.data.len() {
            let scale = scale_index(x, i);
            dx.data[i] = dy.data[i] * (1.0 + embedding.data[scale]);
            dembedding.data[scale] += dy.data[i] * x.data[i];
            dembedding.data[scale + channels] += dy.data[i];
        }
        vec![dx, dembedding]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [x, embedding, dy] = fitted(&equation.inputs);
        let [dx, dembedding] = fitted(&equation.outputs);
        let images = Images::unchecked(lowering.type_of(x));
        let params = shader_params(&images);
        let overrides = shader::Overrides::default();
        let partials = lowering.scratch(images.partials());
        let kernel = shader::Backward { x, embedding, dy, dx, partials_out: partials };
        lowering.push(kernel.dispatch(params, overrides, images.grid(overrides.workgroup)))?;
        let [y, z, _] = fold(images.batch);
        let grid = [params.embedding4.div_ceil(overrides.workgroup), y, z];
        let kernel = shader::Fold { partials, dembedding };
        Ok(lowering.push(kernel.dispatch(params, overrides, grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(4, inputs, &inputs[..1])
    }
}

fn both(shape: &[usize], note: &str) -> [Case; 2] {
    let x = TensorType::f32(shape);
    let operands = [x, embedding_of(x), x].map(Input::normal);
    [
        Case::new(Modulate, operands[..2].to_vec()).half(&[0, 1]).name(note),
        Case::new(ModulateBackward, operands.into())
            .half(&[0, 1, 2])
            .terms(x.rows() / shape[0])
            .name(note),
    ]
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    [
        both(&[2, 7, 5, 5], "the shift begins inside a vec4"),
        both(&[1, 49, 1], "one channel of tokens"),
        both(&[1, 49, 3], "tokens"),
        both(&[3, 16, 16, 32], ""),
        both(&[65_537, 1, 1], "more images than an axis of a grid"),
    ]
    .concat()
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    let x = dice.spatial();
    dice.one_of(both(&x.shape, ""))
}

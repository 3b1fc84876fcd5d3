//! Scale and shift of every channel by an embedding: Dhariwal and Nichol 2021, section 3.
use crate::{
    error::{Error, ShapeError},
    graph::Equation,
    ops::{
        Backward, Case, Gradients, Input, Lowering, Operator, display, elementwise_cost,
        kit::pixel_tile::Images, operands,
    },
    plan::{Cost, fold},
    reference::Tensor,
    shaders::modulate as shader,
    value::TensorType,
};

/// `y = x (1 + scale) + shift`, the same for all pixels of an image.
///
/// | operand | shape |
/// |---|---|
/// | `x` | `[batch, height, width, channels]` or `[batch, tokens, channels]` |
/// | `embedding` | `[batch, 2 * channels]` = (scale, shift), stored as `x` |
/// | output `y` | as `x` |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Modulate;

/// Gradients of [`Modulate`]: operands `x`, `embedding`, `dy`; outputs `dx = dy (1 + scale)` and
/// `dembedding`, the sums over the pixels of (`dy x`, `dy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ModulateBackward;

display!("modulate", Modulate);

display!("modulate_backward", ModulateBackward);

fn check(op: &str, embedding: TensorType, inputs: &[TensorType]) -> Result<(), ShapeError> {
    let images = Images::of(op, "x", inputs[0], inputs)?;
    let expected = inputs[0].with_shape(&[images.batch, 2 * images.channels]);
    if embedding != expected {
        return Err(ShapeError::operand(op, "embedding", expected, embedding, inputs));
    }
    Ok(())
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
        let [x, embedding] = operands("modulate", inputs)?;
        check("modulate", embedding, inputs)?;
        Ok(vec![x])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [x, embedding] = [inputs[0], inputs[1]];
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
        let op = "modulate_backward";
        let [x, embedding, dy] = operands(op, inputs)?;
        check(op, embedding, inputs)?;
        if dy != x {
            return Err(ShapeError::operand(op, "dy", x, dy, inputs));
        }
        Ok(vec![x, embedding])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [x, embedding, dy] = [inputs[0], inputs[1], inputs[2]];
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
        let [x, embedding, dy] = [equation.inputs[0], equation.inputs[1], equation.inputs[2]];
        let [dx, dembedding] = [equation.outputs[0], equation.outputs[1]];
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

pub(in crate::ops) fn cases() -> Vec<Case> {
    let operands = |shape: &[usize]| {
        let x = TensorType::f32(shape);
        (x, x.with_shape(&[shape[0], 2 * x.shape.last()]))
    };
    let forward = |shape: &[usize], note: &str| {
        let (x, embedding) = operands(shape);
        let inputs = vec![Input::normal(x), Input::normal(embedding)];
        Case::new(Modulate, inputs).half(&[0, 1]).name(note)
    };
    let backward = |shape: &[usize], note: &str| {
        let (x, embedding) = operands(shape);
        let inputs = vec![Input::normal(x), Input::normal(embedding), Input::normal(x)];
        let pixels = x.rows() / shape[0];
        Case::new(ModulateBackward, inputs).half(&[0, 1, 2]).terms(pixels).name(note)
    };
    vec![
        forward(&[2, 7, 5, 5], "the shift begins inside a vec4"),
        forward(&[1, 49, 1], "one channel of tokens"),
        forward(&[3, 8, 8, 32], ""),
        backward(&[2, 7, 5, 5], "the shift begins inside a vec4"),
        backward(&[1, 49, 3], "tokens"),
        backward(&[3, 16, 16, 32], ""),
        forward(&[65_537, 1, 1], "more images than an axis of a grid"),
        backward(&[65_537, 1, 1], "more images than an axis of a grid"),
    ]
}

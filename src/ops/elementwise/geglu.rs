//! Gated linear unit with GELU, as diffusers' feed-forward layers have it: Shazeer 2020, eq. 6.
use crate::{
    ops::{elementwise::gelu, prelude::*},
    shaders::geglu as shader,
};

/// `y [.., channels] = a gelu(g)`, where `a` and `g` are the halves of a row of
/// `x [.., 2 channels]`, in this order.
///
/// ```
/// use ddim::{ops::{Geglu, GegluBackward, Operator}, reference::Tensor, value::Shape};
///
/// // Far above zero the gate is open: gelu(30) = 30.
/// let x = Tensor::new(Shape::new(&[1, 2]), vec![2.0, 30.0]);
/// let y = &Geglu.reference(&[&x])[0];
/// assert_eq!(y.data, [60.0]);
/// let dy = y.map(|_| 1.0);
/// assert_eq!(GegluBackward.reference(&[&x, &dy])[0].data, [30.0, 2.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geglu;

/// `dx [.., 2 channels]`, of which the halves are `dy gelu(g)` and `dy a gelu'(g)`; operands `x` and
/// `dy [.., channels]`.
///
/// Example: [`Geglu`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GegluBackward;

display!("geglu", Geglu);

display!("geglu_backward", GegluBackward);

/// The type of `y` for an `x` of this type, if its channels can be halved.
fn halved(check: Check, x: TensorType) -> Result<TensorType, ShapeError> {
    check.floats("x", x)?;
    let channels = x.shape.last();
    if channels == 0 || !channels.is_multiple_of(2) {
        let message = format!("x must have an even number of channels, found {channels}");
        return Err(check.conflict(message));
    }
    Ok(x.with_last(channels / 2))
}

fn params(x: TensorType, y: TensorType) -> shader::Params {
    shader::Params {
        rows: y.rows() as u32,
        channels: y.shape.last() as u32,
        x_channels4: x.pitch() as u32 / 4,
        y_channels4: y.pitch() as u32 / 4,
    }
}

impl Operator for Geglu {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [x] = check.operands()?;
        Ok(vec![halved(check, x)?])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let channels = inputs[0].shape.last() / 2;
        let rows = inputs[0].data.chunks(2 * channels);
        let data = rows.flat_map(|row| {
            let (a, g) = row.split_at(channels);
            a.iter().zip(g).map(|(a, &g)| a * gelu::value(g))
        });
        let y = TensorType::f32(&inputs[0].shape).with_last(channels);
        vec![Tensor::new(y.shape, data.collect())]
    }

    fn vjp(&self, backward: &mut Backward, equation: &Equation) -> Result<Gradients, Error> {
        let dy = backward.dy();
        Ok(vec![Some(backward.push(GegluBackward, &[equation.inputs[0], dy])?)])
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [x, y] = [equation.inputs[0], equation.outputs[0]];
        let of = lowering.type_of(y);
        let params = params(lowering.type_of(x), of);
        Ok(lowering.push(shader::Forward { x, y }.over(params, of.vectors()))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        Cost {
            flops: 14 * inputs[0].shape.elements() as u64,
            bytes: inputs[0].bytes() + inputs[0].bytes() / 2,
        }
    }
}

impl Operator for GegluBackward {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [x, dy] = check.operands()?;
        check.is("dy", dy, halved(check, x)?)?;
        Ok(vec![x])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [x, dy] = fitted(inputs);
        let channels = dy.shape.last();
        let mut dx = Tensor::zeros(x.shape);
        let rows = x.data.chunks(2 * channels).zip(dy.data.chunks(channels));
        for ((x, dy), dx) in rows.zip(dx.data.chunks_mut(2 * channels)) {
            for (i, dy) in dy.iter().enumerate() {
                let (a, g) = (x[i], x[channels + i]);
                dx[i] = dy * gelu::value(g);
                dx[channels + i] = dy * a * gelu::slope(g);
            }
        }
        vec![dx]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [x, dy, dx] = [equation.inputs[0], equation.inputs[1], equation.outputs[0]];
        let of = lowering.type_of(x);
        let params = params(of, lowering.type_of(dy));
        Ok(lowering.push(shader::Backward { x, dy, dx }.over(params, of.vectors()))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(30, inputs, &inputs[..1])
    }
}

/// Of a result of this type.
fn both(y: TensorType) -> [Case; 2] {
    let x = Input::shifted(y.with_last(2 * y.shape.last()), 0.0, 2.0);
    [
        Case::new(Geglu, vec![x.clone()]).half(&[0]),
        Case::new(GegluBackward, vec![x, Input::normal(y)]).half(&[0, 1]),
    ]
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    // Halves that begin at every lane of a vec4.
    [&[2, 3, 1][..], &[7, 3], &[3, 5, 5], &[2, 2, 6], &[7, 12], &[2, 65, 130]]
        .into_iter()
        .flat_map(|y| both(TensorType::f32(y)))
        .collect()
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    let y = dice.tensor();
    dice.one_of(both(y))
}

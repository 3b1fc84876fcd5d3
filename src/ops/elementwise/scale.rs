//! A straight line through every element.
use crate::{ops::prelude::*, shaders::scale as shader};

/// `y = scale x + shift`.
///
/// ```
/// use ddim::{ops::{Operator, Scale}, reference::Tensor, value::Shape};
///
/// let x = Tensor::new(Shape::new(&[2]), vec![0.0, 3.0]);
/// let line = Scale { scale: 2.0.into(), shift: 1.0.into() };
/// assert_eq!(line.reference(&[&x])[0].data, [1.0, 7.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scale {
    /// The slope.
    pub scale: Float,
    /// The value at zero.
    pub shift: Float,
}

display!("scale", Scale { scale, shift });

impl Elementwise for Scale {
    const OPERANDS: &'static [&'static str] = &["x"];
    const FLOPS: u64 = 2;

    fn element(&self, operands: &[f64]) -> f64 {
        self.scale.get() * operands[0] + self.shift.get()
    }

    fn gradients(&self, backward: &mut Backward, _: &Equation) -> Result<Gradients, Error> {
        let slope = Self { shift: 0.0.into(), ..*self };
        let dy = backward.dy();
        Ok(vec![Some(backward.push(slope, &[dy])?)])
    }

    fn kernel(&self, operands: &[Value], y: Value, of: TensorType) -> Dispatch {
        let params = shader::Params {
            rows: of.rows() as u32,
            channels: of.shape.last() as u32,
            channels4: of.pitch() as u32 / 4,
            scale: self.scale.get() as f32,
            shift: self.shift.get() as f32,
        };
        let rows = shader::Overrides::default().rows as usize;
        let invocations = of.rows().div_ceil(rows) * of.pitch() / 4;
        shader::Forward { x: operands[0], y }.over(params, invocations)
    }
}

fn case(x: TensorType, scale: f64, shift: f64) -> Case {
    let op = Scale { scale: scale.into(), shift: shift.into() };
    Case::new(op, vec![Input::normal(x)]).terms(2).half(&[0])
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    [(&[2, 7, 5, 3][..], 2.0, -1.0), (&[3, 8, 8, 32], 0.7, 0.0), (&[5], -1.0, 0.5)]
        .into_iter()
        .map(|(shape, scale, shift)| case(TensorType::f32(shape), scale, shift))
        .collect()
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    case(dice.tensor(), dice.float(-3.0, 3.0), dice.float(-3.0, 3.0))
}

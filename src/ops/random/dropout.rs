//! Dropout: Srivastava et al. 2014. The mask comes from a counter and is never stored.
use crate::{
    ops::{kit::random::Images, prelude::*},
    shaders::dropout as shader,
};

/// Zero with probability `rate`, else `x / (1 - rate)`; operands `x [batch, ..]` and
/// `key u32[8]`. The gradient is the same map applied to `dy`.
///
/// ```
/// use ddim::{ops::{Counter, Dropout, Operator}, reference::Tensor, value::Shape};
///
/// let x = Tensor::new(Shape::new(&[1, 8]), vec![1.0; 8]);
/// let key = Tensor::zeros(Counter::of().shape);
/// let y = &Dropout { rate: 0.5.into(), stream: 0 }.reference(&[&x, &key])[0];
/// assert!(y.data.iter().all(|y| [0.0, 2.0].contains(y)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Dropout {
    /// Probability of a zero, in `[0, 1)`.
    pub rate: Float,
    /// Which of the model's random streams.
    pub stream: u32,
}

impl Dropout {
    /// A random word below this drops its element.
    fn threshold(&self) -> u32 {
        (self.rate.get() * 2_f64.powi(32)) as u32
    }

    /// What a kept element is multiplied by.
    fn scale(&self) -> f64 {
        1.0 / (1.0 - self.rate.get())
    }
}

display!("dropout", Dropout { rate, stream });

impl Operator for Dropout {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [x, key] = check.operands()?;
        check.key(key)?;
        check.images("x", x)?;
        check.that((0.0..1.0).contains(&self.rate.get()), "rate", "in [0, 1)", self.rate)?;
        Ok(vec![x])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let keep = |word| {
            if word < self.threshold() { 0.0 } else { self.scale() }
        };
        let mask =
            Counter::read(inputs[1]).fill(inputs[0].shape, self.stream, |words| words.map(keep));
        vec![inputs[0].zip(&mask, |x, mask| x * mask)]
    }

    fn vjp(&self, backward: &mut Backward, equation: &Equation) -> Result<Gradients, Error> {
        let dy = backward.dy();
        Ok(vec![Some(backward.push(*self, &[dy, equation.inputs[1]])?), None])
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [x, key] = fitted(&equation.inputs);
        let overrides = shader::Overrides::default();
        let Images { batch, vectors, grid, .. } =
            Images::new(lowering.type_of(x), overrides.workgroup);
        let params = shader::Params {
            batch,
            vectors,
            stream: self.stream,
            threshold: self.threshold(),
            scale: self.scale() as f32,
        };
        let kernel = shader::Forward { x, key, y: equation.outputs[0] };
        Ok(lowering.push(kernel.dispatch(params, overrides, grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(1, inputs, &inputs[..1])
    }
}

fn case(x: TensorType, rate: f64, key: Input) -> Case {
    Case::new(Dropout { rate: rate.into(), stream: 9 }, vec![Input::normal(x), key]).half(&[0])
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    [(&[2, 7, 5, 5][..], 0.1), (&[3, 8, 8, 32], 0.5), (&[4, 12], 0.0), (&[MANY_IMAGES, 1], 0.5)]
        .map(|(shape, rate)| case(TensorType::f32(shape), rate, example_key()))
        .into()
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    case(dice.image(), dice.float(0.0, 0.9), dice.key())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_kept() {
        let x = Tensor::zeros(TensorType::f32(&[4, 50, 50, 6]).shape).map(|_| 1.0);
        let key = Counter { seed: 3, ..Counter::default() }.tensor();
        let y = &Dropout { rate: 0.3.into(), stream: 0 }.reference(&[&x, &key])[0];
        let count = y.data.len() as f64;
        let mean = y.data.iter().sum::<f64>() / count;
        assert!((mean - 1.0).abs() < 4.0 * (0.3 / 0.7 / count).sqrt(), "mean {mean}");
    }
}

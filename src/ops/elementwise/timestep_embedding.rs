//! Sinusoidal embedding of timesteps: Vaswani et al. 2017, section 3.5; Ho et al. 2020, appendix B.
use crate::{ops::prelude::*, shaders::timestep_embedding as shader};

/// `y [batch, width]` of `timesteps f32[batch]`, fractional ones too: sines and cosines of
/// `t * max_period^(-i / (width / 2 - freq_shift))`; an odd last column is zero.
///
/// ```
/// use ddim::{ops::{Operator, TimestepEmbedding}, reference::Tensor, value::{ElementType, Shape}};
///
/// let embedding = TimestepEmbedding {
///     width: 4,
///     flip_sin_to_cos: false,
///     freq_shift: 1.0.into(),
///     max_period: 1e4.into(),
///     element: ElementType::F32,
/// };
/// let first = Tensor::zeros(Shape::new(&[1]));
/// assert_eq!(embedding.reference(&[&first])[0].data, [0.0, 0.0, 1.0, 1.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimestepEmbedding {
    /// Columns of the result.
    pub width: usize,
    /// Cosines before sines (ADM, Stable Diffusion); sines first otherwise (DDPM).
    pub flip_sin_to_cos: bool,
    /// What is taken from half the width before dividing by it: 1 in DDPM, 0 in ADM.
    pub freq_shift: Float,
    /// Ratio of the highest frequency, 1, to the lowest.
    pub max_period: Float,
    /// Storage of the result.
    pub element: ElementType,
}

impl TimestepEmbedding {
    /// Exponent of the ratio of two neighbouring frequencies.
    fn log_ratio(&self) -> f64 {
        -self.max_period.get().ln() / ((self.width / 2) as f64 - self.freq_shift.get())
    }

    fn result(&self, batch: usize) -> TensorType {
        TensorType::f32(&[batch, self.width]).with_element(self.element)
    }
}

display!(
    "timestep_embedding",
    TimestepEmbedding { width, flip_sin_to_cos, freq_shift, max_period }
);

impl Operator for TimestepEmbedding {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [timesteps] = check.operands()?;
        let is_vector = timesteps.shape.len() == 1 && timesteps.element == ElementType::F32;
        check.that(is_vector, "timesteps", "f32[batch]", timesteps)?;
        check.floats("y", self.result(1))?;
        let (width, shift, period) = (self.width, self.freq_shift, self.max_period);
        check.that(width >= 2, "width", "at least 2", width)?;
        let is_wide_enough = (width / 2) as f64 > shift.get();
        if !is_wide_enough {
            let message = format!("half of width {width} must be greater than freq_shift {shift}");
            return Err(check.conflict(message));
        }
        check.that(period.get() > 1.0, "max_period", "greater than 1", period)?;
        Ok(vec![self.result(timesteps.shape[0])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let half = self.width / 2;
        let mut data = Vec::new();
        for &time in &inputs[0].data {
            for column in 0..self.width {
                let (part, i) = (column / half, column % half);
                let angle = time * (self.log_ratio() * i as f64).exp();
                data.push(match part {
                    0 | 1 if (part == 0) == self.flip_sin_to_cos => angle.cos(),
                    0 | 1 => angle.sin(),
                    _ => 0.0,
                });
            }
        }
        vec![Tensor::new(self.result(inputs[0].data.len()).shape, data)]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let y = lowering.type_of(equation.outputs[0]);
        // 2^64 times a number below 1; the conversion saturates.
        let ratio = (self.log_ratio().exp() * 2_f64.powi(64)) as u64;
        let params = shader::Params {
            batch: y.rows() as u32,
            half_width: self.width as u32 / 2,
            width4: y.pitch() as u32 / 4,
            cosine_first: self.flip_sin_to_cos.into(),
            ratio: [ratio as u32, (ratio >> 32) as u32],
        };
        let kernel = shader::Forward { timesteps: equation.inputs[0], y: equation.outputs[0] };
        Ok(lowering.push(kernel.over(params, y.vectors()))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(30, inputs, &[self.result(inputs[0].shape[0])])
    }
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let every = TensorType::f32(&[1000]);
    let times = Input::values(every, (0..1000).map(f64::from).collect());
    let fractional = Input::uniform(TensorType::f32(&[100]), 0.0, 1000.0);
    let mut all = Vec::new();
    for (width, flip_sin_to_cos, shift) in [
        (32, false, 1.0),
        (32, true, 0.0),
        (33, false, 1.0),
        (33, true, 0.0),
        (128, false, 1.0),
        (128, true, 0.0),
        (6, true, 1.0),
    ] {
        let op = TimestepEmbedding {
            width,
            flip_sin_to_cos,
            freq_shift: shift.into(),
            max_period: 10_000.0.into(),
            element: ElementType::F32,
        };
        all.push(Case::new(op, vec![times.clone()]).name("every integer"));
        all.push(Case::new(op, vec![fractional.clone()]).name("fractional"));
        let half = TimestepEmbedding { element: ElementType::F16, ..op };
        all.push(Case::new(half, vec![fractional.clone()]).name("half"));
    }
    all
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    let op = TimestepEmbedding {
        width: 4 + dice.extent(200),
        flip_sin_to_cos: dice.flip(),
        freq_shift: dice.pick([0.0, 1.0]).into(),
        max_period: 10_000.0.into(),
        element: dice.element(),
    };
    let times = TensorType::f32(&[dice.extent(70)]);
    let whole = dice.flip();
    let times = if whole { Input::below(times, 1000) } else { Input::uniform(times, 0.0, 1000.0) };
    Case::new(op, vec![times])
}

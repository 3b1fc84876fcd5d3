//! The size of a corrector's step: Song et al., *Score-Based Generative Modeling through
//! Stochastic Differential Equations* (2021), algorithms 4 and 5.
use crate::{ops::prelude::*, shaders::corrector_size as shader};
use std::fmt;

/// `size f32[batch] = |z|^2 / |output|^2` of each image, 0 where the output is 0. The paper takes the
/// norms over the batch; here an image does not depend on its neighbours.
///
/// Operands: `output [batch, .., channels]` or twice the channels, `key u32[8]` and, if `given_noise`, `z`;
/// otherwise the one that [`SamplingStep`](crate::ops::SamplingStep) draws from the same stream.
///
/// ```
/// use ddim::{ops::{CorrectorSize, Counter, Operator}, reference::Tensor, value::Shape};
///
/// let output = Tensor::new(Shape::new(&[1, 2]), vec![1.0; 2]);
/// let noise = output.map(|number| 2.0 * number);
/// let key = Tensor::zeros(Counter::of().shape);
/// let op = CorrectorSize { stream: 2, channels: 2, given_noise: true };
/// assert_eq!(op.reference(&[&output, &key, &noise])[0].data, [4.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CorrectorSize {
    /// Which of the sampler's random streams.
    pub stream: u32,
    /// Channels of the images; an output may have twice as many, of which the first count.
    pub channels: usize,
    /// Whether the noise is an operand.
    pub given_noise: bool,
}

impl fmt::Display for CorrectorSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noise = if self.given_noise { " noise" } else { "" };
        write!(f, "corrector_size{{stream={} channels={}{noise}}}", self.stream, self.channels)
    }
}

impl CorrectorSize {
    /// The images that an output of this type is for.
    fn image(&self, output: TensorType) -> TensorType {
        TensorType::f32(&output.shape).with_last(self.channels)
    }
}

impl Operator for CorrectorSize {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let (output, key, noise) = match *inputs {
            [output, key, noise] if self.given_noise => (output, key, Some(noise)),
            [output, key] if !self.given_noise => (output, key, None),
            _ => return Err(check.count(if self.given_noise { 3 } else { 2 })),
        };
        check.images("output", output)?;
        check.key(key)?;
        let (channels, width) = (self.channels, output.shape.last());
        if width != channels && Some(width) != channels.checked_mul(2) {
            let expected = format!("{channels} channels or twice that");
            return Err(check.conflict(format!("output must have {expected}, found {output}")));
        }
        if let Some(noise) = noise {
            check.is("noise", noise, self.image(output))?;
        }
        Ok(vec![TensorType::f32(&output.shape[..1])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let output = inputs[0];
        let shape = self.image(TensorType::f32(&output.shape)).shape;
        let noise = match inputs.get(2) {
            Some(noise) => (*noise).clone(),
            None => Counter::read(inputs[1]).normals(shape, self.stream),
        };
        let (batch, width) = (shape[0], output.shape.last());
        let image = output.data.len() / batch;
        let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
        let size = (0..batch).map(|n| {
            let own = output.data[n * image..(n + 1) * image].iter().enumerate();
            let mut first = own.filter(|(i, _)| i % width < self.channels).map(|(_, v)| *v);
            let length = squares(&mut first);
            let drawn = noise.data.chunks(noise.data.len() / batch).nth(n).unwrap_or_default();
            if length > 0.0 { squares(&mut drawn.iter().copied()) / length } else { 0.0 }
        });
        vec![Tensor::new(TensorType::f32(&output.shape[..1]).shape, size.collect())]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let output = equation.inputs[0];
        let of = lowering.type_of(output);
        let image = self.image(of);
        let params = shader::Params {
            batch: of.shape[0] as u32,
            vectors: (image.vectors() / of.shape[0]) as u32,
            channels: self.channels as u32,
            channels4: image.pitch() as u32 / 4,
            output_channels4: of.pitch() as u32 / 4,
            stream: self.stream,
        };
        let is_wide = of.shape != image.shape;
        let overrides = shader::Overrides { is_wide, ..Default::default() };
        let kernel = shader::Forward {
            key: equation.inputs[1],
            output,
            noise: equation.inputs.get(2).copied(),
            size: equation.outputs[0],
        };
        Ok(lowering.push(kernel.dispatch(params, overrides, fold(params.batch as usize)))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(60, inputs, &inputs[..1])
    }
}

/// With noise that is drawn and noise that is given.
fn both(output: TensorType, channels: usize, key: Input) -> [Case; 2] {
    let drawn = CorrectorSize { stream: 2, channels, given_noise: false };
    let given = CorrectorSize { given_noise: true, ..drawn };
    let operands = [Input::normal(output), key, Input::normal(drawn.image(output))];
    [Case::new(drawn, operands[..2].to_vec()), Case::new(given, operands.into())]
        .map(|case| case.terms(output.shape.elements() / output.shape[0]).half(&[0]))
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let shapes = [(&[2, 7, 5, 3][..], 3), (&[5, 4, 4, 2], 1), (&[1, 16, 16, 8], 4)];
    let all = shapes.into_iter().chain([(&[MANY_IMAGES, 4][..], 4)]);
    all.flat_map(|(shape, channels)| both(TensorType::f32(shape), channels, example_key()))
        .collect()
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    let (output, key) = (dice.image(), dice.key());
    let width = output.shape.last();
    let channels = if width.is_multiple_of(2) && dice.flip() { width / 2 } else { width };
    dice.one_of(both(output, channels, key))
}

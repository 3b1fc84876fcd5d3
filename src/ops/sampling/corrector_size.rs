//! The size of a corrector's step: Song et al., *Score-Based Generative Modeling through
//! Stochastic Differential Equations* (2021), algorithms 4 and 5.
use crate::{
    error::{Error, ShapeError},
    graph::Equation,
    ops::{
        Case, Input, Lowering, MANY_IMAGES, Operator, elementwise_cost, example_key,
        kit::random::{Counter, check_images, check_key},
    },
    plan::{Cost, fold},
    reference::Tensor,
    shaders::corrector_size as shader,
    value::TensorType,
};
use std::fmt;

/// `size f32[batch] = |z|^2 / |output|^2` of each image, 0 where the output is 0. The paper takes the
/// norms over the batch; here an image does not depend on its neighbours.
///
/// Operands: `output [batch, .., channels or more]`, `key u32[8]` and, if `given_noise`, `z`;
/// otherwise the one that [`SamplingStep`](crate::ops::SamplingStep) draws from the same stream.
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
    pub(in crate::ops) fn image(&self, output: TensorType) -> TensorType {
        let mut extents = output.shape.to_vec();
        if let Some(last) = extents.last_mut() {
            *last = self.channels;
        }
        TensorType::f32(&extents)
    }
}

impl Operator for CorrectorSize {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let refuse = |message| Err(ShapeError::conflict("corrector_size", message, inputs));
        let expected = if self.given_noise { 3 } else { 2 };
        if inputs.len() != expected {
            return Err(ShapeError::count("corrector_size", expected, inputs));
        }
        let output = inputs[0];
        check_images("corrector_size", "output", output, inputs)?;
        check_key("corrector_size", inputs[1], inputs)?;
        let width = output.shape.last();
        if width != self.channels && Some(width) != self.channels.checked_mul(2) {
            let channels = self.channels;
            return refuse(format!(
                "output must have {channels} channels or twice that, found {output}"
            ));
        }
        let image = self.image(output);
        if let Some(noise) = inputs.get(2).filter(|noise| **noise != image) {
            return Err(ShapeError::operand("corrector_size", "noise", image, noise, inputs));
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

pub(in crate::ops) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    let shapes = [(&[2, 7, 5, 3][..], 3), (&[5, 4, 4, 2], 1), (&[1, 16, 16, 8], 4)];
    for (shape, channels) in shapes.into_iter().chain([(&[MANY_IMAGES, 4][..], 4)]) {
        let output = TensorType::f32(shape);
        let drawn = CorrectorSize { stream: 2, channels, given_noise: false };
        let given = CorrectorSize { given_noise: true, ..drawn };
        let operands = vec![Input::normal(output), example_key()];
        let noise = Input::normal(drawn.image(output));
        let terms = output.shape.elements() / shape[0];
        let more = [operands.clone(), vec![noise]].concat();
        all.push(Case::new(drawn, operands).terms(terms).half(&[0]));
        all.push(Case::new(given, more).terms(terms).half(&[0]));
    }
    all
}

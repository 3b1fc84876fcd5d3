//! Classifier-free guidance: one batch predicted without and with labels, and what follows.
use crate::{
    ops::prelude::*,
    shaders::{guidance as shader, repeat},
};

/// `y = [x, x]` along the outermost axis: each image once for the prediction without its label,
/// once for that with it. An image takes whole blocks of 16 bytes.
///
/// Example: [`Guide`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Twice;

/// `y [batch, ..]` from `predictions [2 batch, ..]`, whose first half `u` was made without labels
/// and whose second half `c` with them:
///
/// ```text
/// e = u + scale (c - u)
/// y = rescale e deviation(c) / deviation(e) + (1 - rescale) e
/// ```
///
/// The deviations are those of each image's guided channels. Ho and Salimans, *Classifier-Free
/// Diffusion Guidance* (2022), equation 6, with `scale = 1 + w`; Lin et al., *Common Diffusion
/// Noise Schedules and Sample Steps are Flawed* (2023), section 3.4.
///
/// ```
/// use ddim::{ops::{Guide, Operator, Twice}, reference::Tensor, value::Shape};
///
/// let x = Tensor::new(Shape::new(&[1, 1]), vec![5.0]);
/// let both = &Twice.reference(&[&x])[0];
/// assert_eq!(both.data, [5.0, 5.0]);
/// // What a network makes of them: without its label, and with it.
/// let predictions = Tensor::new(both.shape, vec![1.0, 2.0]);
/// let guide = Guide { scale: 3.0.into(), rescale: 0.0.into(), channels: 1 };
/// assert_eq!(guide.reference(&[&predictions])[0].data, [4.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Guide {
    /// 1 is the prediction with labels.
    pub scale: Float,
    /// Share of the rescaled prediction, 0 to 1.
    pub rescale: Float,
    /// Channels that are guided; the others of `y` are those of `c`.
    pub channels: usize,
}

display!("twice", Twice);

display!("guide", Guide { scale, rescale, channels });

impl Operator for Twice {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [x] = check.operands()?;
        let holds = x.element != ElementType::U32 && x.shape.len() >= 2;
        check.that(holds, "x", "[batch, ..] of floats", x)?;
        Ok(vec![x.with_extent(0, 2 * x.shape[0])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let x = inputs[0];
        let of = TensorType::f32(&x.shape).with_extent(0, 2 * x.shape[0]);
        vec![Tensor::new(of.shape, [&x.data[..], &x.data].concat())]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let (x, y) = (equation.inputs[0], equation.outputs[0]);
        let vectors = lowering.type_of(x).vectors() as u32;
        let kernel = repeat::Forward { x, y };
        Ok(lowering.push(kernel.over(repeat::Params { vectors }, vectors as usize))?)
    }
}

impl Operator for Guide {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [predictions] = check.operands()?;
        check.floats("predictions", predictions)?;
        let (images, width) = (predictions.shape[0], predictions.shape.last());
        let holds = images.is_multiple_of(2) && predictions.shape.len() >= 2;
        check.that(holds, "predictions", "[2 batch, .., channels]", predictions)?;
        let holds = (1..=width).contains(&self.channels);
        check.that(holds, "channels", format!("1 to {width}"), self.channels)?;
        Ok(vec![predictions.with_extent(0, images / 2)])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let (batch, width) = (inputs[0].shape[0] / 2, inputs[0].shape.last());
        let (plain, labelled) = inputs[0].data.split_at(inputs[0].data.len() / 2);
        let image = plain.len() / batch;
        let (scale, rescale) = (self.scale.get(), self.rescale.get());
        let is_guided = |element: usize| element % width < self.channels;
        let mut data = labelled.to_vec();
        for n in 0..batch {
            let own = n * image..(n + 1) * image;
            let guided: Vec<usize> = own.filter(|&element| is_guided(element)).collect();
            let mix = |i: usize| plain[i] + scale * (labelled[i] - plain[i]);
            let deviation = |values: Vec<f64>| {
                let mean = values.iter().sum::<f64>() / values.len() as f64;
                values.iter().map(|value| (value - mean).powi(2)).sum::<f64>().sqrt()
            };
            let of_labelled = deviation(guided.iter().map(|&i| labelled[i]).collect());
            let of_mixed = deviation(guided.iter().map(|&i| mix(i)).collect());
            let factor = match rescale {
                0.0 => 1.0,
                _ => rescale * of_labelled / of_mixed + (1.0 - rescale),
            };
            guided.iter().for_each(|&i| data[i] = factor * mix(i));
        }
        let of = TensorType::f32(&inputs[0].shape).with_extent(0, batch);
        vec![Tensor::new(of.shape, data)]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let (predictions, y) = (equation.inputs[0], equation.outputs[0]);
        let of = lowering.type_of(y);
        let (batch, pitch) = (of.shape[0], of.pitch());
        let rescaled = self.rescale.get() != 0.0;
        let overrides = shader::Overrides::default();
        let params = shader::Params {
            batch: batch as u32,
            vectors: (of.vectors() / batch) as u32,
            channels: self.channels as u32,
            channels4: (pitch / 4) as u32,
            scale: self.scale.get() as f32,
            rescale: self.rescale.get() as f32,
            elements: (of.rows() / batch * self.channels) as f32,
        };
        let factor = rescaled.then(|| lowering.scratch(TensorType::f32(&[batch])));
        if let Some(factors) = factor {
            let kernel = shader::Deviations { predictions, factors };
            lowering.push(kernel.dispatch(params, overrides, fold(batch)))?;
        }
        let grid = fold(of.vectors().div_ceil(overrides.workgroup as usize));
        let kernel = shader::Forward { predictions, factor, y };
        Ok(lowering.push(kernel.dispatch(params, overrides, grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(3, inputs, &self.infer(inputs).unwrap_or_default())
    }

    /// Deviations are of differences.
    fn special(&self) -> Special {
        Special::NotFinite
    }
}

impl Guide {
    /// The largest weight is the scale; the deviations are sums over an image.
    fn case(self, predictions: TensorType) -> Case {
        let terms = 64 + predictions.shape.elements() / predictions.shape[0];
        Case::new(self, vec![Input::normal(predictions)]).terms(terms).half(&[0])
    }
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let guide = |scale: f64, rescale: f64, channels| {
        let (scale, rescale) = (scale.into(), rescale.into());
        Guide { scale, rescale, channels }
    };
    // Deviations of images this small have no tolerance.
    let many = TensorType::f32(&[2 * MANY_IMAGES, 2, 1]);
    let mut all = vec![guide(7.5, 0.0, 1).case(many)];
    for (shape, channels) in [(&[2, 7, 5, 3][..], 3), (&[6, 8, 8, 2], 1), (&[4, 16, 16, 8], 8)] {
        let x = TensorType::f32(shape);
        all.push(Case::new(Twice, vec![Input::normal(x)]).half(&[0]));
        for (scale, rescale) in [(7.5, 0.0), (3.0, 0.7), (1.0, 1.0)] {
            all.push(guide(scale, rescale, channels).case(x));
        }
    }
    all
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    if dice.flip() {
        return Case::new(Twice, vec![Input::normal(dice.image())]).half(&[0]);
    }
    let [batch, height, width, channels] = dice.extents([3, 30, 30, 40], 3000);
    let op = Guide {
        scale: dice.float(0.0, 8.0).into(),
        rescale: dice.pick([0.0, 0.0, 0.7, 1.0]).into(),
        channels: dice.extent(channels),
    };
    op.case(TensorType::f32(&[2 * batch, height, width, channels]))
}

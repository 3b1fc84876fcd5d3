//! Dropping of class labels: Ho and Salimans 2021, *Classifier-Free Diffusion Guidance*,
//! algorithm 1.
use crate::{ops::prelude::*, shaders::drop_labels as shader};

/// Labels of which each gives way to `null` with this probability; operands `labels u32[batch]` and
/// `key u32[8]`.
///
/// ```
/// use ddim::{ops::{Counter, DropLabels, Operator}, reference::Tensor, value::Shape};
///
/// let labels = Tensor::new(Shape::new(&[3]), vec![4.0, 5.0, 6.0]);
/// let key = Tensor::zeros(Counter::of().shape);
/// let never = DropLabels { probability: 0.0.into(), null: 10, stream: 7 };
/// assert_eq!(never.reference(&[&labels, &key])[0], labels);
/// let often = DropLabels { probability: 0.5.into(), ..never };
/// let kept = &often.reference(&[&labels, &key])[0];
/// assert!(kept.data.iter().zip(&labels.data).all(|(kept, own)| kept == own || *kept == 10.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DropLabels {
    /// Probability of the null label, in `[0, 1)`.
    pub probability: Float,
    /// The label that stands for none.
    pub null: u32,
    /// Which of the model's random streams.
    pub stream: u32,
}

impl DropLabels {
    /// A random word below this drops its label.
    fn threshold(&self) -> u32 {
        (self.probability.get() * 2_f64.powi(32)) as u32
    }
}

display!("drop_labels", DropLabels { probability, null, stream });

impl Operator for DropLabels {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [labels, key] = check.operands()?;
        check.key(key)?;
        check.labels(labels)?;
        let holds = (0.0..1.0).contains(&self.probability.get());
        check.that(holds, "probability", "in [0, 1)", self.probability)?;
        Ok(vec![labels])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let counter = Counter::read(inputs[1]);
        let kept = inputs[0].data.iter().enumerate().map(|(image, &label)| {
            let [word, ..] = counter.random_words(0, image as u32, self.stream);
            if word < self.threshold() { f64::from(self.null) } else { label }
        });
        vec![Tensor::new(inputs[0].shape, kept.collect())]
    }

    fn vjp(&self, _: &mut Backward, _: &Equation) -> Result<Gradients, Error> {
        Ok(vec![None, None])
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [labels, key] = fitted(&equation.inputs);
        let of = lowering.type_of(labels);
        let params = shader::Params {
            batch: of.shape[0] as u32,
            stream: self.stream,
            threshold: self.threshold(),
            null_label: self.null,
        };
        let kernel = shader::Forward { labels, key, kept: equation.outputs[0] };
        Ok(lowering.push(kernel.over(params, of.pitch()))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(60, inputs, &inputs[..1])
    }
}

fn case(batch: usize, probability: f64, key: Input) -> Case {
    let op = DropLabels { probability: Float::from(probability), null: 10, stream: 7 };
    Case::new(op, vec![Input::below(TensorType::u32(&[batch]), 10), key])
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    [(1, 0.5), (67, 0.1), (130, 0.9), (5, 0.0), (MANY_IMAGES, 0.5)]
        .map(|(batch, probability)| case(batch, probability, example_key()))
        .into()
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    case(dice.extent(300), dice.float(0.0, 1.0), dice.key())
}

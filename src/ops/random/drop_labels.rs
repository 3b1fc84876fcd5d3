//! Dropping of class labels: Ho and Salimans 2021, *Classifier-Free Diffusion Guidance*,
//! algorithm 1.
use crate::{
    error::{Error, ShapeError},
    graph::Equation,
    ops::{
        Backward, Case, Gradients, Input, Lowering, MANY_IMAGES, Operator, display,
        elementwise_cost, example_key,
        kit::random::{Counter, check_key},
        operands,
    },
    plan::Cost,
    reference::Tensor,
    shaders::drop_labels as shader,
    value::{ElementType, Float, TensorType},
};

/// Labels of which each gives way to `null` with this probability; operands `labels u32[batch]` and
/// `key u32[8]`.
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
        let [labels, key] = operands("drop_labels", inputs)?;
        check_key("drop_labels", key, inputs)?;
        if labels.shape.len() != 1 || labels.element != ElementType::U32 {
            return Err(ShapeError::operand("drop_labels", "labels", "u32[batch]", labels, inputs));
        }
        if !(0.0..1.0).contains(&self.probability.get()) {
            return Err(ShapeError::operand(
                "drop_labels",
                "probability",
                "in [0, 1)",
                self.probability,
                inputs,
            ));
        }
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
        let [labels, key, kept] = [equation.inputs[0], equation.inputs[1], equation.outputs[0]];
        let of = lowering.type_of(labels);
        let params = shader::Params {
            batch: of.shape[0] as u32,
            stream: self.stream,
            threshold: self.threshold(),
            null_label: self.null,
        };
        let kernel = shader::Forward { labels, key, kept };
        Ok(lowering.push(kernel.over(params, of.pitch()))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(60, inputs, &inputs[..1])
    }
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    [(1, 0.5), (67, 0.1), (130, 0.9), (5, 0.0), (MANY_IMAGES, 0.5)]
        .map(|(batch, probability)| {
            let op = DropLabels { probability: Float::from(probability), null: 10, stream: 7 };
            let labels = Input::below(TensorType::u32(&[batch]), 10);
            Case::new(op, vec![labels, example_key()])
        })
        .into()
}

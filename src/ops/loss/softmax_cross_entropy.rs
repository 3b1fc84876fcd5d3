//! Cross-entropy of a softmax: the loss of a classifier.
use crate::{
    error::{Error, LoweringError, ShapeError},
    graph::Equation,
    ops::{Backward, Case, Gradients, Input, Lowering, Operator, display, operands},
    plan::{Cost, fold},
    reference::Tensor,
    shaders::softmax_cross_entropy as shader,
    value::{ElementType, TensorType, Value},
};

/// `loss f32[1]`, the mean over all rows of `-log softmax(logits)[label]`; operands
/// `logits [.., classes]` and `labels u32[rows]`, one for each row of the logits. A label past the
/// classes counts as the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SoftmaxCrossEntropy;

/// `dlogits`; operands `logits`, `labels` and `dloss f32[1]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SoftmaxCrossEntropyBackward;

display!("softmax_cross_entropy", SoftmaxCrossEntropy);

display!("softmax_cross_entropy_backward", SoftmaxCrossEntropyBackward);

fn check(
    op: &str,
    logits: TensorType,
    labels: TensorType,
    inputs: &[TensorType],
) -> Result<(), ShapeError> {
    if logits.shape.len() < 2 || logits.element == ElementType::U32 {
        return Err(ShapeError::operand(op, "logits", "rows of numbers", logits, inputs));
    }
    let expected = TensorType::u32(&[logits.rows()]);
    if labels != expected {
        return Err(ShapeError::operand(op, "labels", expected, labels, inputs));
    }
    Ok(())
}

fn params(logits: TensorType) -> shader::Params {
    shader::Params {
        rows: logits.rows() as u32,
        classes: logits.shape.last() as u32,
        classes4: (logits.pitch() / 4) as u32,
        factor: (1.0 / logits.rows() as f64) as f32,
    }
}

/// Appends what finds each row's largest logit, the sum of its exponentials, and its loss.
fn row_sums(lowering: &mut Lowering, [logits, labels]: [Value; 2]) -> Result<Value, LoweringError> {
    let of = lowering.type_of(logits);
    let sums_out = lowering.scratch(TensorType::f32(&[of.rows(), 4]));
    // On a software driver the barriers of several subgroups cost more than a short row.
    let least = if lowering.target().profile.is_software() { 8 } else { 32 };
    let workgroup = (of.vectors() / of.rows()).next_power_of_two().clamp(least, 256) as u32;
    let overrides = shader::Overrides { workgroup };
    let kernel = shader::RowSums { logits, labels, sums_out };
    lowering.push(kernel.dispatch(params(of), overrides, fold(of.rows())))?;
    Ok(sums_out)
}

/// For each row its softmax and its label.
fn rows<'a>(
    logits: &'a Tensor,
    labels: &'a Tensor,
) -> impl Iterator<Item = (Vec<f64>, usize)> + 'a {
    let classes = logits.shape.last();
    logits.data.chunks(classes).zip(&labels.data).map(move |(row, label)| {
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let powers: Vec<f64> = row.iter().map(|x| (x - largest).exp()).collect();
        let sum: f64 = powers.iter().sum();
        let shares = powers.into_iter().map(|power| power / sum).collect();
        (shares, (*label as usize).min(classes - 1))
    })
}

impl Operator for SoftmaxCrossEntropy {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let [logits, labels] = operands("softmax_cross_entropy", inputs)?;
        check("softmax_cross_entropy", logits, labels, inputs)?;
        Ok(vec![TensorType::f32(&[1])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let (logits, labels) = (inputs[0], inputs[1]);
        let classes = logits.shape.last();
        // Through the logarithm of the sum, not of the share, which may be 0 in f64.
        let losses = logits.data.chunks(classes).zip(&labels.data).map(|(row, label)| {
            let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = row.iter().map(|x| (x - largest).exp()).sum();
            sum.ln() + largest - row[(*label as usize).min(classes - 1)]
        });
        let loss = losses.sum::<f64>() / labels.data.len() as f64;
        vec![Tensor::new(TensorType::f32(&[1]).shape, vec![loss])]
    }

    fn vjp(&self, backward: &mut Backward, equation: &Equation) -> Result<Gradients, Error> {
        let Some(dloss) = backward.cotangent(0).filter(|_| backward.needs(0)) else {
            return Ok(vec![None, None]);
        };
        let [logits, labels] = [equation.inputs[0], equation.inputs[1]];
        let dlogits = backward.push(SoftmaxCrossEntropyBackward, &[logits, labels, dloss])?;
        Ok(vec![Some(dlogits), None])
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [logits, labels, loss] = [equation.inputs[0], equation.inputs[1], equation.outputs[0]];
        let sums = row_sums(lowering, [logits, labels])?;
        let params = params(lowering.type_of(logits));
        let kernel = shader::Forward { sums, loss };
        Ok(lowering.push(kernel.dispatch(params, shader::Overrides::default(), [1, 1, 1]))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        let flops = 4 * inputs[0].shape.elements() as u64;
        Cost { flops, bytes: inputs.iter().map(TensorType::bytes).sum() }
    }
}

impl Operator for SoftmaxCrossEntropyBackward {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let op = "softmax_cross_entropy_backward";
        let [logits, labels, dloss] = operands(op, inputs)?;
        check(op, logits, labels, inputs)?;
        if dloss != TensorType::f32(&[1]) {
            return Err(ShapeError::operand(op, "dloss", "f32[1]", dloss, inputs));
        }
        Ok(vec![logits])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [logits, labels, dloss] = inputs else { unreachable!("three, as infer found") };
        let factor = dloss.data[0] / labels.data.len() as f64;
        let gradient = rows(logits, labels).flat_map(|(mut shares, label)| {
            shares[label] -= 1.0;
            shares.into_iter().map(move |share| factor * share)
        });
        vec![Tensor::new(logits.shape, gradient.collect())]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [logits, labels, dloss] = [equation.inputs[0], equation.inputs[1], equation.inputs[2]];
        let of = lowering.type_of(logits);
        let sums = row_sums(lowering, [logits, labels])?;
        let dlogits = equation.outputs[0];
        let kernel = shader::Backward { logits, labels, sums, dloss, dlogits };
        Ok(lowering.push(kernel.over(params(of), of.vectors()))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        let flops = 8 * inputs[0].shape.elements() as u64;
        let bytes = 2 * inputs[0].bytes() + inputs[1].bytes();
        Cost { flops, bytes }
    }
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let dloss = Input::values(TensorType::f32(&[1]), vec![0.75]);
    let mut all = Vec::new();
    let shapes: [(&[usize], f64); 5] = [
        (&[7, 10], 1.0),
        (&[1, 3], 1.0),
        (&[200, 1, 5], 4.0),
        (&[3, 2, 2, 17], 1.0),
        // More classes than a loop may have iterations.
        (&[1, 300_000], 1.0),
    ];
    for (shape, deviation) in shapes {
        let of = TensorType::f32(shape);
        let logits = Input::shifted(of, 1.0, deviation);
        let labels = Input::below(TensorType::u32(&[of.rows()]), of.shape.last() as u32);
        let operands = vec![logits, labels];
        let terms = of.shape.elements();
        all.push(Case::new(SoftmaxCrossEntropy, operands.clone()).terms(terms).half(&[0]));
        let operands = [operands, vec![dloss.clone()]].concat();
        let backward = Case::new(SoftmaxCrossEntropyBackward, operands);
        all.push(backward.terms(of.shape.last()).half(&[0]));
    }
    // Neither the exponential of 1000 nor the logarithm of a share of exp(-1000) may be taken.
    let far = Input::values(
        TensorType::f32(&[3, 3]),
        vec![1000.0, 0.0, -1000.0, -1000.0, -1000.0, -1001.0, 88.0, 89.0, -3.0],
    );
    let labels = Input::values(TensorType::u32(&[3]), vec![2.0, 1.0, 7.0]);
    let operands = vec![far, labels];
    all.push(Case::new(SoftmaxCrossEntropy, operands.clone()).name("far logits"));
    let operands = [operands, vec![dloss]].concat();
    all.push(Case::new(SoftmaxCrossEntropyBackward, operands).terms(3).name("far logits"));
    all
}

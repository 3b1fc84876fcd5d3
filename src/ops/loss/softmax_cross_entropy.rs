//! Cross-entropy of a softmax: the loss of a classifier.
use crate::{error::LoweringError, ops::prelude::*, shaders::softmax_cross_entropy as shader};

/// `loss f32[1]`, the mean over all rows of `-log softmax(logits)[label]`; operands
/// `logits [.., classes]` and `labels u32[rows]`, one for each row of the logits. A label past the
/// classes counts as the last one.
///
/// ```
/// use ddim::ops::{Operator, SoftmaxCrossEntropy, SoftmaxCrossEntropyBackward};
/// use ddim::{reference::Tensor, value::Shape};
///
/// let logits = Tensor::zeros(Shape::new(&[1, 4]));
/// let [label, dloss] = [2.0, 1.0].map(|number| Tensor::new(Shape::new(&[1]), vec![number]));
/// let loss = &SoftmaxCrossEntropy.reference(&[&logits, &label])[0];
/// assert!((loss.data[0] - 4_f64.ln()).abs() < 1e-12);
/// let dlogits = &SoftmaxCrossEntropyBackward.reference(&[&logits, &label, &dloss])[0];
/// assert!((dlogits.data[2] + 0.75).abs() < 1e-12);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SoftmaxCrossEntropy;

/// `dlogits`; operands `logits`, `labels` and `dloss f32[1]`.
///
/// Example: [`SoftmaxCrossEntropy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SoftmaxCrossEntropyBackward;

display!("softmax_cross_entropy", SoftmaxCrossEntropy);

display!("softmax_cross_entropy_backward", SoftmaxCrossEntropyBackward);

fn check_rows(check: Check, logits: TensorType, labels: TensorType) -> Result<(), ShapeError> {
    let holds = logits.shape.len() >= 2 && logits.element != ElementType::U32;
    check.that(holds, "logits", "rows of numbers", logits)?;
    check.is("labels", labels, TensorType::u32(&[logits.rows()]))
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

/// Each row, the logarithm of the sum of its exponentials, and its label.
fn rows<'a>(
    logits: &'a Tensor,
    labels: &'a Tensor,
) -> impl Iterator<Item = (&'a [f64], f64, usize)> + 'a {
    let classes = logits.shape.last();
    logits.data.chunks(classes).zip(&labels.data).map(move |(row, label)| {
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = row.iter().map(|x| (x - largest).exp()).sum();
        (row, sum.ln() + largest, (*label as usize).min(classes - 1))
    })
}

impl Operator for SoftmaxCrossEntropy {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [logits, labels] = check.operands()?;
        check_rows(check, logits, labels)?;
        Ok(vec![TensorType::f32(&[1])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        // Through the logarithm of the sum, not of the share, which may be 0 in f64.
        let losses = rows(inputs[0], inputs[1]).map(|(row, log_sum, label)| log_sum - row[label]);
        let loss = losses.sum::<f64>() / inputs[1].data.len() as f64;
        vec![Tensor::new(TensorType::f32(&[1]).shape, vec![loss])]
    }

    fn vjp(&self, backward: &mut Backward, equation: &Equation) -> Result<Gradients, Error> {
        let Some(dloss) = backward.cotangent(0).filter(|_| backward.needs(0)) else {
            return Ok(vec![None, None]);
        };
        let [logits, labels] = fitted(&equation.inputs);
        let dlogits = backward.push(SoftmaxCrossEntropyBackward, &[logits, labels, dloss])?;
        Ok(vec![Some(dlogits), None])
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let sums = row_sums(lowering, fitted(&equation.inputs))?;
        let params = params(lowering.type_of(equation.inputs[0]));
        let kernel = shader::Forward { sums, loss: equation.outputs[0] };
        Ok(lowering.push(kernel.dispatch(params, shader::Overrides::default(), [1, 1, 1]))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        let flops = 4 * inputs[0].shape.elements() as u64;
        Cost { flops, bytes: inputs.iter().map(TensorType::bytes).sum() }
    }
}

impl Operator for SoftmaxCrossEntropyBackward {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [logits, labels, dloss] = check.operands()?;
        check_rows(check, logits, labels)?;
        check.is("dloss", dloss, TensorType::f32(&[1]))?;
        Ok(vec![logits])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [logits, labels, dloss] = fitted(inputs);
        let factor = dloss.data[0] / labels.data.len() as f64;
        let gradient = rows(logits, labels).flat_map(|(row, log_sum, label)| {
            let shares = row.iter().map(move |x| (x - log_sum).exp()).enumerate();
            shares.map(move |(i, share)| factor * (share - if i == label { 1.0 } else { 0.0 }))
        });
        vec![Tensor::new(logits.shape, gradient.collect())]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [logits, labels, dloss] = fitted(&equation.inputs);
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

fn both(logits: Input, labels: Input) -> [Case; 2] {
    let (of, dloss) = (logits.of, Input::values(TensorType::f32(&[1]), vec![0.75]));
    let inputs = [logits, labels, dloss];
    let forward = Case::new(SoftmaxCrossEntropy, inputs[..2].to_vec());
    let backward = Case::new(SoftmaxCrossEntropyBackward, inputs.into());
    [forward.terms(of.shape.elements()), backward.terms(of.shape.last())]
}

/// Of rows of random logits.
fn drawn(of: TensorType, deviation: f64) -> [Case; 2] {
    let labels = Input::below(TensorType::u32(&[of.rows()]), of.shape.last() as u32);
    both(Input::shifted(of, 1.0, deviation), labels).map(|case| case.half(&[0]))
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    // Neither the exponential of 1000 nor the logarithm of a share of exp(-1000) may be taken.
    let far = Input::values(
        TensorType::f32(&[3, 3]),
        vec![1000.0, 0.0, -1000.0, -1000.0, -1000.0, -1001.0, 88.0, 89.0, -3.0],
    );
    let labels = Input::values(TensorType::u32(&[3]), vec![2.0, 1.0, 7.0]);
    [
        drawn(TensorType::f32(&[7, 10]), 1.0),
        drawn(TensorType::f32(&[1, 3]), 1.0),
        drawn(TensorType::f32(&[200, 1, 5]), 4.0),
        drawn(TensorType::f32(&[3, 2, 2, 17]), 1.0),
        // More classes than a loop may have iterations.
        drawn(TensorType::f32(&[1, 300_000]), 1.0),
        both(far, labels).map(|case| case.name("far logits")),
    ]
    .concat()
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    let of = loop {
        let of = dice.tensor();
        if of.shape.len() > 1 {
            break of;
        }
    };
    let deviation = dice.pick([1.0, 4.0]);
    dice.one_of(drawn(of, deviation))
}

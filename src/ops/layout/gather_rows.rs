//! Rows of a table by number: the class embedding.
use crate::{
    ops::{kit::fold_slots, prelude::*},
    shaders::gather_rows as shader,
};

/// `y[b] = table[labels[b]]`; operands `labels u32[batch]` and `table f32[classes, width]`.
/// A label past the table reads its last row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GatherRows {
    /// Storage of the result.
    pub element: ElementType,
}

/// `dtable f32[classes, width]`; operands `labels u32[batch]` and `dy [batch, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GatherRowsBackward {
    /// Rows of the table.
    pub classes: usize,
}

display!("gather_rows", GatherRows { element });

display!("gather_rows_backward", GatherRowsBackward { classes });

/// Labels that a slot of the gradient adds: every driver's loops walk them to the end.
const SLOT_LABELS: usize = 1 << 15;

fn check_rows(check: Check, name: &str) -> Result<[TensorType; 2], ShapeError> {
    let [labels, rows] = check.operands()?;
    check.labels(labels)?;
    if rows.shape.len() != 2 {
        return Err(check.conflict(format!("{name} must have two axes, found {rows}")));
    }
    Ok([labels, rows])
}

impl Operator for GatherRows {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [labels, table] = check_rows(check, "table")?;
        check.that(table.element == ElementType::F32, "table", "f32", table)?;
        let y = TensorType::f32(&[labels.shape[0], table.shape[1]]).with_element(self.element);
        check.floats("y", y)?;
        Ok(vec![y])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [labels, table] = fitted(inputs);
        let (classes, width) = (table.shape[0], table.shape[1]);
        let row = |label: &f64| {
            let first = (*label as usize).min(classes - 1) * width;
            table.data[first..first + width].to_vec()
        };
        let shape = TensorType::f32(&[labels.data.len(), width]).shape;
        vec![Tensor::new(shape, labels.data.iter().flat_map(row).collect())]
    }

    fn vjp(&self, backward: &mut Backward, equation: &Equation) -> Result<Gradients, Error> {
        let dy = backward.dy();
        let [labels, table] = [equation.inputs[0], equation.inputs[1]];
        let op = GatherRowsBackward { classes: backward.type_of(table).shape[0] };
        Ok(vec![None, Some(backward.push(op, &[labels, dy])?)])
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [labels, table, y] = [equation.inputs[0], equation.inputs[1], equation.outputs[0]];
        let of = lowering.type_of(y);
        let params = shader::Params {
            batch: of.rows() as u32,
            classes: lowering.type_of(table).rows() as u32,
            width4: of.pitch() as u32 / 4,
            ..Default::default()
        };
        let kernel = shader::Forward { labels, table, y };
        Ok(lowering.push(kernel.over(params, of.vectors()))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        let y = TensorType::f32(&[inputs[0].shape[0], inputs[1].shape[1]]);
        elementwise_cost(0, &[inputs[0], y], &[y])
    }
}

impl Operator for GatherRowsBackward {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [labels, dy] = check_rows(check, "dy")?;
        check.floats("dy", dy)?;
        if dy.shape[0] != labels.shape[0] {
            let message = format!("dy has {} rows, labels {}", dy.shape[0], labels.shape[0]);
            return Err(check.conflict(message));
        }
        Ok(vec![TensorType::f32(&[self.classes, dy.shape[1]])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [labels, dy] = fitted(inputs);
        let width = dy.shape[1];
        let mut dtable = Tensor::zeros(TensorType::f32(&[self.classes, width]).shape);
        for (label, row) in labels.data.iter().zip(dy.data.chunks(width)) {
            let first = (*label as usize).min(self.classes - 1) * width;
            for (sum, dy) in dtable.data[first..].iter_mut().zip(row) {
                *sum += dy;
            }
        }
        vec![dtable]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [labels, dy, dtable] = [equation.inputs[0], equation.inputs[1], equation.outputs[0]];
        let of = lowering.type_of(dtable);
        let params = shader::Params {
            batch: lowering.type_of(dy).rows() as u32,
            classes: self.classes as u32,
            width4: of.pitch() as u32 / 4,
            slot_labels: SLOT_LABELS as u32,
        };
        let slots = (params.batch as usize).div_ceil(SLOT_LABELS);
        let partial = fold_slots::slots(lowering, slots, dtable);
        let kernel = shader::Backward { labels, dy, dtable: partial };
        lowering.push(kernel.over(params, slots * of.vectors()))?;
        fold_slots::fold(lowering, slots, partial, dtable)
            .map_or(Ok(()), |fold| Ok(lowering.push(fold)?))
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        let dtable = TensorType::f32(&[self.classes, inputs[1].shape[1]]);
        let bytes = inputs[0].bytes() + inputs[1].bytes() + dtable.bytes();
        Cost { flops: inputs[1].shape.elements() as u64, bytes }
    }
}

/// Both directions; in f32 and f16 the result of the first.
fn of(batch: usize, classes: usize, width: usize) -> [Case; 3] {
    let labels = Input::below(TensorType::u32(&[batch]), classes as u32);
    let [table, dy] = [classes, batch].map(|rows| Input::normal(TensorType::f32(&[rows, width])));
    let gather = |element| Case::new(GatherRows { element }, vec![labels.clone(), table.clone()]);
    let backward = Case::new(GatherRowsBackward { classes }, vec![labels.clone(), dy]);
    [gather(ElementType::F32), gather(ElementType::F16), backward.terms(batch).half(&[1])]
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    [of(5, 10, 12), of(1, 3, 5), of(33, 10, 130), of(70_000, 2, 3)].concat()
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    let [batch, classes, width] = dice.extents([300, 300, 200], 10_000);
    dice.one_of(of(batch, classes, width))
}

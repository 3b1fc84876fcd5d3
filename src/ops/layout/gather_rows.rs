//! Rows of a table by number: classes and tokens.
use crate::{
    ops::{kit::fold_slots, prelude::*},
    shaders::gather_rows as shader,
    value::Shape,
};

/// `y[b] = table[labels[b]]`; operands `labels u32[batch, ..]` and `table [.., width]`, of which all
/// axes but the last count rows. A label past the table reads its last row.
///
/// ```
/// use ddim::ops::{GatherRows, GatherRowsBackward, Operator, TablePart};
/// use ddim::{reference::Tensor, value::{ElementType, Shape}};
///
/// let table = Tensor::new(Shape::new(&[3, 2]), vec![0.0, 1.0, 10.0, 11.0, 20.0, 21.0]);
/// let labels = Tensor::new(Shape::new(&[2]), vec![2.0, 0.0]);
/// let gather = GatherRows::of(ElementType::F32);
/// let rows = &gather.reference(&[&labels, &table])[0];
/// assert_eq!(rows.data, [20.0, 21.0, 0.0, 1.0]);
/// // The same table as rows 2 to 4 of five.
/// let part = GatherRows { part: Some(TablePart { first: 2, rows: 5 }), ..gather };
/// assert_eq!(part.reference(&[&labels, &table])[0].data, [0.0, 1.0, 0.0, 0.0]);
/// let backward = GatherRowsBackward { table: table.shape, part: None };
/// let dtable = &backward.reference(&[&labels, rows])[0];
/// assert_eq!(dtable.data, [0.0, 1.0, 0.0, 0.0, 20.0, 21.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GatherRows {
    /// Storage of the result.
    pub element: ElementType,
    /// Where `table` is a part of the rows: which; labels of other rows give zeros.
    pub part: Option<TablePart>,
}

/// `dtable f32`; operands `labels u32[batch, ..]` and `dy [batch, .., width]`.
///
/// Example: [`GatherRows`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GatherRowsBackward {
    /// Extents of the table.
    pub table: Shape,
    /// As in [`GatherRows`].
    pub part: Option<TablePart>,
}

/// Rows of a table that is cut because it is more than a device binds.
///
/// Example: [`GatherRows`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TablePart {
    /// Number of the first row.
    pub first: usize,
    /// Rows of all parts together.
    pub rows: usize,
}

display!("gather_rows", GatherRows { element });

display!("gather_rows_backward", GatherRowsBackward { table });

/// Labels that a slot of the gradient adds: every driver's loops walk them to the end.
const SLOT_LABELS: usize = 1 << 15;

impl GatherRows {
    /// Rows of a whole table.
    pub fn of(element: ElementType) -> Self {
        Self { element, part: None }
    }
}

impl TablePart {
    /// This part, or all rows of `table`.
    fn or_whole(part: Option<Self>, table: Shape) -> Self {
        part.unwrap_or(Self { first: 0, rows: table.rows() })
    }

    fn check(check: Check, part: Option<Self>, table: Shape) -> Result<(), ShapeError> {
        let Self { first, rows } = Self::or_whole(part, table);
        let end = first.checked_add(table.rows());
        let (inside, found) = (end.is_some_and(|end| end <= rows), table.rows());
        check.that(inside, "table", format!("{first} and its rows within {rows}"), found)
    }

    /// The row of `table` that a label names, if it is one of this part.
    fn row(part: Option<Self>, table: Shape, label: f64) -> Option<usize> {
        let Self { first, rows } = Self::or_whole(part, table);
        (label as usize).min(rows - 1).checked_sub(first).filter(|row| *row < table.rows())
    }
}

fn check_labels(check: Check, labels: TensorType) -> Result<(), ShapeError> {
    let holds = labels.element == ElementType::U32 && labels.shape.len() < Shape::MAX_RANK;
    check.that(holds, "labels", "u32[batch, ..]", labels)
}

/// A row of so many floats for each label.
fn rows_of(labels: TensorType, width: usize) -> TensorType {
    TensorType::f32(&[&labels.shape[..], &[width]].concat())
}

fn params(
    lowering: &Lowering,
    labels: Value,
    table: TensorType,
    part: Option<TablePart>,
) -> shader::Params {
    let of = lowering.type_of(labels);
    let TablePart { first, rows } = TablePart::or_whole(part, table.shape);
    shader::Params {
        batch: of.shape.elements() as u32,
        classes: table.rows() as u32,
        width4: table.pitch() as u32 / 4,
        slot_labels: SLOT_LABELS as u32,
        tokens: of.shape.last() as u32,
        pitch: of.pitch() as u32,
        first: first as u32,
        last: (rows - 1) as u32,
    }
}

impl Operator for GatherRows {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [labels, table] = check.operands()?;
        check_labels(check, labels)?;
        let holds = table.element != ElementType::U32 && table.shape.len() >= 2;
        check.that(holds, "table", "[rows, .., width] of floats", table)?;
        TablePart::check(check, self.part, table.shape)?;
        let y = rows_of(labels, table.shape.last()).with_element(self.element);
        check.floats("y", y)?;
        Ok(vec![y])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [labels, table] = fitted(inputs);
        let width = table.shape.last();
        let row = |label: &f64| match TablePart::row(self.part, table.shape, *label) {
            Some(row) => table.data[row * width..][..width].to_vec(),
            None => vec![0.0; width],
        };
        let shape = rows_of(TensorType::u32(&labels.shape), width).shape;
        vec![Tensor::new(shape, labels.data.iter().flat_map(row).collect())]
    }

    fn vjp(&self, backward: &mut Backward, equation: &Equation) -> Result<Gradients, Error> {
        let dy = backward.dy();
        let [labels, table] = [equation.inputs[0], equation.inputs[1]];
        let table = backward.type_of(table).shape;
        let op = GatherRowsBackward { table, part: self.part };
        Ok(vec![None, Some(backward.push(op, &[labels, dy])?)])
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [labels, table, y] = [equation.inputs[0], equation.inputs[1], equation.outputs[0]];
        let of = lowering.type_of(y);
        let params = params(lowering, labels, lowering.type_of(table), self.part);
        let kernel = shader::Forward { labels, table, y };
        Ok(lowering.push(kernel.over(params, of.vectors()))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        let y = rows_of(inputs[0], inputs[1].shape.last());
        elementwise_cost(0, &[inputs[0], y], &[y])
    }
}

impl Operator for GatherRowsBackward {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [labels, dy] = check.operands()?;
        check_labels(check, labels)?;
        check.floats("dy", dy)?;
        check.is("dy", dy, rows_of(labels, self.table.last()).with_element(dy.element))?;
        TablePart::check(check, self.part, self.table)?;
        Ok(vec![TensorType::f32(&self.table)])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [labels, dy] = fitted(inputs);
        let width = self.table.last();
        let mut dtable = Tensor::zeros(self.table);
        for (label, from) in labels.data.iter().zip(dy.data.chunks(width)) {
            let Some(row) = TablePart::row(self.part, self.table, *label) else { continue };
            for (sum, dy) in dtable.data[row * width..].iter_mut().zip(from) {
                *sum += dy;
            }
        }
        vec![dtable]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [labels, dy, dtable] = [equation.inputs[0], equation.inputs[1], equation.outputs[0]];
        let of = lowering.type_of(dtable);
        let params = params(lowering, labels, of, self.part);
        let slots = (params.batch as usize).div_ceil(SLOT_LABELS);
        let partial = fold_slots::slots(lowering, slots, dtable);
        let kernel = shader::Backward { labels, dy, dtable: partial };
        lowering.push(kernel.over(params, slots * of.vectors()))?;
        fold_slots::fold(lowering, slots, partial, dtable)
            .map_or(Ok(()), |fold| Ok(lowering.push(fold)?))
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        let bytes = inputs[0].bytes() + inputs[1].bytes() + TensorType::f32(&self.table).bytes();
        Cost { flops: inputs[1].shape.elements() as u64, bytes }
    }
}

/// Both directions; the result and the table of the first in f32 and in halves.
fn of(labels: &[usize], table: &[usize], part: Option<TablePart>) -> [Case; 3] {
    let of = TensorType::f32(table);
    let TablePart { rows, .. } = TablePart::or_whole(part, of.shape);
    let labels = Input::below(TensorType::u32(labels), rows as u32);
    let dy = Input::normal(rows_of(labels.of, of.shape.last()));
    let terms = labels.of.shape.elements();
    let gather =
        |element| Case::new(GatherRows { element, part }, vec![labels.clone(), Input::normal(of)]);
    let backward = GatherRowsBackward { table: of.shape, part };
    let backward = Case::new(backward, vec![labels.clone(), dy]).terms(terms).half(&[1]);
    [gather(ElementType::F32), gather(ElementType::F16).half(&[1]), backward]
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let part = |first, rows| Some(TablePart { first, rows });
    [
        of(&[5], &[10, 12], None),
        of(&[1], &[3, 5], None),
        of(&[33], &[10, 130], None),
        of(&[70_000], &[2, 3], None),
        of(&[2, 77], &[30, 20], None),
        of(&[3], &[2, 7, 9], None),
        of(&[2, 3, 5], &[4, 6], part(0, 9)),
        of(&[3, 13], &[5, 6], part(4, 9)),
    ]
    .concat()
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    let [batch, rows, width] = dice.extents([300, 300, 200], 10_000);
    let labels = if dice.below(2) == 0 { vec![batch] } else { vec![2, batch] };
    let own = dice.extent(rows);
    let part = TablePart { first: dice.below(rows - own + 1), rows };
    let part = (dice.below(2) == 0).then_some(part);
    dice.one_of(of(&labels, &[if part.is_some() { own } else { rows }, width], part))
}

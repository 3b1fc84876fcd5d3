//! A part of an equation: its op on rows of pictures, where they lie.
use crate::{
    graph::Equation,
    ops::{GroupMoments, Load, Lowering, Op, Operator},
    value::{TensorType, Value},
};
use std::ops::Range;

/// Pixels of a tile of [`GroupMoments`].
const TILE: usize = 16;

/// What a band reads or writes: these rows of a value, or all of it.
#[derive(Clone)]
pub(super) struct Operand {
    pub value: Value,
    pub rows: Option<Range<usize>>,
}

impl Operand {
    pub fn whole(value: Value) -> Self {
        Self { value, rows: None }
    }

    pub fn of(value: Value, rows: &Range<usize>) -> Self {
        Self { value, rows: Some(rows.clone()) }
    }

    fn type_in(&self, lowering: &Lowering) -> TensorType {
        let of = lowering.type_of(self.value);
        self.rows.as_ref().map_or(of, |rows| of.with_extent(1, rows.len()))
    }

    /// Whether the device binds it.
    fn fits(&self, lowering: &Lowering) -> bool {
        let (of, target) = (lowering.type_of(self.value), lowering.target());
        let offset = self.rows.as_ref().map_or(0, |rows| rows.start as u64 * row_bytes(of));
        self.type_in(lowering).bytes() <= target.max_binding
            && offset.is_multiple_of(target.storage_alignment.max(1))
    }

    fn place(self, lowering: &mut Lowering) -> Value {
        match self.rows {
            Some(rows) => lowering.rows(self.value, rows),
            None => self.value,
        }
    }
}

/// Bytes of a row of a picture alone in its batch.
fn row_bytes(of: TensorType) -> u64 {
    of.with_extent(1, 1).bytes()
}

/// A part of an equation.
pub(crate) struct Band {
    pub(super) op: Op,
    pub(super) inputs: Vec<Operand>,
    pub(super) outputs: Vec<Operand>,
}

impl Band {
    pub(super) fn whole(op: impl Into<Op>, inputs: &[Value], outputs: &[Value]) -> Self {
        let all = |values: &[Value]| values.iter().copied().map(Operand::whole).collect();
        Self { op: op.into(), inputs: all(inputs), outputs: all(outputs) }
    }

    /// Whether the device binds all that it reads and writes, and what a kernel that reads nothing in place is given.
    pub(super) fn fits(&self, lowering: &Lowering) -> bool {
        let read = Load::of(&self.op).and_then(|load| {
            let given = self.inputs[..load.arity()].iter();
            load.infer(&given.map(|x| x.type_in(lowering)).collect::<Vec<_>>()).ok()
        });
        read.is_none_or(|of| of.bytes() <= lowering.target().max_binding)
            && self.inputs.iter().chain(&self.outputs).all(|x| x.fits(lowering))
    }

    /// Whether the op takes and makes what the band says.
    pub(super) fn is_sound(&self, lowering: &Lowering) -> bool {
        let types = |all: &[Operand]| all.iter().map(|x| x.type_in(lowering)).collect::<Vec<_>>();
        self.op.infer(&types(&self.inputs)).is_ok_and(|made| made == types(&self.outputs))
    }

    /// The part of the whole equation that it is.
    pub fn equation(self, lowering: &mut Lowering, whole: &Equation) -> Equation {
        let mut all = |operands: Vec<Operand>| {
            operands.into_iter().map(|x| x.place(lowering)).collect::<Vec<_>>()
        };
        let (inputs, outputs) = (all(self.inputs), all(self.outputs));
        Equation { op: self.op, inputs, outputs, ..whole.clone() }
    }
}

/// `height` rows in bands of `rows`, of which the first has `shift` less.
pub(super) fn cuts(height: usize, rows: usize, shift: usize) -> impl Iterator<Item = Range<usize>> {
    let end = move |k: usize| (k * rows).saturating_sub(shift).min(height);
    (0..).map(move |k| end(k)..end(k + 1)).take_while(|cut| !cut.is_empty())
}

/// Tiles of [`GroupMoments`] over these rows of pixels, of a picture's tiles.
pub(super) fn tiles(rows: &Range<usize>, width: usize) -> Range<usize> {
    rows.start * width / TILE..(rows.end * width).div_ceil(TILE)
}

/// Whether the tiles of bands are those of the picture: runs of pixels, or squares of 4x4 in both.
pub(super) fn keeps_tiles(of: TensorType) -> bool {
    of.shape.len() == 3 || of.shape[1].is_multiple_of(4) || !of.shape[2].is_multiple_of(4)
}

pub(super) fn moments(
    lowering: &Lowering,
    x: Value,
    result: Value,
    rows: usize,
) -> Option<Vec<Band>> {
    let of = lowering.type_of(x);
    let width = of.rows() / of.shape[1];
    let band = |cut: Range<usize>| Band {
        op: GroupMoments.into(),
        inputs: vec![Operand::of(x, &cut)],
        outputs: vec![Operand::of(result, &tiles(&cut, width))],
    };
    keeps_tiles(of).then(|| cuts(of.shape[1], rows, 0).map(band).collect())
}

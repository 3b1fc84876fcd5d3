//! Tensors inside a flat arena. Parameters, their gradients and the optimizer's moments lie in
//! arenas, so that one dispatch updates them all. Both ops only say where a tensor lies: the
//! memory planner places the part inside the whole, and nothing is copied.
use crate::ops::prelude::*;

/// The tensor of type `of` that starts at element `offset` of a flat arena of its storage, in the
/// device's layout (rows padded to four).
///
/// Example: [`Pack`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// First element in the arena; a multiple of [`View::alignment`].
    pub offset: usize,
    /// Type of the tensor.
    pub of: TensorType,
}

/// The flat f32 arena that holds each operand at its offset and zeros elsewhere.
///
/// ```
/// use ddim::{ops::{Operator, Pack, View}, reference::Tensor, value::TensorType};
///
/// let of = TensorType::f32(&[2]);
/// let room = View::room(of);
/// let tensor = Tensor::new(of.shape, vec![1.0, 2.0]);
/// let pack = Pack { offsets: vec![0, room], elements: 2 * room };
/// let arena = &pack.reference(&[&Tensor::zeros(of.shape), &tensor])[0];
/// assert_eq!(View { offset: room, of }.reference(&[arena])[0], tensor);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pack {
    /// First element of each operand; multiples of [`View::alignment`].
    pub offsets: Vec<usize>,
    /// Elements of the arena.
    pub elements: usize,
}

impl View {
    /// Tensors in an arena start at multiples of this many elements: 256 bytes, the largest
    /// alignment that WebGPU lets a device ask of a storage binding.
    pub fn alignment(element: ElementType) -> usize {
        256 / element.bytes()
    }

    /// First byte in the arena.
    pub fn byte_offset(&self) -> u64 {
        (self.offset * self.of.element.bytes()) as u64
    }

    /// Elements that a tensor takes in an arena, those up to the next one included.
    pub fn room(of: TensorType) -> usize {
        of.physical_elements().next_multiple_of(Self::alignment(of.element))
    }
}

display!("view", View { offset });

display!("pack", Pack);

/// Positions in the arena of a tensor's elements, in row-major order.
fn positions(offset: usize, of: TensorType) -> impl Iterator<Item = usize> {
    let (columns, pitch) = (of.shape.last(), of.pitch());
    (0..of.rows()).flat_map(move |row| (0..columns).map(move |c| offset + row * pitch + c))
}

/// Checks that a tensor of type `of` may lie at `offset` of `arena`.
fn check_place(
    check: Check,
    offset: usize,
    of: TensorType,
    arena: TensorType,
) -> Result<(), ShapeError> {
    let (end, elements) = (offset.checked_add(of.physical_elements()), arena.shape.elements());
    Err(check.conflict(if of.element != arena.element {
        format!("the arena holds {}, not {of}", arena.element)
    } else if !offset.is_multiple_of(View::alignment(of.element)) {
        format!("offset {offset} is not a multiple of {}", View::alignment(of.element))
    } else if end.is_none_or(|end| end > elements) {
        format!("{of} at {offset} passes the arena's end at {elements}")
    } else {
        return Ok(());
    }))
}

impl Operator for View {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [arena] = check.operands()?;
        check.floats("arena", arena)?;
        check.that(arena.shape.len() == 1, "arena", "[elements]", arena)?;
        check_place(check, self.offset, self.of, arena)?;
        Ok(vec![self.of])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let data = positions(self.offset, self.of).map(|i| inputs[0].data[i]).collect();
        vec![Tensor::new(self.of.shape, data)]
    }

    fn lower(&self, _: &mut Lowering, _: &Equation) -> Result<(), Error> {
        Ok(())
    }

    fn cost(&self, _: &[TensorType]) -> Cost {
        Cost::default()
    }
}

impl Operator for Pack {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        if inputs.len() != self.offsets.len() {
            return Err(check.count(self.offsets.len()));
        }
        let (mut end, arena) = (0, TensorType::f32(&[self.elements]));
        for (&offset, &of) in self.offsets.iter().zip(inputs) {
            if offset < end {
                let message = format!("operand at {offset} overlaps the one that ends at {end}");
                return Err(check.conflict(message));
            }
            check_place(check, offset, of, arena)?;
            end = offset + of.physical_elements();
        }
        Ok(vec![arena])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let mut arena = Tensor::zeros(TensorType::f32(&[self.elements]).shape);
        for (&offset, tensor) in self.offsets.iter().zip(inputs) {
            let of = TensorType::f32(&tensor.shape);
            for (position, x) in positions(offset, of).zip(&tensor.data) {
                arena.data[position] = *x;
            }
        }
        vec![arena]
    }

    fn lower(&self, _: &mut Lowering, _: &Equation) -> Result<(), Error> {
        Ok(())
    }

    fn cost(&self, _: &[TensorType]) -> Cost {
        Cost::default()
    }
}

/// Where an operand is computed in the same graph nothing runs; `tests/passes` holds whole graphs
/// with arenas against the reference. An operand that comes from outside, as here, is copied to
/// its place. There is no gap between the operands: it would keep what it held before.
pub(in crate::ops) fn cases() -> Vec<Case> {
    let (row, unit) = (|elements| Input::normal(TensorType::f32(&[elements])), UNIT);
    let pack = Pack { offsets: vec![0, unit, 3 * unit], elements: 4 * unit };
    vec![Case::new(pack, vec![row(unit), row(2 * unit), row(unit)])]
}

/// [`View::alignment`] of f32.
const UNIT: usize = 64;

/// A part of an arena whose pad lanes are zero, as in every arena; or tensors without gaps between
/// them, which would keep what they held.
pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    if dice.flip() {
        let of = dice.tensor();
        let (offset, after) = (UNIT * dice.below(9), UNIT * dice.below(9));
        let elements = offset + View::room(of) + after;
        let tensor = Input::normal(of).tensor(dice.word());
        let arena = Pack { offsets: vec![offset], elements }.reference(&[&tensor]).swap_remove(0);
        let arena = Input::values(TensorType::f32(&[elements]), arena.data);
        return Case::new(View { offset, of }, vec![arena]);
    }
    let (mut offsets, mut elements, mut inputs) = (Vec::new(), 0, Vec::new());
    for _ in 0..dice.extent(5) {
        let of = TensorType::f32(&[UNIT / 4 * dice.extent(9), dice.extent(70)]);
        offsets.push(elements);
        inputs.push(Input::normal(of));
        elements += of.physical_elements();
    }
    Case::new(Pack { offsets, elements }, inputs)
}

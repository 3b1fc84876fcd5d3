//! Tensors inside a flat arena. Parameters, their gradients and the optimizer's moments lie in
//! arenas, so that one dispatch updates them all. Both ops only say where a tensor lies: the
//! memory planner places the part inside the whole, and nothing is copied.
use crate::{
    error::{Error, ShapeError},
    graph::Equation,
    ops::{Case, Input, Lowering, Operator, display, operands},
    plan::Cost,
    reference::Tensor,
    value::{ElementType, TensorType},
};

/// The tensor of type `of` that starts at element `offset` of a flat f32 arena, in the device's
/// layout (rows padded to four).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// First element in the arena; a multiple of [`View::ALIGNMENT`].
    pub offset: usize,
    /// Type of the tensor.
    pub of: TensorType,
}

/// The flat arena that holds each operand at its offset and zeros elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pack {
    /// First element of each operand; multiples of [`View::ALIGNMENT`].
    pub offsets: Vec<usize>,
    /// Elements of the arena.
    pub elements: usize,
}

impl View {
    /// Tensors in an arena start at multiples of this many elements: 256 bytes, the largest
    /// alignment that WebGPU lets a device ask of a storage binding.
    pub const ALIGNMENT: usize = 64;
}

display!("view", View { offset });

display!("pack", Pack);

/// Positions in the arena of a tensor's elements, in row-major order.
fn positions(offset: usize, of: TensorType) -> impl Iterator<Item = usize> {
    let (columns, pitch) = (of.shape.last(), of.pitch());
    (0..of.rows()).flat_map(move |row| (0..columns).map(move |c| offset + row * pitch + c))
}

fn check(
    op: &str,
    offset: usize,
    of: TensorType,
    elements: usize,
    inputs: &[TensorType],
) -> Result<(), ShapeError> {
    let refuse = |message| Err(ShapeError::conflict(op, message, inputs));
    if of.element != ElementType::F32 {
        return refuse(format!("an arena holds f32, not {of}"));
    }
    if !offset.is_multiple_of(View::ALIGNMENT) {
        return refuse(format!("offset {offset} is not a multiple of {}", View::ALIGNMENT));
    }
    if offset.checked_add(of.physical_elements()).is_none_or(|end| end > elements) {
        return refuse(format!("{of} at {offset} passes the arena's end at {elements}"));
    }
    Ok(())
}

impl Operator for View {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let [arena] = operands("view", inputs)?;
        let elements = arena.shape.elements();
        if arena != TensorType::f32(&[elements]) {
            return Err(ShapeError::operand("view", "arena", "f32[elements]", arena, inputs));
        }
        check("view", self.offset, self.of, elements, inputs)?;
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
        if inputs.len() != self.offsets.len() {
            return Err(ShapeError::count("pack", self.offsets.len(), inputs));
        }
        let mut end = 0;
        for (&offset, &of) in self.offsets.iter().zip(inputs) {
            if offset < end {
                let message = format!("operand at {offset} overlaps the one that ends at {end}");
                return Err(ShapeError::conflict("pack", message, inputs));
            }
            check("pack", offset, of, self.elements, inputs)?;
            end = offset + of.physical_elements();
        }
        Ok(vec![TensorType::f32(&[self.elements])])
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
    let row = |elements| Input::normal(TensorType::f32(&[elements]));
    let pack = Pack {
        offsets: vec![0, View::ALIGNMENT, 3 * View::ALIGNMENT],
        elements: 4 * View::ALIGNMENT,
    };
    vec![Case::new(
        pack,
        vec![row(View::ALIGNMENT), row(2 * View::ALIGNMENT), row(View::ALIGNMENT)],
    )]
}

//! Values, shapes and types: the words every other floor uses. This module imports nothing. Above
//! 300 lines with its examples: small types that stand together.
//!
//! ```
//! use ddim::value::TensorType;
//!
//! let of = TensorType::f16(&[2, 3, 6]);
//! assert_eq!(of.to_string(), "f16[2,3,6]");
//! assert_eq!((of.rows(), of.pitch()), (6, 8));
//! assert_eq!((of.shape.elements(), of.bytes()), (36, 6 * 8 * 2));
//! ```
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    sync::atomic::{AtomicU32, Ordering},
};

/// The name of one tensor of a graph or plan: an index into its table of types.
///
/// It knows its graph, so that a value of another graph is an error wherever one is given. Copies
/// of a graph, and the plan compiled from it, know the same values. Nothing that is printed or
/// hashed into a plan depends on which graph it is.
///
/// Example: [`crate::graph::Graph`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value {
    index: u32,
    graph: GraphId,
}

/// Identity of a graph. Its copies and its plans share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct GraphId(u32);

impl GraphId {
    /// Plans that measure a device and come from no graph.
    pub const MEASURE: Self = Self(u32::MAX);

    /// A new identity. The numbers repeat after 2^32 graphs.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl Value {
    /// The value at `index` of its graph's table of types.
    ///
    /// # Panics
    /// If `index` does not fit 32 bits.
    pub(crate) fn new(graph: GraphId, index: usize) -> Self {
        Self { index: u32::try_from(index).expect("a graph has fewer than 2^32 values"), graph }
    }

    /// Position in the table of types.
    pub fn index(self) -> usize {
        self.index as usize
    }

    /// Its graph.
    pub(crate) fn graph_id(self) -> GraphId {
        self.graph
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.index)
    }
}

/// How an element is stored. Arithmetic is f32 whatever the storage, unless the caller allows
/// [more](crate::plan::Arithmetic).
///
/// Example: [`TensorType`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum ElementType {
    /// 32-bit float.
    #[default]
    F32,
    /// 16-bit float (IEEE half).
    F16,
    /// The upper half of an f32: 8 bits of exponent, 7 of significand.
    Bf16,
    /// 32-bit unsigned integer: timesteps, labels, counters.
    U32,
}

impl ElementType {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 | Self::U32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::U32 => "u32",
        })
    }
}

/// Extents of up to five axes, the innermost last. A scalar is `[1]`.
///
/// ```
/// use ddim::value::Shape;
///
/// let shape = Shape::new(&[8, 32, 32, 3]);
/// assert_eq!((shape.len(), shape[0], shape.last()), (4, 8, 3));
/// assert_eq!((shape.rows(), shape.elements()), (8 * 32 * 32, 8 * 32 * 32 * 3));
/// assert_eq!(shape.to_string(), "[8,32,32,3]");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    rank: usize,
    extents: [usize; Self::MAX_RANK],
}

impl Shape {
    /// The most axes that a shape may have.
    pub const MAX_RANK: usize = 5;

    /// The shape with these extents.
    ///
    /// # Panics
    /// If there are none, or more than [`Shape::MAX_RANK`].
    pub fn new(extents: &[usize]) -> Self {
        assert!(
            (1..=Self::MAX_RANK).contains(&extents.len()),
            "a shape has 1 to 5 axes, not {}",
            extents.len()
        );
        let mut shape = Self { rank: extents.len(), extents: [0; Self::MAX_RANK] };
        shape.extents[..extents.len()].copy_from_slice(extents);
        shape
    }

    /// Number of elements; `usize::MAX` where that is passed.
    pub fn elements(&self) -> usize {
        self.rows().saturating_mul(self.last())
    }

    /// Extent of the innermost axis.
    pub fn last(&self) -> usize {
        self[self.rank - 1]
    }

    /// Product of all extents but the innermost; `usize::MAX` where that is passed.
    pub fn rows(&self) -> usize {
        self[..self.rank - 1].iter().fold(1, |rows, &extent| rows.saturating_mul(extent))
    }
}

impl std::ops::Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.extents[..self.rank]
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (axis, extent) in self.iter().enumerate() {
            write!(f, "{}{extent}", if axis == 0 { "" } else { "," })?;
        }
        f.write_str("]")
    }
}

/// Shape and storage of a tensor.
///
/// On the device the innermost axis is padded with zeros to a multiple of 4, so that every
/// kernel reads whole `vec4`s; files and callers' slices are dense.
///
/// ```
/// use ddim::value::{ElementType, TensorType};
///
/// let of = TensorType::f32(&[32, 32, 3]);
/// assert_eq!((of.pitch(), of.bytes()), (4, 32 * 32 * 4 * 4));
/// let half = of.with_element(ElementType::Bf16);
/// assert_eq!((half.to_string(), half.bytes()), ("bf16[32,32,3]".to_owned(), 32 * 32 * 4 * 2));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// Logical extents.
    pub shape: Shape,
    /// Storage of one element.
    pub element: ElementType,
}

impl TensorType {
    /// The most elements that a tensor may have, pad lanes included: kernels count in 32 bits.
    pub const MAX_ELEMENTS: usize = u32::MAX as usize;

    /// Whether kernels can compute with such a tensor: no extent is 0, and the elements, pad lanes
    /// included, are at most [`TensorType::MAX_ELEMENTS`]. Every operand and result of an equation
    /// is held to this.
    pub fn is_countable(&self) -> bool {
        !self.shape.contains(&0) && self.physical_elements() <= Self::MAX_ELEMENTS
    }

    /// A tensor of 32-bit floats.
    pub fn f32(extents: &[usize]) -> Self {
        Self { shape: Shape::new(extents), element: ElementType::F32 }
    }

    /// A tensor of 16-bit floats.
    pub fn f16(extents: &[usize]) -> Self {
        Self { shape: Shape::new(extents), element: ElementType::F16 }
    }

    /// A tensor of 32-bit unsigned integers.
    pub fn u32(extents: &[usize]) -> Self {
        Self { shape: Shape::new(extents), element: ElementType::U32 }
    }

    /// The same storage with other extents.
    pub fn with_shape(self, extents: &[usize]) -> Self {
        Self { shape: Shape::new(extents), ..self }
    }

    /// The same axes but for the extent of the innermost.
    pub(crate) fn with_last(self, extent: usize) -> Self {
        self.with_extent(self.shape.len() - 1, extent)
    }

    /// The same axes but for the extent of one.
    pub(crate) fn with_extent(self, axis: usize, extent: usize) -> Self {
        let mut extents = self.shape.to_vec();
        extents[axis] = extent;
        self.with_shape(&extents)
    }

    /// The same shape in another storage.
    pub fn with_element(self, element: ElementType) -> Self {
        Self { element, ..self }
    }

    /// Elements from one row to the next on the device: the innermost extent, rounded up to 4.
    pub fn pitch(&self) -> usize {
        self.shape.last().checked_next_multiple_of(4).unwrap_or(usize::MAX)
    }

    /// Product of all extents but the innermost.
    pub fn rows(&self) -> usize {
        self.shape.rows()
    }

    /// Elements on the device, pad lanes included.
    pub fn physical_elements(&self) -> usize {
        self.rows().saturating_mul(self.pitch())
    }

    /// `vec4`s on the device.
    pub fn vectors(&self) -> usize {
        self.physical_elements() / 4
    }

    /// Bytes on the device, pad lanes included.
    pub fn bytes(&self) -> u64 {
        (self.physical_elements() as u64).saturating_mul(self.element.bytes() as u64)
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.element, self.shape)
    }
}

/// A floating-point constant inside an op: compared and hashed by its bits, so that ops are
/// plain values that common-subexpression elimination may compare.
///
/// ```
/// use ddim::{ops::Scale, value::Float};
///
/// let half = Scale { scale: 0.5.into(), shift: 0.0.into() };
/// assert_eq!(half.scale, Float::from(0.5));
/// assert_eq!(half.scale.get(), 0.5);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Float(u64);

impl Float {
    /// The number.
    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl From<f64> for Float {
    fn from(number: f64) -> Self {
        Self(number.to_bits())
    }
}

impl fmt::Display for Float {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.get();
        if number != 0.0 && !(1e-3..1e6).contains(&number.abs()) {
            write!(f, "{number:e}")
        } else {
            write!(f, "{number}")
        }
    }
}

/// Prints a type for people where it is printed for debugging.
macro_rules! debug_as_display {
    ($($of:ty),+) => {
        $(impl fmt::Debug for $of {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        })+
    };
}

debug_as_display!(Value, Shape, TensorType, Float);

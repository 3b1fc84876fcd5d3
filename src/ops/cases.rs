//! Cases as data: each op's file lists its own.
use super::{Op, Operator};
use crate::{
    error::Error,
    graph::Graph,
    plan::Arithmetic,
    reference::Tensor,
    value::{ElementType, TensorType, Value},
};

/// More images than an axis of a grid has workgroups.
pub(super) const MANY_IMAGES: usize = 70_000;

/// Elements of an operand that only long loops need.
const LONG: usize = 200_000;

/// What an operand of a case is filled with.
///
/// Example: [`Input`].
#[derive(Clone, Debug, PartialEq)]
pub enum Fill {
    /// Normal numbers.
    Normal {
        /// Their mean.
        mean: f64,
        /// Their standard deviation.
        deviation: f64,
    },
    /// Uniform numbers in `[low, high)`.
    Uniform {
        /// Lower end.
        low: f64,
        /// Upper end.
        high: f64,
    },
    /// Integers below this one.
    Below(u32),
    /// These numbers.
    Values(Vec<f64>),
}

/// An operand of a case.
///
/// ```
/// use ddim::{ops::{Fill, Input}, value::TensorType};
///
/// let given = Input::values(TensorType::f16(&[2]), vec![1.0, 0.1]);
/// assert_eq!(given.tensor(0).data, [1.0, 0.0999755859375]);
/// let drawn = Input::below(TensorType::u32(&[1000]), 10);
/// assert_eq!(drawn.fill, Fill::Below(10));
/// assert_eq!(drawn.tensor(7), drawn.tensor(7));
/// assert_ne!(drawn.tensor(7), drawn.tensor(8));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Its type.
    pub of: TensorType,
    /// Its contents.
    pub fill: Fill,
}

impl Input {
    /// Standard normal numbers.
    pub fn normal(of: TensorType) -> Self {
        Self::shifted(of, 0.0, 1.0)
    }

    /// Normal numbers of this mean and standard deviation.
    pub fn shifted(of: TensorType, mean: f64, deviation: f64) -> Self {
        Self { of, fill: Fill::Normal { mean, deviation } }
    }

    /// Uniform numbers in `[low, high)`.
    pub fn uniform(of: TensorType, low: f64, high: f64) -> Self {
        Self { of, fill: Fill::Uniform { low, high } }
    }

    /// Integers in `0..limit`.
    pub fn below(of: TensorType, limit: u32) -> Self {
        Self { of, fill: Fill::Below(limit) }
    }

    /// Four numbers: a row of rates, or what `GlobalNorm` gives.
    pub(super) fn row(numbers: [f64; 4]) -> Self {
        Self::values(TensorType::f32(&[4]), numbers.into())
    }

    /// Given numbers, in row-major order.
    pub fn values(of: TensorType, values: Vec<f64>) -> Self {
        Self { of, fill: Fill::Values(values) }
    }

    /// The operand, rounded to its storage type; the same for the same `seed`.
    pub fn tensor(&self, seed: u64) -> Tensor {
        let mut state = seed;
        let mut uniform = move || {
            // SplitMix64 (Steele, Lea, Flood 2014).
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
        };
        let data = match &self.fill {
            Fill::Values(values) => values.clone(),
            fill => (0..self.of.shape.elements())
                .map(|_| match *fill {
                    Fill::Normal { mean, deviation } => {
                        let radius = (-2.0 * (1.0 - uniform()).ln()).sqrt();
                        mean + deviation * radius * (std::f64::consts::TAU * uniform()).cos()
                    }
                    Fill::Uniform { low, high } => low + (high - low) * uniform(),
                    Fill::Below(limit) => (uniform() * f64::from(limit)).floor(),
                    Fill::Values(_) => unreachable!("handled above"),
                })
                .collect(),
        };
        let element = self.of.element;
        Tensor::new(self.of.shape, data).map(|x| match element {
            ElementType::F16 => half::f16::from_f64(x).to_f64(),
            ElementType::Bf16 => half::bf16::from_f64(x).to_f64(),
            ElementType::F32 | ElementType::U32 => f64::from(x as f32),
        })
    }
}

/// An op with operands: checked on the GPU against the reference, its gradient against central
/// differences, and timed.
///
/// ```
/// use ddim::{ops::{Case, Input, Linear}, value::TensorType};
///
/// let [x, weight] = [[2, 3], [3, 4]].map(|of| Input::normal(TensorType::f32(&of)));
/// let case = Case::new(Linear, vec![x, weight]).terms(3).half(&[0, 1]);
/// assert_eq!(case.title(), "linear f32[2,3] f32[3,4]");
/// assert_eq!(case.output_types()?, [TensorType::f32(&[2, 4])]);
/// // As it is, in f16 and in bf16.
/// assert_eq!(case.storages().count(), 3);
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Case {
    /// The op.
    pub op: Op,
    /// Its operands.
    pub inputs: Vec<Input>,
    /// Length of the longest sum behind one output element; decides the tolerance.
    pub terms: usize,
    /// Operands that may be stored as f16 or bf16, all together.
    pub half: &'static [usize],
    /// Operands that say which numbers are taken: rows of a table, places, what is drawn. Of numbers
    /// there that are not finite nothing is promised.
    pub selecting: &'static [usize],
    note: String,
}

impl Case {
    /// A case of one-term sums, f32 only.
    pub fn new(op: impl Into<Op>, inputs: Vec<Input>) -> Self {
        Self { op: op.into(), inputs, terms: 1, half: &[], selecting: &[], note: String::new() }
    }

    /// Sets the length of the longest sum behind one output element.
    pub fn terms(self, terms: usize) -> Self {
        Self { terms, ..self }
    }

    /// Says which operands may be stored as f16 or bf16; the case is then run so as well.
    pub fn half(self, operands: &'static [usize]) -> Self {
        Self { half: operands, ..self }
    }

    /// Says which operands select.
    pub fn selecting(self, operands: &'static [usize]) -> Self {
        Self { selecting: operands, ..self }
    }

    /// Says what is special about the case.
    pub fn name(self, note: &str) -> Self {
        Self { note: note.to_owned(), ..self }
    }

    /// The same case with the operands listed in [`Case::half`] stored as `element`.
    pub fn stored_as(mut self, element: ElementType) -> Self {
        for &operand in self.half {
            self.inputs[operand].of.element = element;
        }
        self
    }

    /// Whether an operand has so many numbers that the case is there for the length of its loops.
    fn is_long(&self) -> bool {
        self.inputs.iter().any(|input| input.of.shape.elements() > LONG)
    }

    /// Whether the case stays in an op's table: of long ones the form of each op that may be stored in halves is enough, for
    /// a bias or a residual changes no loop.
    pub(super) fn is_short_or_stored_in_halves(&self) -> bool {
        !self.is_long() || !self.half.is_empty()
    }

    /// The case in every storage that it may have. A long one stays as it is: no storage changes its loops.
    pub fn storages(self) -> impl Iterator<Item = Self> {
        let halves = match self.half {
            [] => &[][..],
            _ if self.is_long() => &[],
            _ => &[ElementType::F16, ElementType::Bf16],
        };
        let stored = halves.iter().map(|&half| self.clone().stored_as(half)).collect::<Vec<_>>();
        [self].into_iter().chain(stored)
    }

    /// Types of the operands.
    pub fn types(&self) -> Vec<TensorType> {
        self.inputs.iter().map(|input| input.of).collect()
    }

    /// Op, operands and what is special, in one line.
    pub fn title(&self) -> String {
        let types: Vec<String> = self.inputs.iter().map(|i| i.of.to_string()).collect();
        let note = if self.note.is_empty() { String::new() } else { format!(" ({})", self.note) };
        format!("{} {}{note}", self.op, types.join(" "))
    }

    /// The operands' contents.
    pub fn tensors(&self) -> Vec<Tensor> {
        let seeds = 1_u64..;
        self.inputs.iter().zip(seeds).map(|(input, seed)| input.tensor(seed * 7919)).collect()
    }

    /// Bound on `|got - want|` for an element of output `y` of type `of`: one rounding to the
    /// storage type, and f32 sums of [`Case::terms`] terms whose errors add like a random walk.
    pub fn tolerance(&self, of: TensorType, want: f64, max_abs: f64) -> f64 {
        let storage = match of.element {
            ElementType::F16 => 2_f64.powi(-11),
            ElementType::Bf16 => 2_f64.powi(-8),
            ElementType::F32 | ElementType::U32 => 2_f64.powi(-24),
        };
        // The smallest normal f16 is 2^-14: below it the spacing no longer shrinks.
        let floor = if of.element == ElementType::F16 { 2_f64.powi(-25) } else { 0.0 };
        storage * want.abs() + floor + self.roundings(max_abs.max(self.op.scale()))
    }

    /// The same where products are computed in these numbers. In f16 each of n terms rounds a partial sum of at most
    /// k = 16 of them, which is sqrt(k / n) of the result's size, by at most 2^-11 of it. These n errors add like a random
    /// walk, to sqrt(k) x 2^-11 of the result's size; four times that are allowed. The rounding of an input that is
    /// normalized as it is read is less than one of the k.
    pub fn tolerance_in(
        &self,
        arithmetic: Arithmetic,
        of: TensorType,
        want: f64,
        max_abs: f64,
    ) -> f64 {
        let products = match arithmetic {
            Arithmetic::F32 => 0.0,
            Arithmetic::Mixed => 4.0 * 2_f64.powi(-11) * (self.terms.min(16) as f64).sqrt(),
        };
        self.tolerance(of, want, max_abs) + products * max_abs.max(self.op.scale())
    }

    /// What the roundings of [`Case::terms`] terms of this size add up to.
    pub(crate) fn roundings(&self, size: f64) -> f64 {
        4.0 * f64::from(f32::EPSILON) * (self.terms as f64).sqrt() * size
    }

    /// The op alone, as a graph: inputs and outputs are its own.
    ///
    /// # Errors
    /// If the case's operands do not fit its op.
    pub fn graph(&self) -> Result<Graph, Error> {
        let mut graph = Graph::new();
        let inputs: Vec<Value> = self.inputs.iter().map(|input| graph.input(input.of)).collect();
        graph.outputs = graph.push_all(self.op.clone(), &inputs)?;
        Ok(graph)
    }

    /// Types of the outputs.
    ///
    /// # Errors
    /// If the case's operands do not fit its op.
    pub fn output_types(&self) -> Result<Vec<TensorType>, crate::error::ShapeError> {
        self.op.infer(&self.types())
    }
}

//! One step of any sampler, fused: Song et al. 2021, eq. 12; with other coefficients the ancestral
//! step of Ho et al. 2020, eq. 7, and the rest.
use crate::{
    ops::{
        kit::random::Images,
        prelude::*,
        sampling::{
            row::{SamplingRow, check_output, random_row, row_input},
            step_reference::reference,
        },
    },
    shaders::{sampling_step as shader, shared::coefficients::Coefficients},
};
use std::fmt;

/// Updates `x f32[batch, .., channels]` where it lies, from the network's `output`:
///
/// ```text
/// x0 = clamp(u x + v output, -clip, clip)
/// x' = a x0 + b output + c x + sum_k m_k memory_k + sigma noise
/// memory_slot' = d x0 + e output + f x + sum_k n_k memory_k
/// ```
///
/// Operands: `x`, `output`, `row f32[24] = (timestep, u, v, clip), (a, b, c, sigma), (d, e, f, slot),
/// (low, high, adaptive, g), (m_0, .., m_3), (n_0, .., n_3)`, `key u32[8]`, and those that the fields
/// name, in their order. A slot below 0 keeps nothing.
/// Outputs: `x'`, `key'`, and `memory'` if there is one.
///
/// A number that is not finite in `x`, `output`, a `memory_k` whose weights are not 0, `x'` or
/// `memory'` makes the step the `bad_step` of the key, unless it has one, a [`Counter`], and its
/// part one of the `bad_parts`. Clamping leaves NaN as it is.
///
/// An `output` with twice the channels of `x` also gives the noise: its second half, `s` from -1
/// to 1, makes the deviation `sigma exp(low + (s + 1) / 2 (high - low))`: Nichol and Dhariwal
/// 2021, eq. 15.
///
/// ```
/// use ddim::ops::{Counter, Operator, SamplingRow, SamplingStep};
/// use ddim::{reference::Tensor, value::Shape};
///
/// let mut row = Tensor::zeros(Shape::new(&[SamplingRow::COLUMNS]));
/// row.data[1..6].copy_from_slice(&[2.0, -1.0, 1.0, 0.5, 0.25]); // u, v, clip, a, b
/// let [x, output] = [1.0, 0.5].map(|number| Tensor::new(Shape::new(&[1, 1]), vec![number]));
/// let key = Tensor::zeros(Counter::of().shape);
/// let next = SamplingStep::new(1).reference(&[&x, &output, &row, &key]);
/// // x0 = 2 * 1 - 0.5 is clamped to 1.
/// assert_eq!(next[0].data, [0.5 * 1.0 + 0.25 * 0.5]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SamplingStep {
    /// Which of the sampler's random streams.
    pub stream: u32,
    /// How many tensors steps keep for later ones, at most 4: `memory` has the type of `x` with so
    /// many times its first extent.
    pub memories: usize,
    /// Whether the noise is an operand of the type of `x`; otherwise the kernel draws it.
    pub given_noise: bool,
    /// Whether there is a `bound f32[batch]` for `x0`, which is then divided by it.
    pub bounded: bool,
    /// Whether there is a `size f32[batch]`: in rows that are adaptive, the weight of the output is
    /// multiplied by it and that of the noise by its root.
    pub sized: bool,
}

impl SamplingStep {
    /// The most tensors that steps can keep.
    pub const MOST_MEMORIES: usize = 4;

    /// Bit of [`Counter::bad_parts`]: `x`, as the step found it.
    pub const BAD_SAMPLE: u32 = 1;
    /// Bit of [`Counter::bad_parts`]: the network's output.
    pub const BAD_OUTPUT: u32 = 2;
    /// Bit of [`Counter::bad_parts`]: `memory`, as the step found it.
    pub const BAD_MEMORY: u32 = 4;
    /// Bit of [`Counter::bad_parts`]: `x'` or `memory'`.
    pub const BAD_RESULT: u32 = 8;
    /// Bit of [`Counter::bad_parts`]: the gradient of a
    /// [`ClassifierShift`](crate::ops::ClassifierShift).
    pub const BAD_GRADIENT: u32 = 16;

    /// A step that draws its noise and has nothing else.
    pub fn new(stream: u32) -> Self {
        Self { stream, memories: 0, given_noise: false, bounded: false, sized: false }
    }

    fn parts<T: Copy>(&self, inputs: &[T]) -> Result<Parts<T>, usize> {
        let mut rest = inputs.iter().copied().skip(4);
        let flags = [self.memories > 0, self.given_noise, self.bounded, self.sized];
        let wanted = 4 + flags.map(usize::from).iter().sum::<usize>();
        if inputs.len() != wanted {
            return Err(wanted);
        }
        let [memory, noise, bound, size] =
            flags.map(|there| if there { rest.next() } else { None });
        Ok(Parts { memory, noise, bound, size })
    }
}

/// The operands after the first four.
pub(super) struct Parts<T> {
    pub memory: Option<T>,
    pub noise: Option<T>,
    pub bound: Option<T>,
    pub size: Option<T>,
}

impl fmt::Display for SamplingStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sampling_step{{stream={}", self.stream)?;
        if self.memories > 0 {
            write!(f, " memories={}", self.memories)?;
        }
        let parts = [(self.given_noise, "noise"), (self.bounded, "bound"), (self.sized, "size")];
        for (_, name) in parts.into_iter().filter(|(there, _)| *there) {
            write!(f, " {name}")?;
        }
        f.write_str("}")
    }
}

impl Operator for SamplingStep {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let parts = self.parts(inputs).map_err(|wanted| check.count(wanted))?;
        let [x, output, row, key] = [inputs[0], inputs[1], inputs[2], inputs[3]];
        check_output(check, x, output, row)?;
        check.key(key)?;
        let each = TensorType::f32(&x.shape[..1]);
        let fits = self.memories <= Self::MOST_MEMORIES;
        check.that(fits, "memories", format!("at most {}", Self::MOST_MEMORIES), self.memories)?;
        let memory = x.with_extent(0, x.shape[0] * self.memories.max(1));
        for (name, found, expected) in [
            ("memory", parts.memory, memory),
            ("noise", parts.noise, x),
            ("bound", parts.bound, each),
            ("size", parts.size, each),
        ] {
            found.map_or(Ok(()), |found| check.is(name, found, expected))?;
        }
        Ok([x, key].into_iter().chain(parts.memory).collect())
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let Ok(parts) = self.parts(inputs) else { unreachable!("as many operands as infer found") };
        reference(self, inputs, parts)
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let Ok(parts) = self.parts(&equation.inputs) else {
            unreachable!("as many operands as infer found")
        };
        let (of, output) = (equation.outputs[0], equation.inputs[1]);
        let (of, wide) = (lowering.type_of(of), lowering.type_of(output));
        let overrides =
            shader::Overrides { is_wide: wide.shape != of.shape, ..shader::Overrides::default() };
        let Images { batch, vectors, channels, channels4, grid } =
            Images::new(of, overrides.workgroup);
        let params = shader::Params {
            batch,
            vectors,
            channels,
            channels4,
            stream: self.stream,
            output_channels4: wide.pitch() as u32 / 4,
            memories: self.memories as u32,
        };
        let kernel = shader::Forward {
            row: equation.inputs[2],
            key: equation.outputs[1],
            output,
            noise: parts.noise,
            bound: parts.bound,
            size: parts.size,
            memory: equation.outputs.get(2).copied(),
            x: equation.outputs[0],
        };
        Ok(lowering.push(kernel.dispatch(params, overrides, grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(12, inputs, &self.infer(inputs).unwrap_or_default())
    }

    fn in_place(&self) -> &[(usize, usize)] {
        if self.memories > 0 { &[(0, 0), (1, 3), (2, 4)] } else { &[(0, 0), (1, 3)] }
    }
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let row = |clip, next_x, sigma, adaptive| {
        row_input(Coefficients {
            timestep: 500.0,
            image_x: 1.6,
            image_output: -1.3,
            clip,
            next_x0: 0.7,
            next_output: 0.6,
            next_x,
            sigma,
            kept_x0: 0.3,
            kept_output: -0.2,
            kept_x: 0.9,
            slot: 0.0,
            least_log_deviation: -0.8,
            largest_log_deviation: 0.4,
            adaptive,
            recalled_0: 0.5,
            carried_2: -0.4,
            ..Coefficients::read(&[0.0; SamplingRow::COLUMNS])
        })
    };
    let drawn = SamplingStep::new(1);
    let mut all = Vec::new();
    for shape in [&[2, 7, 5, 3][..], &[1, 8, 8, 1], &[3, 16, 16, 4]] {
        let x = TensorType::f32(shape);
        let each = Input::uniform(TensorType::f32(&shape[..1]), 0.5, 2.0);
        let more = |output, row, more: &[&Input]| {
            let first = [Input::normal(x), Input::normal(output), row, example_key()];
            first.into_iter().chain(more.iter().copied().cloned()).collect::<Vec<_>>()
        };
        let operands = |row| more(x, row, &[]);
        let like = Input::normal(x);
        let given = SamplingStep { given_noise: true, ..drawn };
        let memory = SamplingStep { memories: 1, ..drawn };
        let kept = Input::normal(x.with_extent(0, 3 * x.shape[0]));
        let sized = SamplingStep { sized: true, ..drawn };
        let full =
            SamplingStep { memories: 3, given_noise: true, bounded: true, sized: true, ..drawn };
        let ancestral = row(1e30, 0.4, 0.3, 0.0);
        all.extend([
            Case::new(drawn, operands(row(1.0, 0.0, 0.0, 0.0))).terms(4).half(&[1]).name("eta 0"),
            Case::new(drawn, operands(row(1.0, 0.0, 0.3, 0.0))).terms(4).half(&[1]).name("drawn"),
            Case::new(drawn, operands(ancestral.clone())).terms(4).name("ancestral"),
            Case::new(drawn, more(x.with_last(2 * x.shape.last()), ancestral.clone(), &[]))
                .terms(16)
                .name("learned"),
            Case::new(given, more(x, row(1.0, 0.0, 0.3, 0.0), &[&like])).terms(4).half(&[1]),
            Case::new(memory, more(x, ancestral, &[&like])).terms(5).half(&[1]),
            Case::new(sized, more(x, row(1.0, 1.0, 0.3, 1.0), &[&each])).terms(5).name("adaptive"),
            Case::new(sized, more(x, row(1.0, 1.0, 0.3, 0.0), &[&each])).terms(5).name("fixed"),
            Case::new(full, more(x, row(0.7, 0.2, 0.3, 1.0), &[&kept, &like, &each, &each]))
                .terms(6)
                .half(&[1]),
        ]);
    }
    all
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    let [given_noise, bounded, sized] = [(); 3].map(|()| dice.flip());
    let memories = dice.below(SamplingStep::MOST_MEMORIES + 1);
    let op = SamplingStep { stream: 1, memories, given_noise, bounded, sized };
    let x = dice.image();
    let output = if dice.flip() { x.with_last(2 * x.shape.last()) } else { x };
    let (like, each) = (Input::normal(x), Input::uniform(TensorType::f32(&x.shape[..1]), 0.5, 2.0));
    let mut operands = vec![like.clone(), Input::normal(output), random_row(dice), dice.key()];
    let kept = Input::normal(x.with_extent(0, x.shape[0] * memories.max(1)));
    let more = [(memories > 0, &kept), (given_noise, &like), (bounded, &each), (sized, &each)];
    operands.extend(more.into_iter().filter(|(there, _)| *there).map(|(_, of)| of.clone()));
    Case::new(op, operands).terms(16).half(&[1])
}

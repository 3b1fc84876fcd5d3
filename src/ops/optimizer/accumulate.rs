//! What the micro-batches of a step add up to.
use crate::{
    ops::{View, prelude::*},
    shaders::accumulate as shader,
};

/// Adds `scale x` to a sum where it lies; operands `sum` and `x` of one f32 type, and `key u32[8]`. Where
/// the key begins below image `round`, the sum begins: it becomes `scale x`, whatever it was. A flat `x` may be
/// shorter than a flat sum: it is added to a part of it.
///
/// ```
/// use ddim::{ops::{Accumulate, Counter, Operator}, reference::Tensor, value::Shape};
///
/// let tensor = |data: &[f64]| Tensor::new(Shape::new(&[data.len()]), data.to_vec());
/// let key = |first_image| {
///     tensor(&Counter { first_image, ..Counter::default() }.words().map(f64::from))
/// };
/// // A step of two micro-batches of four images.
/// let mean = Accumulate { scale: 0.5.into(), round: 4, offset: 0 };
/// let first = &mean.reference(&[&tensor(&[9.0]), &tensor(&[2.0]), &key(0)])[0];
/// assert_eq!(first.data, [1.0]);
/// assert_eq!(mean.reference(&[first, &tensor(&[6.0]), &key(4)])[0].data, [4.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Accumulate {
    /// What is added is multiplied by this: one over the number of micro-batches gives their mean.
    pub scale: Float,
    /// Images of the first micro-batches of all ranks.
    pub round: u32,
    /// The first element of the sum that is added to, a multiple of 64.
    pub offset: usize,
}

display!("accumulate", Accumulate { scale, round, offset });

impl Operator for Accumulate {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [sum, x, key] = check.operands()?;
        check.that(sum == TensorType::f32(&sum.shape), "sum", "f32", sum)?;
        if self.offset > 0 || x != sum {
            let flat = x.shape.len() == 1 && x.shape.last().is_multiple_of(4);
            check.that(flat, "x", format!("{sum}, or a part of it in whole vectors"), x)?;
            View { offset: self.offset, of: x }.infer(&[sum])?;
        }
        check.key(key)?;
        Ok(vec![sum])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let begins = Counter::read(inputs[2]).first_image < self.round;
        let mut sum = inputs[0].clone();
        for (sum, x) in sum.data[self.offset..].iter_mut().zip(&inputs[1].data) {
            *sum = if begins { 0.0 } else { *sum } + self.scale.get() * x;
        }
        vec![sum]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [_, x, key] = fitted(&equation.inputs);
        let (mut sum, of) = (equation.outputs[0], lowering.type_of(x));
        if of != lowering.type_of(sum) {
            sum = lowering.part(sum, of, View { offset: self.offset, of }.byte_offset());
        }
        let vectors = of.vectors();
        let params = shader::Params {
            vectors: vectors as u32,
            scale: self.scale.get() as f32,
            round: self.round,
        };
        Ok(lowering.push(shader::Forward { x, key, sum }.over(params, vectors))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        let x = inputs[1];
        elementwise_cost(2, &[x, x], &[x])
    }

    fn in_place(&self) -> &[(usize, usize)] {
        &[(0, 0)]
    }
}

fn case(of: TensorType, scale: f64, round: u32, key: Input) -> Case {
    let op = Accumulate { scale: scale.into(), round, offset: 0 };
    Case::new(op, vec![Input::normal(of), Input::normal(of), key]).terms(2)
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let begins = Counter { seed: 7, step: 2, ..Counter::default() }.input();
    let (arena, loss) = (TensorType::f32(&[1000]), TensorType::f32(&[1]));
    let part = |round| {
        let op = Accumulate { scale: 0.25.into(), round, offset: 128 };
        let x = Input::normal(TensorType::f32(&[500]));
        Case::new(op, vec![Input::normal(arena), x, example_key()]).terms(2)
    };
    vec![
        // The key begins at image 2.
        case(arena, 0.25, 2, example_key()),
        case(loss, 1.0, 1, example_key()),
        case(arena, 0.5, 1, begins).name("first micro-batch"),
        case(arena, 0.5, 3, example_key()).name("first micro-batch of another rank"),
        part(2).name("a part of the sum"),
        part(3).name("first micro-batch, a part of the sum"),
    ]
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    let round = dice.below(1 << 20) as u32;
    case(dice.tensor(), dice.float(-2.0, 2.0), round, dice.counter())
}

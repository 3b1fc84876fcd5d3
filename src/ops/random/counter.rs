//! The end of a step or of a micro-batch: the counter moves on, the step's numbers go to the host's history.
use crate::{ops::prelude::*, shaders::counter as shader};

/// Ends a step, in place: `counter u32[8]`, `key u32[8]` and, if `guarded`, `norm f32[4]` of
/// [`GlobalNorm`](crate::ops::GlobalNorm) give the next counter. A bad step is recorded instead, unless
/// the `tally f32[4]` of [`NextScale`](crate::ops::NextScale), which may come last, says that it is skipped.
/// The number of the first image stays the counter's own.
///
/// ```
/// use ddim::{ops::{Advance, Counter, NextImages, Operator}, reference::Tensor};
///
/// let tensor = |counter: Counter| {
///     Tensor::new(Counter::of().shape, counter.words().map(f64::from).into())
/// };
/// let counter = Counter { seed: 7, step: 2, ..Counter::default() };
/// let key = tensor(counter);
/// let next = &Advance { guarded: false }.reference(&[&key, &key])[0];
/// assert_eq!(*next, tensor(Counter { step: 3, ..counter }));
/// let next = &NextImages { images: 4, step_images: 16 }.reference(&[&key, &key])[0];
/// assert_eq!(*next, tensor(Counter { first_image: 4, ..counter }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Advance {
    /// Whether the norm comes next, and perhaps the tally.
    pub guarded: bool,
}

/// Ends a micro-batch, in place: the next one begins `images` further, and after the last one of a step of
/// `step_images` at image 0 again; operands `counter u32[8]` and `key u32[8]`.
///
/// Example: [`Advance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NextImages {
    /// Images of the micro-batch.
    pub images: u32,
    /// Images of the step.
    pub step_images: u32,
}

/// Keeps a step's numbers for the host, in place: row `step % capacity` of
/// `history f32[capacity, 4]` becomes (loss, norm, scale, good); operands `history`, `key u32[8]`,
/// `loss f32[1]`, `norm f32[4]` and perhaps `loss_scale f32[1]`, which then takes the place of the scale. After
/// a bad step the row stays the bad step's.
///
/// ```
/// use ddim::{ops::{Counter, Operator, Record}, reference::Tensor, value::Shape};
///
/// let (history, key) = (Tensor::zeros(Shape::new(&[1, 4])), Tensor::zeros(Counter::of().shape));
/// let loss = Tensor::new(Shape::new(&[1]), vec![0.25]);
/// let norm = Tensor::new(Shape::new(&[4]), vec![3.0, 0.5, 1.0, 0.0]);
/// let history = Record.reference(&[&history, &key, &loss, &norm]);
/// assert_eq!(history[0].data, [0.25, 3.0, 0.5, 1.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Record;

display!("advance", Advance { guarded });

display!("next_images", NextImages { images, step_images });

display!("record", Record);

impl Operator for Advance {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [counter, key] = match *inputs {
            [counter, key, ref told @ ..] if self.guarded && (1..=2).contains(&told.len()) => {
                for (name, &told) in ["norm", "tally"].into_iter().zip(told) {
                    check.is(name, told, TensorType::f32(&[4]))?;
                }
                [counter, key]
            }
            [counter, key] if !self.guarded => [counter, key],
            _ => return Err(check.count(if self.guarded { "3 or 4" } else { "2" })),
        };
        check.is("counter", counter, Counter::of())?;
        check.key(key)?;
        Ok(vec![counter])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let first_image = Counter::read(inputs[0]).first_image;
        let mut counter = Counter { first_image, ..Counter::read(inputs[1]) };
        let good = inputs.get(2).is_none_or(|norm| norm.data[2] == 1.0);
        let skipped = inputs.get(3).is_some_and(|tally| tally.data[3] == 1.0);
        if good || skipped && counter.bad_step.is_none() {
            counter.step = counter.step.wrapping_add(1);
        } else if counter.bad_step.is_none() {
            counter.bad_step = Some(counter.step);
        }
        vec![counter.tensor()]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let params = shader::Params { increment: 1, ..Default::default() };
        let kernel = shader::Advance {
            key: equation.inputs[1],
            norm: equation.inputs.get(2).copied(),
            counter: equation.outputs[0],
            tally: equation.inputs.get(3).copied(),
        };
        Ok(lowering.push(kernel.dispatch(params, shader::Overrides::default(), ONE_WORKGROUP))?)
    }

    fn in_place(&self) -> &[(usize, usize)] {
        &[(0, 0)]
    }
}

impl Operator for NextImages {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [counter, key] = check.operands()?;
        check.is("counter", counter, Counter::of())?;
        check.key(key)?;
        check.that(self.step_images > 0, "step_images", "at least 1", 0)?;
        Ok(vec![counter])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let first_image = Counter::read(inputs[1]).first_image.wrapping_add(self.images);
        let first_image = first_image % self.step_images;
        vec![Counter { first_image, ..Counter::read(inputs[0]) }.tensor()]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let Self { images, step_images } = *self;
        let params = shader::Params { images, step_images, ..Default::default() };
        let (key, counter) = (equation.inputs[1], equation.outputs[0]);
        let kernel = shader::NextImages { key, counter };
        Ok(lowering.push(kernel.dispatch(params, shader::Overrides::default(), ONE_WORKGROUP))?)
    }

    fn in_place(&self) -> &[(usize, usize)] {
        &[(0, 0)]
    }
}

impl Operator for Record {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let &[history, key, loss, norm, ref scale @ ..] = inputs else {
            return Err(check.count("4 or 5"));
        };
        check.is("history", history, TensorType::f32(&[history.shape[0], 4]))?;
        check.key(key)?;
        check.is("loss", loss, TensorType::f32(&[1]))?;
        check.is("norm", norm, TensorType::f32(&[4]))?;
        match *scale {
            [] => (),
            [scale] => check.is("loss_scale", scale, TensorType::f32(&[1]))?,
            _ => return Err(check.count("4 or 5")),
        }
        Ok(vec![history])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [history, key, loss, norm] = fitted(&inputs[..4]);
        let mut history = (*history).clone();
        let counter = Counter::read(key);
        if counter.bad_step.is_none() {
            let row = counter.step as usize % history.shape[0];
            let scale = inputs.get(4).map_or(norm.data[1], |scale| scale.data[0]);
            let numbers = [loss.data[0], norm.data[0], scale, norm.data[2]];
            history.data[4 * row..4 * row + 4].copy_from_slice(&numbers);
        }
        vec![history]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [_, key, loss, norm] = fitted(&equation.inputs[..4]);
        let (history, loss_scale) = (equation.outputs[0], equation.inputs.get(4).copied());
        let capacity = lowering.type_of(history).rows() as u32;
        let params = shader::Params { capacity, ..Default::default() };
        let kernel = shader::Record { key, loss, norm: Some(norm), history, loss_scale };
        Ok(lowering.push(kernel.dispatch(params, shader::Overrides::default(), ONE_WORKGROUP))?)
    }

    fn in_place(&self) -> &[(usize, usize)] {
        &[(0, 0)]
    }
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let at = |bad_step| {
        Counter { seed: 3 << 32 | 1, step: 6, first_image: 8, bad_step, bad_parts: 0 }.input()
    };
    let norm = |good| Input::row([3.0, 0.5, good, 0.0]);
    let tally = |skipped| Input::row([0.0, 2.0, 5.0, skipped]);
    let history = Input::normal(TensorType::f32(&[2, 4]));
    let [loss, scale] =
        [0.25, 1024.0].map(|number| Input::values(TensorType::f32(&[1]), vec![number]));
    let guarded = Advance { guarded: true };
    let other = Counter { seed: 1, step: 9, first_image: 3, ..Counter::default() }.input();
    vec![
        Case::new(Advance { guarded: false }, vec![at(None), at(None)]),
        Case::new(guarded, vec![at(None), at(None), norm(1.0)]),
        Case::new(guarded, vec![at(None), at(None), norm(0.0)]).name("bad step"),
        Case::new(guarded, vec![at(Some(4)), at(Some(4)), norm(0.0)]).name("after a bad step"),
        Case::new(guarded, vec![other.clone(), at(None), norm(1.0)]).name("other images"),
        Case::new(guarded, vec![at(None), at(None), norm(0.0), tally(1.0)]).name("skipped step"),
        Case::new(guarded, vec![at(None), at(None), norm(0.0), tally(0.0)]).name("not skipped"),
        Case::new(guarded, vec![at(Some(4)), at(Some(4)), norm(0.0), tally(1.0)])
            .name("skipped after a bad step"),
        Case::new(NextImages { images: 4, step_images: 16 }, vec![other.clone(), at(None)]),
        Case::new(NextImages { images: 8, step_images: 16 }, vec![other, at(Some(2))])
            .name("last micro-batch"),
        Case::new(Record, vec![history.clone(), example_key(), loss.clone(), norm(1.0)]),
        Case::new(Record, vec![history.clone(), at(Some(6)), loss.clone(), norm(0.0)])
            .name("after a bad step"),
        Case::new(Record, vec![history, example_key(), loss, norm(1.0), scale]).name("loss scale"),
    ]
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    let counter = dice.counter();
    if dice.below(3) == 0 {
        let [images, step_images] = [(); 2].map(|()| dice.extent(1 << 20) as u32);
        let op = NextImages { images, step_images };
        return Case::new(op, vec![dice.counter(), counter]);
    }
    if dice.flip() {
        let guarded = dice.flip();
        let operands = [counter.clone(), counter].into_iter().chain(guarded.then(|| dice.norm()));
        return Case::new(Advance { guarded }, operands.collect());
    }
    let history = Input::normal(TensorType::f32(&[dice.extent(40), 4]));
    let loss = Input::normal(TensorType::f32(&[1]));
    Case::new(Record, vec![history, counter, loss, dice.norm()])
}

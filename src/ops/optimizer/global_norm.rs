//! One norm over all gradients, and how much to clip: Pascanu et al. 2013, algorithm 1.
use crate::{
    ops::{loss::mean_squared_error::partial_sums, prelude::*},
    shaders::global_norm as shader,
};
use std::fmt;

/// `norm f32[4] = (norm, scale, good, 0)` of any number of f32 gradients together, with scale
/// `min(1, clip / (norm + 1e-6))` and good 1 if the norm is finite, else 0.
///
/// If `guarded`, the operands begin with `loss f32[1]` and `key u32[8]`, and good asks besides
/// that the loss is finite and that no earlier step was bad. If `scaled`, `loss_scale f32[1]` comes next, or
/// first: the gradients are those of so many times the loss, and `scale` takes that back.
///
/// ```
/// use ddim::{ops::{GlobalNorm, Operator}, reference::Tensor, value::Shape};
///
/// let [a, b] = [3.0, 4.0].map(|number| Tensor::new(Shape::new(&[1]), vec![number]));
/// let clipping = GlobalNorm { clip: Some(1.0.into()), guarded: false, scaled: false };
/// let norm = &clipping.reference(&[&a, &b])[0];
/// assert_eq!((norm.data[0], norm.data[2]), (5.0, 1.0));
/// assert!((norm.data[1] - 0.2).abs() < 1e-6);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GlobalNorm {
    /// The largest norm that is left alone; `None` never clips.
    pub clip: Option<Float>,
    /// Whether loss and key come first.
    pub guarded: bool,
    /// Whether a loss scale comes before the gradients.
    pub scaled: bool,
}

/// Operands by what they are.
struct Given<'a, T> {
    guard: Option<[T; 2]>,
    loss_scale: Option<T>,
    gradients: &'a [T],
}

impl fmt::Display for GlobalNorm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (guarded, scaled) = (self.guarded, if self.scaled { " scaled" } else { "" });
        match self.clip {
            Some(clip) => write!(f, "global_norm{{clip={clip} guarded={guarded}{scaled}}}"),
            None => write!(f, "global_norm{{guarded={guarded}{scaled}}}"),
        }
    }
}

impl GlobalNorm {
    /// Loss and key, if guarded, the loss scale, if scaled, and the gradients.
    fn split<'a, T: Copy>(&self, inputs: &'a [T]) -> Given<'a, T> {
        let (guard, rest) = match inputs {
            [loss, key, rest @ ..] if self.guarded => (Some([*loss, *key]), rest),
            rest => (None, rest),
        };
        match rest {
            [scale, gradients @ ..] if self.scaled => {
                Given { guard, loss_scale: Some(*scale), gradients }
            }
            gradients => Given { guard, loss_scale: None, gradients },
        }
    }

    fn clip(&self) -> f64 {
        self.clip.map_or(f64::from(f32::MAX), Float::get)
    }
}

impl Operator for GlobalNorm {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let Given { guard, loss_scale, gradients } = self.split(inputs);
        if let Some([loss, key]) = guard {
            check.key(key)?;
            check.is("loss", loss, TensorType::f32(&[1]))?;
        }
        if let Some(scale) = loss_scale {
            check.is("loss_scale", scale, TensorType::f32(&[1]))?;
        }
        if gradients.is_empty() {
            return Err(check.conflict("takes at least one gradient, found none"));
        }
        for &of in gradients {
            check.that(of == TensorType::f32(&of.shape), "gradients", "f32", of)?;
        }
        Ok(vec![TensorType::f32(&[4])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let Given { guard, loss_scale, gradients } = self.split(inputs);
        let squares = gradients.iter().flat_map(|g| g.data.iter().map(|g| g * g));
        let loss_scale = loss_scale.map_or(1.0, |scale| scale.data[0]);
        let norm = squares.sum::<f64>().sqrt() / loss_scale;
        let allowed = guard.is_none_or(|[loss, key]| {
            loss.data[0].is_finite() && Counter::read(key).bad_step.is_none()
        });
        let good = if norm.is_finite() && allowed { 1.0 } else { 0.0 };
        let scale = (self.clip() / (norm + 1e-6)).min(1.0) / loss_scale;
        vec![Tensor::new(TensorType::f32(&[4]).shape, vec![norm, scale, good, 0.0])]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let Given { guard, loss_scale, gradients } = self.split(&equation.inputs);
        let overrides = shader::Overrides::default();
        let sizes: Vec<_> = gradients.iter().map(|&g| lowering.type_of(g).vectors()).collect();
        let groups = sizes.iter().map(|&vectors| partial_sums(vectors, overrides.workgroup));
        let total: usize = groups.clone().sum();
        let partials = lowering.scratch(TensorType::f32(&[total]));
        let clip = self.clip() as f32;
        let mut first = 0;
        for ((&gradient, &vectors), groups) in gradients.iter().zip(&sizes).zip(groups) {
            let (vectors, groups) = (vectors as u32, groups as u32);
            let params = shader::Params { vectors, groups, first, clip };
            let parts = shader::Parts { gradient, partials };
            lowering.push(parts.dispatch(params, overrides, [groups, 1, 1]))?;
            first += groups;
        }
        let params = shader::Params { vectors: 0, groups: total as u32, first: 0, clip };
        let fold = shader::Fold {
            sums: partials,
            loss: guard.map(|[loss, _]| loss),
            key: guard.map(|[_, key]| key),
            loss_scale,
            norm: equation.outputs[0],
        };
        Ok(lowering.push(fold.dispatch(params, overrides, [1, 1, 1]))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        let Given { gradients, .. } = self.split(inputs);
        let elements: usize = gradients.iter().map(|g| g.shape.elements()).sum();
        let bytes = gradients.iter().map(TensorType::bytes).sum();
        Cost { flops: 2 * elements as u64, bytes }
    }
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let gradients = [&[5, 3][..], &[7], &[3, 3, 12, 20], &[300_000]]
        .map(|shape| Input::normal(TensorType::f32(shape)));
    let op = |clip: Option<f64>, guarded| {
        let clip = clip.map(Float::from);
        GlobalNorm { clip, guarded, scaled: false }
    };
    let scaled = |clip, guarded| GlobalNorm { scaled: true, ..op(clip, guarded) };
    let scale = || Input::values(TensorType::f32(&[1]), vec![1024.0]);
    let guard = |loss, key| [Input::values(TensorType::f32(&[1]), vec![loss]), key];
    let bad_key = Counter { step: 7, bad_step: Some(6), ..Counter::default() }.input();
    let guarded = |loss, key| [&guard(loss, key)[..], &gradients[..2]].concat();
    vec![
        Case::new(op(Some(1.0), false), gradients.to_vec()).terms(302_000),
        Case::new(op(Some(1e6), false), gradients[..1].to_vec()).terms(15).name("not clipped"),
        Case::new(op(None, false), gradients[1..2].to_vec()).terms(7),
        Case::new(op(Some(1.0), true), guarded(0.5, example_key())).terms(22),
        Case::new(op(Some(1.0), true), guarded(0.5, bad_key)).terms(22).name("frozen"),
        Case::new(op(Some(1.0), true), guarded(f64::INFINITY, example_key()))
            .terms(22)
            .name("infinite loss"),
        Case::new(
            scaled(Some(1e-3), true),
            [&guard(0.5, example_key())[..], &[scale()], &gradients[..2]].concat(),
        )
        .terms(22)
        .name("loss scale"),
        Case::new(scaled(None, false), vec![scale(), gradients[1].clone()])
            .terms(7)
            .name("loss scale, not clipped"),
    ]
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    let clip = dice.flip().then(|| dice.float(0.1, 100.0).into());
    let op = GlobalNorm { clip, guarded: dice.flip(), scaled: dice.flip() };
    let mut operands = Vec::new();
    if op.guarded {
        operands.extend([Input::normal(TensorType::f32(&[1])), dice.counter()]);
    }
    if op.scaled {
        let scale = dice.pick([0.5, 1.0, 65536.0]);
        operands.push(Input::values(TensorType::f32(&[1]), vec![scale]));
    }
    let gradients: Vec<TensorType> = (0..dice.extent(5)).map(|_| dice.tensor()).collect();
    let terms = gradients.iter().map(|of| of.shape.elements()).sum();
    operands.extend(gradients.into_iter().map(Input::normal));
    Case::new(op, operands).terms(terms)
}

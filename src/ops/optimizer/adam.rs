//! One optimizer step: Adam (Kingma and Ba 2015, algorithm 1), AdamW (Loshchilov and Hutter 2019).
use crate::{ops::prelude::*, shaders::adam as shader};
use std::fmt;

/// Updates a parameter, its moments, its moving average and its copy in halves where they lie.
///
/// Operands: `row f32[4]` of [`TrainingRow`](crate::ops::TrainingRow), `norm f32[4]` of
/// [`GlobalNorm`](crate::ops::GlobalNorm), then `gradient`, `parameter`, first and second moment and,
/// if `ema`, the moving average, all of one f32 type, and, if there are `halves`, the copy. Outputs: the
/// next contents of all but the first three. If the norm's verdict is no, they are what they were.
///
/// ```
/// use ddim::{ops::{Adam, Operator}, reference::Tensor, value::Shape};
///
/// let adam = Adam {
///     beta1: 0.9.into(),
///     beta2: 0.999.into(),
///     epsilon: 1e-8.into(),
///     weight_decay: 0.0.into(),
///     decoupled: true,
///     ema: false,
///     halves: None,
/// };
/// let tensor = |data: &[f64]| Tensor::new(Shape::new(&[data.len()]), data.to_vec());
/// let (row, norm) = (tensor(&[0.1, 0.1, 0.001, 0.0]), tensor(&[2.0, 1.0, 1.0, 0.0]));
/// let (gradient, parameter, zero) = (tensor(&[2.0]), tensor(&[1.0]), tensor(&[0.0]));
/// let next = adam.reference(&[&row, &norm, &gradient, &parameter, &zero, &zero]);
/// // The first step is as long as the learning rate.
/// assert!((next[0].data[0] - 0.9).abs() < 1e-6);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Adam {
    /// Decay of the first moment.
    pub beta1: Float,
    /// Decay of the second moment.
    pub beta2: Float,
    /// Added to the root of the second moment.
    pub epsilon: Float,
    /// Weight decay.
    pub weight_decay: Float,
    /// AdamW: the decay shrinks the parameter. Adam: it is added to the gradient.
    pub decoupled: bool,
    /// Whether a moving average of the parameter is kept.
    pub ema: bool,
    /// Storage of a copy of the parameter, f16 or bf16, if one is kept: what the next step reads.
    pub halves: Option<ElementType>,
}

/// Results, and the operands whose places they take: those without average and copy, with one of them, and
/// with both.
static PLACES: [(usize, usize); 5] = [(0, 3), (1, 4), (2, 5), (3, 6), (4, 7)];

impl fmt::Display for Adam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.decoupled { "adamw" } else { "adam" };
        let Self { beta1, beta2, epsilon, weight_decay, ema, .. } = self;
        let halves = self.halves.map_or(String::new(), |element| format!(" halves={element}"));
        write!(f, "{name}{{betas={beta1},{beta2} epsilon={epsilon} ")?;
        write!(f, "weight_decay={weight_decay} ema={ema}{halves}}}")
    }
}

impl Adam {
    /// Weight decay that goes into the gradient, and that which shrinks the parameter.
    fn decays(&self) -> (f64, f64) {
        let decay = self.weight_decay.get();
        if self.decoupled { (0.0, decay) } else { (decay, 0.0) }
    }

    /// How many results there are.
    fn results(&self) -> usize {
        3 + usize::from(self.ema) + usize::from(self.halves.is_some())
    }
}

impl Operator for Adam {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        if inputs.len() != 3 + self.results() {
            return Err(check.count(3 + self.results()));
        }
        let [row, norm, gradient] = [inputs[0], inputs[1], inputs[2]];
        check.is("row", row, TensorType::f32(&[4]))?;
        check.is("norm", norm, TensorType::f32(&[4]))?;
        check.that(gradient == TensorType::f32(&gradient.shape), "gradient", "f32", gradient)?;
        let (state, copy) = inputs[3..].split_at(3 + usize::from(self.ema));
        let names = ["parameter", "first_moment", "second_moment", "ema"];
        for (name, &of) in names.into_iter().zip(state) {
            check.that(of == gradient, name, format!("{gradient} as the gradient"), of)?;
        }
        if let (Some(element), &[halves]) = (self.halves, copy) {
            let stored = [ElementType::F16, ElementType::Bf16].contains(&element);
            check.that(stored, "halves", "f16 or bf16", element)?;
            check.is("halves", halves, gradient.with_element(element))?;
        }
        Ok(inputs[3..].to_vec())
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let mut state: Vec<Tensor> = inputs[3..].iter().map(|&tensor| tensor.clone()).collect();
        let [rate, correction1, correction2, ema_rate] = [0, 1, 2, 3].map(|i| inputs[0].data[i]);
        let (scale, good) = (inputs[1].data[1], inputs[1].data[2] == 1.0);
        let (l2, decay) = self.decays();
        let (beta1, beta2) = (self.beta1.get(), self.beta2.get());
        for (i, gradient) in inputs[2].data.iter().enumerate().filter(|_| good) {
            let p = state[0].data[i];
            let g = scale * gradient + l2 * p;
            let m = beta1 * state[1].data[i] + (1.0 - beta1) * g;
            let v = beta2 * state[2].data[i] + (1.0 - beta2) * g * g;
            let direction = (m / correction1) / ((v / correction2).sqrt() + self.epsilon.get());
            let p = p - rate * decay * p - rate * direction;
            for (tensor, next) in state.iter_mut().zip([p, m, v]) {
                tensor.data[i] = next;
            }
            if self.ema {
                state[3].data[i] += ema_rate * (p - state[3].data[i]);
            }
            if let (Some(_), Some(halves)) = (self.halves, state.last_mut()) {
                halves.data[i] = p;
            }
        }
        state
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let vectors = lowering.type_of(equation.outputs[0]).vectors();
        let (l2, decay) = self.decays();
        let params = shader::Params {
            vectors: vectors as u32,
            first_rate: (1.0 - self.beta1.get()) as f32,
            second_rate: (1.0 - self.beta2.get()) as f32,
            epsilon: self.epsilon.get() as f32,
            l2: l2 as f32,
            decay: decay as f32,
        };
        let kernel = shader::Forward {
            row: equation.inputs[0],
            norm: equation.inputs[1],
            gradient: equation.inputs[2],
            parameter: equation.outputs[0],
            first_moment: equation.outputs[1],
            second_moment: equation.outputs[2],
            ema: self.ema.then(|| equation.outputs[3]),
            halves: self.halves.and(equation.outputs.last().copied()),
        };
        Ok(lowering.push(kernel.over(params, vectors))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(16, &inputs[2..], &inputs[3..])
    }

    fn in_place(&self) -> &[(usize, usize)] {
        &PLACES[..self.results()]
    }

    /// A division by the root of infinity may give NaN for zero.
    fn special(&self) -> Special {
        Special::Spreads
    }
}

impl Adam {
    /// An update of so many parameters with these rates and this norm.
    fn case(self, elements: usize, row: Input, norm: Input) -> Case {
        let of = TensorType::f32(&[elements]);
        let moments = [Input::shifted(of, 0.0, 0.1), Input::uniform(of, 0.0, 0.01)];
        let mut operands = vec![row, norm, Input::normal(of), Input::normal(of)];
        operands.extend(moments);
        operands.extend(self.ema.then(|| Input::normal(of)));
        operands.extend(self.halves.map(|element| Input::normal(of.with_element(element))));
        Case::new(self, operands)
    }
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let adam = Adam {
        beta1: 0.9.into(),
        beta2: 0.999.into(),
        epsilon: 1e-8.into(),
        weight_decay: 0.0.into(),
        decoupled: false,
        ema: true,
        halves: None,
    };
    let l2 = Adam { weight_decay: 0.1.into(), ema: false, ..adam };
    let adamw = Adam { weight_decay: 0.01.into(), decoupled: true, ..adam };
    let copied = |element| Adam { halves: Some(element), ..adamw };
    let bf16 = copied(ElementType::Bf16);
    let case = |op: Adam, good: f64| {
        let row = Input::row([0.03, 0.19, 0.001_999, 0.1]);
        op.case(1000, row, Input::row([2.5, 0.4, good, 0.0]))
    };
    vec![
        case(adam, 1.0),
        case(l2, 1.0).name("l2"),
        case(adamw, 1.0),
        case(adamw, 0.0).name("bad step"),
        case(copied(ElementType::F16), 1.0),
        case(Adam { ema: false, ..bf16 }, 1.0).name("a copy and no average"),
        case(bf16, 0.0).name("bad step with a copy"),
    ]
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    let op = Adam {
        beta1: dice.float(0.5, 0.99).into(),
        beta2: dice.float(0.9, 0.9999).into(),
        epsilon: 1e-8.into(),
        weight_decay: dice.pick([0.0, 0.01, 0.1]).into(),
        decoupled: dice.flip(),
        ema: dice.flip(),
        halves: dice.pick([None, Some(ElementType::F16), Some(ElementType::Bf16)]),
    };
    let row = Input::row([(); 4].map(|()| dice.float(0.001, 0.3)));
    op.case(dice.extent(6000), row, dice.norm())
}

//! Activations: functions of one number, and the gradients that their slopes give.
use crate::{
    ops::{Case, Dice, Input, Op},
    value::TensorType,
};

/// An activation `y = value(x)` and its gradient `dx = dy slope(x)`: two ops, which the entry points
/// `forward` and `backward` of the shader compute, their cases and their random cases. After each op
/// stand its printed name, its operations per element and its function in f64. Last come numbers `far`
/// from zero, and a dense range of numbers that are hard for f32.
macro_rules! activation {
    (
        $(#[$about:meta])*
        $op:ident: $name:literal, $flops:literal, $value:path;
        $(#[$about_gradient:meta])*
        $gradient:ident: $gradient_name:literal, $gradient_flops:literal, $slope:path;
        shader: $shader:ident;
        far: $far:expr;
        $note:literal: $range:expr;
    ) => {
        use $crate::{ops::{kit, prelude::*}, shaders::$shader as shader};

        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct $op;

        $(#[$about_gradient])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct $gradient;

        display!($name, $op);
        display!($gradient_name, $gradient);

        impl Elementwise for $op {
            const OPERANDS: &'static [&'static str] = &["x"];
            const FLOPS: u64 = $flops;

            fn element(&self, operands: &[f64]) -> f64 {
                $value(operands[0])
            }

            fn gradients(&self, backward: &mut Backward, of: &Equation) -> Result<Gradients, Error> {
                let dy = backward.dy();
                Ok(vec![Some(backward.push($gradient, &[of.inputs[0], dy])?)])
            }

            fn kernel(&self, operands: &[Value], y: Value, of: TensorType) -> Dispatch {
                let params = shader::Params { vectors: of.vectors() as u32 };
                shader::Forward { x: operands[0], y }.over(params, of.vectors())
            }
        }

        impl Elementwise for $gradient {
            const OPERANDS: &'static [&'static str] = &["x", "dy"];
            const FLOPS: u64 = $gradient_flops;

            fn element(&self, operands: &[f64]) -> f64 {
                operands[1] * $slope(operands[0])
            }

            fn kernel(&self, operands: &[Value], dx: Value, of: TensorType) -> Dispatch {
                let params = shader::Params { vectors: of.vectors() as u32 };
                let (x, dy) = (operands[0], operands[1]);
                shader::Backward { x, dy, dx }.over(params, of.vectors())
            }
        }

        pub(in crate::ops) fn cases() -> Vec<Case> {
            kit::activation::cases([$op.into(), $gradient.into()], &$far, $note, $range)
        }

        pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
            kit::activation::random([$op.into(), $gradient.into()], dice)
        }
    };
}
pub(in crate::ops) use activation;

/// Forward and backward of these operands.
fn both([op, gradient]: [Op; 2], x: Input, dy: Input) -> [Case; 2] {
    [Case::new(op, vec![x.clone()]).half(&[0]), Case::new(gradient, vec![x, dy]).half(&[0, 1])]
}

/// The table of an activation: odd channels, a wide deviation, numbers `far` from zero and a dense
/// `range`, where the gradient that arrives is 1.
pub(in crate::ops) fn cases(
    ops: [Op; 2],
    far: &[f64],
    note: &str,
    range: impl Iterator<Item = f64>,
) -> Vec<Case> {
    let case = |x: Input, dy: Input, note: &str| {
        both(ops.clone(), x, dy).map(|case| case.half(&[]).name(note))
    };
    let images = TensorType::f32(&[2, 7, 5, 5]);
    let wide = TensorType::f32(&[3, 8, 8, 32]);
    let extremes = TensorType::f32(&[1, far.len()]);
    let far = Input::values(extremes, far.to_vec());
    let range: Vec<f64> = range.collect();
    let ones = vec![1.0; range.len()];
    let of = TensorType::f32(&[range.len() / 16, 16]);
    let stored = both(ops.clone(), Input::normal(images), Input::normal(images));
    [
        stored.map(|case| case.name("odd channels")),
        both(ops.clone(), Input::shifted(wide, 0.0, 4.0), Input::normal(wide)),
        case(far, Input::normal(extremes), "extremes"),
        case(Input::values(of, range), Input::values(of, ones), note),
    ]
    .concat()
}

/// Operands of every size, from where nothing is left of an exponential to where it overflows. The
/// first is positive: far below zero alone a result is as exact as the exponent, not as its digits.
/// Of the gradients that arrive the first is 1.
pub(in crate::ops) fn random(ops: [Op; 2], dice: &mut Dice) -> Case {
    let (of, deviation) = (dice.tensor(), dice.pick([0.1, 1.0, 4.0, 30.0, 1000.0_f64]));
    let operand = |first: f64, deviation: f64, seed: u64| {
        let mut numbers = Input::shifted(of, 0.0, deviation).tensor(seed).data;
        numbers[0] = first;
        Input::values(of, numbers)
    };
    let x = operand(deviation.max(1.0), deviation, dice.word());
    let dy = operand(1.0, 1.0, dice.word());
    dice.one_of(both(ops, x, dy))
}

//! The tolerances of the op tests are tight enough: what they must catch, they catch.
use ddim::{
    ops::{self, Case, Conv2d, Input, Linear, Operator},
    plan::Arithmetic,
    reference::Tensor,
    value::{ElementType, TensorType},
};

/// Whether `got` would pass for `want` where products are computed so.
fn passes(case: &Case, arithmetic: Arithmetic, got: &Tensor, want: &Tensor) -> bool {
    let of = case.output_types().expect("a sound case")[0];
    let max_abs = want.max_abs();
    let tolerance = |want| case.tolerance_in(arithmetic, of, want, max_abs);
    let within = |(got, want): (&f64, &f64)| (got - want).abs() <= tolerance(*want);
    got.data.iter().zip(&want.data).all(within)
}

fn output(case: &Case, operands: &[Tensor]) -> Tensor {
    case.op.reference(&operands.iter().collect::<Vec<_>>()).remove(0)
}

/// The output with what `change` does to the operands, against the right one.
fn survives(case: &Case, arithmetic: Arithmetic, change: impl Fn(&mut [Tensor])) -> bool {
    let mut changed = case.tensors();
    change(&mut changed);
    passes(case, arithmetic, &output(case, &changed), &output(case, &case.tensors()))
}

/// Of products in f16 too, whose tolerance is the wider one: a channel is less than that.
#[test]
fn one_dropped_tap_fails() {
    let x = TensorType::f32(&[1, 6, 6, 32]);
    let weight = TensorType::f32(&[3, 3, 32, 16]);
    let conv = Conv2d { stride: 1, padding: [1; 4] };
    let case =
        Case::new(conv, vec![Input::normal(x), Input::normal(weight)]).terms(9 * 32).half(&[0, 1]);
    let arithmetic = Arithmetic::Mixed;
    for case in case.storages() {
        assert!(survives(&case, arithmetic, |_| ()), "{}", case.title());
        for tap in 0..9 {
            let dropped = |operands: &mut [Tensor]| {
                operands[1].data[tap * 32 * 16..][..32 * 16].fill(0.0);
            };
            assert!(!survives(&case, arithmetic, dropped), "{}: tap {tap}", case.title());
        }
    }
}

#[test]
fn one_dropped_channel_of_256_fails() {
    let (x, weight) = (TensorType::f32(&[3, 256]), TensorType::f32(&[256, 8]));
    let case =
        Case::new(Linear, vec![Input::normal(x), Input::normal(weight)]).terms(256).half(&[0, 1]);
    let arithmetic = Arithmetic::F32;
    for case in case.storages() {
        assert!(survives(&case, arithmetic, |_| ()), "{}", case.title());
        for channel in 0..256 {
            let dropped = |operands: &mut [Tensor]| operands[1].data[channel * 8..][..8].fill(0.0);
            assert!(!survives(&case, arithmetic, dropped), "{}: channel {channel}", case.title());
        }
    }
}

/// Every case of every op: an output with one element off by a thousandth of the largest, or NaN
/// anywhere, fails; of an output in f16 and bf16, whose spacing is up to ten and a hundred times larger, by more.
#[test]
fn one_wrong_element_fails() {
    for case in ops::cases() {
        for case in case.storages() {
            let of = case.output_types().expect("a sound case")[0];
            let share = match of.element {
                ElementType::F32 | ElementType::U32 => 1e-3,
                ElementType::F16 => 1e-2,
                ElementType::Bf16 => 1e-1,
            };
            let want = output(&case, &case.tensors());
            if want.max_abs() == 0.0 {
                continue;
            }
            let mut got = want.clone();
            let last = got.data.len() - 1;
            got.data[last] += share * want.max_abs();
            assert!(!passes(&case, Arithmetic::F32, &got, &want), "{}", case.title());
            got.data[last] = f64::NAN;
            assert!(!passes(&case, Arithmetic::F32, &got, &want), "{}: NaN", case.title());
        }
    }
}

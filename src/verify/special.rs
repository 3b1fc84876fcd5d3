//! Numbers that are not finite in one element of one operand: which elements of the outputs they
//! reach, on the device and in the reference.
use super::{decode, write};
use crate::{
    error::{CaseError, Mismatch, NumberClass},
    gpu::{Executor, Gpu},
    ops::{Case, Operator, Special},
    passes,
    plan::KernelSelector,
    value::{ElementType, TensorType},
};
use std::collections::HashMap;

/// Flops and bytes of the largest case that is checked so: the reference runs it three times an
/// operand.
const MOST_WORK: u64 = 1 << 21;

/// The smallest case of each op, by its printed form, if it is small: what is checked with numbers
/// that are not finite.
///
/// ```
/// use ddim::{ops::{Case, Input, Silu}, value::TensorType, verify::special_cases};
///
/// let case = |rows| Case::new(Silu, vec![Input::normal(TensorType::f32(&[rows, 4]))]);
/// let smallest = special_cases(vec![case(8), case(2)]);
/// assert_eq!(smallest.len(), 1);
/// assert_eq!(smallest[0].types(), [TensorType::f32(&[2, 4])]);
/// ```
pub fn special_cases(cases: Vec<Case>) -> Vec<Case> {
    let work = |case: &Case| {
        let types = case.types();
        case.op.cost(&types).flops + types.iter().map(TensorType::bytes).sum::<u64>()
    };
    let mut smallest: HashMap<String, usize> = HashMap::new();
    for (index, case) in cases.iter().enumerate() {
        let known = smallest.entry(case.op.to_string()).or_insert(index);
        if work(case) < work(&cases[*known]) {
            *known = index;
        }
    }
    let own = |(index, case): &(usize, Case)| {
        smallest.get(&case.op.to_string()) == Some(index) && work(case) <= MOST_WORK
    };
    cases.into_iter().enumerate().filter(own).map(|(_, case)| case).collect()
}

/// Runs a case with NaN, infinity and negative infinity in one element of each operand of floats,
/// and compares the classes of all results, as [`Operator::special`] promises them.
///
/// # Errors
/// The first difference, or why the case could not run.
///
/// Example: [`crate::error::CaseError`].
pub fn check_special(
    gpu: &Gpu,
    case: &Case,
    selector: &dyn KernelSelector,
) -> Result<(), CaseError> {
    let graph = case.graph()?;
    let plan = passes::compile_with(&graph, gpu.target(), selector)?;
    let mut executor = Executor::new(gpu, plan)?;
    let good = case.tensors();
    for (operand, input) in case.inputs.iter().enumerate() {
        if input.of.element == ElementType::U32 || case.selecting.contains(&operand) {
            continue;
        }
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut tensors = good.clone();
            let place = 7919 * (operand + 1) % tensors[operand].data.len();
            tensors[operand].data[place] = number;
            // All of them: an op may have updated one where it lies.
            for (&value, tensor) in graph.inputs.iter().zip(&tensors) {
                write(&mut executor, value, graph.type_of(value), tensor)?;
            }
            executor.run(1)?;
            let wanted = case.op.reference(&tensors.iter().collect::<Vec<_>>());
            for (output, (&value, want)) in graph.outputs.iter().zip(&wanted).enumerate() {
                let of = graph.type_of(value);
                let padded = decode(of, &executor.read_raw(value)?);
                let columns = of.shape.last();
                let got = padded.chunks_exact(of.pitch()).flat_map(|row| &row[..columns]);
                for (element, (&got, &want)) in got.zip(&want.data).enumerate() {
                    let (got, want) = (NumberClass::of(got), NumberClass::of(want));
                    if !case.op.special().allows(number, got, want) {
                        let mismatch =
                            Mismatch::Class { number, operand, place, output, element, got, want };
                        return Err(mismatch.into());
                    }
                }
            }
        }
    }
    Ok(())
}

impl Special {
    fn allows(self, number: f64, got: NumberClass, want: NumberClass) -> bool {
        let finite = |class| class == NumberClass::Finite;
        match self {
            Self::Same => got == want,
            Self::NotFinite => finite(got) == finite(want),
            Self::Spreads => finite(want) || !finite(got),
            Self::NanSpreads => finite(want) || !finite(got) || number.is_infinite(),
        }
    }
}

//! A case of any op with random extents, attributes and contents, reproducible by a seed.
use super::{Case, MODULES};

mod dice;

pub(crate) use dice::Dice;

/// A random case of a random op: the same for the same seed.
///
/// ```
/// use ddim::ops::random_case;
///
/// let case = random_case(7);
/// assert_eq!(case.title(), random_case(7).title());
/// assert!(case.output_types().is_ok());
/// ```
pub fn random_case(seed: u64) -> Case {
    let mut dice = Dice::new(seed);
    // A module of two ops is drawn twice as often as a module of one.
    let each = MODULES.iter().flat_map(|(ops, random)| ops.iter().map(move |_| random));
    dice.one_of(each)(&mut dice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_op_has_cases_whose_operands_fit() {
        for (ops, random) in MODULES {
            let mut seen = BTreeSet::new();
            for seed in 0..200 * ops.len() as u64 {
                let case = random(&mut Dice::new(seed));
                for case in case.clone().storages() {
                    let types = case.output_types();
                    assert!(types.is_ok(), "{} {seed}: {types:?}", case.op);
                }
                // Debug prints an op as the variant of its name.
                let printed = format!("{:?}", case.op);
                seen.extend(printed.split('(').next().map(str::to_owned));
            }
            assert_eq!(seen, ops.iter().map(ToString::to_string).collect());
        }
    }

    #[test]
    fn a_seed_gives_one_case() {
        let title = |seed| random_case(seed).title();
        assert!((0..50).all(|seed| title(seed) == title(seed)));
        assert_ne!(title(1), title(2));
    }
}

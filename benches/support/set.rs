//! What `cargo bench` times: all that a pattern may name, and what runs without one.
use super::names::short;
use ddim::{
    Error,
    bench_cases::{self, BenchCase, BenchModel},
    ops,
    plan::Target,
};
use std::collections::HashSet;

/// Without a pattern, each family of these ops runs at one shape of each of [`MODELS`]. What fusion
/// makes of these ops runs the same kernels.
const OPS: [&str; 9] = [
    "conv2d",
    "conv2d_input_gradient",
    "conv2d_weight_gradient",
    "linear",
    "linear_input_gradient",
    "linear_weight_gradient",
    "attention",
    "attention_backward",
    "group_norm",
];

/// Models, and images at a time.
const MODELS: [&str; 2] = ["digits-b64", "cifar10-b8"];

/// Of the shapes of a model, the one with the most operations up to these: two cores take less
/// than a second for them by the slowest family.
const MOST_OPERATIONS: u64 = 3_000_000_000;

/// Without a pattern, these whole steps run too.
const STEPS: [&str; 6] = [
    "forward/digits-b64",
    "unet/digits-b64",
    "training/digits-b64",
    "forward/cifar10-b1",
    "unet/cifar10-b1",
    "training/cifar10-b1",
];

/// Images at a time of the CIFAR-10 U-Net.
const BATCHES: [usize; 3] = [1, 8, 64];

/// Images at a time of the digits model: those of the demo.
const DIGITS: usize = 64;

/// The models whose whole steps are timed, and images at a time.
///
/// # Errors
/// None: the configurations are part of the crate.
pub fn models() -> Result<Vec<(BenchModel, usize)>, Error> {
    let cifar10 = BATCHES.map(|batch| Ok((BenchModel::cifar10()?, batch)));
    cifar10.into_iter().chain([Ok((BenchModel::digits()?, DIGITS))]).collect()
}

/// All that is timed but whole steps.
///
/// # Errors
/// If a model cannot be built for the target.
pub fn kernels(target: &Target) -> Result<Vec<BenchCase>, Error> {
    let cases = ops::cases();
    let mut all = Vec::new();
    for batch in BATCHES {
        all.extend(BenchModel::cifar10()?.bench_cases(batch, target, &cases)?);
    }
    all.extend(bench_cases::stable_diffusion(&cases)?);
    all.extend(BenchModel::digits()?.bench_cases(DIGITS, target, &cases)?);
    all.extend(bench_cases::products(&[512, 1024, 4096], &cases)?);
    for extents in [[8, 32, 128], [1, 64, 320], [64, 8, 32]] {
        all.extend(bench_cases::fusions(extents)?);
    }
    let mut all = bench_cases::distinct(all);
    // Criterion takes a group in one piece.
    all.sort_by(|a, b| a.group.cmp(&b.group));
    Ok(all)
}

/// Names of a case's variants, in the order of [`BenchCase::variants`], as criterion keeps them.
pub fn names(case: &BenchCase, families: &[&str]) -> Vec<String> {
    let several = families.len() > 1;
    families.iter().map(|family| short(case, several.then_some(*family))).collect()
}

/// Titles of what runs without a pattern.
pub fn chosen(kernels: &[BenchCase], target: &Target) -> HashSet<String> {
    let mut titles: HashSet<String> = STEPS.map(str::to_owned).into();
    for (model, op) in MODELS.iter().flat_map(|model| OPS.map(|op| (model, op))) {
        let is_one = |case: &&BenchCase| {
            let whose = case.name.split(' ').next();
            case.group == op && whose == Some(model) && case.cost.flops <= MOST_OPERATIONS
        };
        let mut cases: Vec<&BenchCase> = kernels.iter().filter(is_one).collect();
        // Stable: of equal ones the first counts.
        cases.sort_by_key(|case| std::cmp::Reverse(case.cost.flops));
        let mut seen = HashSet::new();
        for case in cases {
            let variants = case.variants(target);
            let families: Vec<&str> = variants.iter().map(|way| way.name.as_str()).collect();
            for (&family, name) in families.iter().zip(names(case, &families)) {
                // The name of a single one leaves the family out.
                if seen.insert((families.len() > 1).then(|| family.to_owned())) {
                    titles.insert(format!("{op}/{name}"));
                }
            }
        }
    }
    titles
}

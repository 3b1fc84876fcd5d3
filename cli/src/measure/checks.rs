//! Whether the kernels compute what they should: those that do not are struck out.
use super::{facts::Checks, record::kernel, run::Run};
use crate::{cli::Stage, console::say, failure::Failure};
use ddim::{
    Error,
    bench_cases::families,
    error::{CaseError, GpuError},
    ops::{self, Case},
    plan::Plan,
    verify::{Expected, Outcome, reference_cases},
};
use std::{collections::BTreeSet, path::Path};

/// Folders of reference cases in the repository.
const FOLDERS: [&str; 2] = ["tests/cases", "tests/cases_unet"];

/// A rehearsal checks every so manieth case.
const REHEARSED: usize = 24;

/// Every op's own cases, by each kernel family.
pub fn ops(run: &Run) -> Result<(), Failure> {
    let mut sheet = run.sheet(Stage::Ops, Checks::default())?;
    let (mut sound, mut suspects) = (BTreeSet::new(), Vec::<(String, BTreeSet<String>)>::new());
    for case in cases(run.rehearse) {
        let expected = Expected::new(&case)?;
        for family in families(&case.graph()?, run.gpu.target()) {
            let plan = family.plan?;
            let kernels: BTreeSet<String> = plan.dispatches().map(kernel).collect();
            match expected.check(&run.gpu, run.gpu.target(), &family.choice) {
                Ok(()) => {
                    sheet.facts.passed += 1;
                    sound.extend(kernels);
                    continue;
                }
                Err(CaseError::Error(error @ Error::Gpu(GpuError::Lost { .. }))) => {
                    // Nothing can be computed any more; who caused it is known.
                    sheet.facts.struck.extend(main_kernel(&plan));
                    sheet.facts.failed.push(format!("{}: {error}", case.title()));
                    sheet.save()?;
                    return Err(error.into());
                }
                Err(error) => {
                    let line = format!("{} ({}): {error}", case.title(), family.name);
                    say!("failed {line}");
                    sheet.facts.failed.push(line);
                    suspects.push((main_kernel(&plan).unwrap_or_default(), kernels));
                    sheet.save()?;
                }
            }
        }
    }
    for (main, kernels) in suspects {
        let alone: BTreeSet<String> = kernels.difference(&sound).cloned().collect();
        sheet.facts.struck.extend(if alone.is_empty() { [main].into() } else { alone });
    }
    sheet.save()?;
    let Checks { passed, failed, skipped, struck } = &sheet.facts;
    say!("{passed} passed, {} failed, {skipped} skipped; struck out: {struck:?}", failed.len());
    Ok(())
}

/// What does most of a plan's work.
fn main_kernel(plan: &Plan) -> Option<String> {
    plan.dispatches().max_by_key(|dispatch| dispatch.cost.flops).map(kernel)
}

fn cases(few: bool) -> Vec<Case> {
    let all = ops::cases().into_iter().flat_map(Case::storages);
    all.step_by(if few { REHEARSED } else { 1 }).collect()
}

/// Reference cases from files, which Python's diffusers made: operations, U-Nets, samplers.
pub fn reference(run: &Run) -> Result<(), Failure> {
    let mut sheet = run.sheet(Stage::Cases, Checks::default())?;
    let folders: &[&str] = if run.rehearse { &FOLDERS[1..] } else { &FOLDERS };
    for folder in folders.iter().map(Path::new) {
        let mut said = Ok(());
        reference_cases(&run.gpu, folder, &[], |name, outcome, _| {
            match outcome {
                Outcome::Passed => sheet.facts.passed += 1,
                Outcome::Skipped(_) => sheet.facts.skipped += 1,
                Outcome::Failed(_) => {
                    say!("{}", outcome.line(name));
                    sheet.facts.failed.push(outcome.line(name));
                }
            }
            if said.is_ok() {
                said = sheet.save();
            }
        })?;
        said?;
    }
    let Checks { passed, failed, skipped, .. } = &sheet.facts;
    say!("{passed} passed, {} failed, {skipped} skipped", failed.len());
    Ok(())
}

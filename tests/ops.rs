//! Every op on the device against its f64 reference, in every storage type.
use ddim::{
    bench_cases::{FamilyPlan, families},
    gpu::Gpu,
    ops::{self, Case},
    verify,
};

mod support;

fn failures(cases: &[Case], check: impl Fn(&Case) -> Result<(), String>) -> String {
    let failed = cases
        .iter()
        .filter_map(|case| check(case).err().map(|error| format!("{}: {error}\n", case.title())));
    failed.collect()
}

/// The cases that the device can store. `OP=conv2d` narrows the run to ops whose printed form
/// starts so.
fn selected(gpu: &Gpu) -> Vec<Case> {
    let wanted = std::env::var("OP").unwrap_or_default();
    let (mut cases, mut skipped) = (Vec::new(), 0);
    for case in ops::cases() {
        if !case.op.to_string().starts_with(&wanted) {
            continue;
        }
        let half = (!case.half.is_empty()).then(|| case.clone().in_half());
        for case in [case].into_iter().chain(half) {
            if case.stores_half() && !gpu.target().f16 {
                skipped += 1;
            } else {
                cases.push(case);
            }
        }
    }
    if skipped > 0 {
        println!("skipped {skipped} cases: {} stores no f16", gpu.info().name);
    }
    cases
}

#[test]
fn every_case_agrees_with_the_reference() {
    let Some(gpu) = support::gpu() else { return };
    let check = |case: &Case| verify::check_case(&gpu, case).map_err(|error| error.to_string());
    let failed = failures(&selected(&gpu), check);
    assert!(failed.is_empty(), "\n{failed}");
}

/// All kernel families of the smallest case of each op, with NaN and infinity in its operands.
#[test]
fn numbers_that_are_not_finite_reach_what_the_op_promises() {
    let Some(gpu) = support::gpu() else { return };
    let check = |case: &Case| {
        let graph = case.graph().map_err(|error| error.to_string())?;
        let mut errors = String::new();
        for FamilyPlan { name, choice, .. } in families(&graph, gpu.target()) {
            if let Err(error) = verify::check_special(&gpu, case, &choice) {
                errors += &format!("\n    {name}: {error}");
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    };
    let cases = verify::special_cases(selected(&gpu));
    println!("{} cases", cases.len());
    let failed = failures(&cases, check);
    assert!(failed.is_empty(), "\n{failed}");
}

#[test]
fn every_family_agrees_with_the_reference() {
    let Some(gpu) = support::gpu() else { return };
    // What lowering chooses has passed above.
    let check = |case: &Case| {
        let graph = case.graph().map_err(|error| error.to_string())?;
        for FamilyPlan { choice, plan, .. } in families(&graph, gpu.target()).iter().skip(1) {
            let plan = plan.as_ref().map_err(ToString::to_string)?;
            verify::check_case_with(&gpu, case, choice).map_err(|error| {
                let kernels = plan.dispatches().map(|d| format!("\n    {}", d.kernel));
                format!("{error}{}", kernels.collect::<String>())
            })?;
        }
        Ok(())
    };
    let failed = failures(&selected(&gpu), check);
    assert!(failed.is_empty(), "\n{failed}");
}

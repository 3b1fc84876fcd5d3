//! Every op on the device against its f64 reference, in every storage type.
use ddim::{
    ops::{self, Case},
    verify,
};

#[path = "support/families.rs"]
mod families;
mod support;

fn failures(
    cases: impl Iterator<Item = Case>,
    check: impl Fn(&Case) -> Result<(), String>,
) -> String {
    let failed = cases
        .filter_map(|case| check(&case).err().map(|error| format!("{}: {error}\n", case.title())));
    failed.collect()
}

/// `OP=conv2d` narrows the run to ops whose printed form starts so.
fn selected() -> impl Iterator<Item = Case> {
    let wanted = std::env::var("OP").unwrap_or_default();
    ops::cases().into_iter().filter(move |case| case.op.to_string().starts_with(&wanted))
}

#[test]
fn every_case_agrees_with_the_reference() {
    let Some(gpu) = support::gpu() else { return };
    let check = |case: &Case| verify::check_case(&gpu, case).map_err(|error| error.to_string());
    let failed = failures(selected(), check);
    assert!(failed.is_empty(), "\n{failed}");
}

#[test]
fn every_case_agrees_in_half_precision_storage() {
    let Some(gpu) = support::gpu() else { return };
    if !gpu.target().f16 {
        println!("skipped: {} stores no f16", gpu.info().name);
        return;
    }
    let check = |case: &Case| verify::check_case(&gpu, case).map_err(|error| error.to_string());
    let half = selected().filter(|case| !case.half.is_empty()).map(Case::in_half);
    let failed = failures(half, check);
    assert!(failed.is_empty(), "\n{failed}");
}

#[test]
fn every_family_agrees_with_the_reference() {
    let Some(gpu) = support::gpu() else { return };
    // The family offered first has passed above.
    let check = |case: &Case| {
        for (ranked, plan) in families::plans(case, gpu.target()).iter().skip(1) {
            verify::check_case_with(&gpu, case, ranked).map_err(|error| {
                let kernels = plan.dispatches.iter().map(|d| format!("\n    {}", d.kernel));
                format!("{error}{}", kernels.collect::<String>())
            })?;
        }
        Ok(())
    };
    let half = selected().filter(|case| gpu.target().f16 && !case.half.is_empty());
    let failed = failures(selected().chain(half.map(Case::in_half)), check);
    assert!(failed.is_empty(), "\n{failed}");
}

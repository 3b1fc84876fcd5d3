//! Kernels one by one, each by every family.
use super::{
    record::{Row, Sheet},
    run::Run,
};
use crate::{cli::Stage, failure::Failure};
use ddim::{
    bench_cases::{self, BenchCase, BenchModel, Variant},
    gpu::Roofline,
    ops,
    plan::Target,
};
use std::collections::{BTreeSet, HashMap};

/// A rehearsal times so many cases of each kind.
const REHEARSED: usize = 3;

/// Nothing but rows.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Nothing {}

/// Times the bench cases of a stage.
pub fn run(run: &Run, stage: Stage) -> Result<(), Failure> {
    let (roofline, struck) = (run.roofline()?, run.struck()?);
    let mut bench_cases = bench_cases(stage, run.gpu.target(), run.rehearse)?;
    if run.rehearse {
        let mut kinds = HashMap::<String, usize>::new();
        bench_cases.retain(|case| {
            let seen = kinds.entry(case.group.clone()).or_default();
            *seen += 1;
            *seen <= REHEARSED || stage == Stage::Fusions
        });
    }
    let mut sheet = run.sheet(stage, Nothing {})?;
    sheet.expect(bench_cases.iter().map(BenchCase::title))?;
    for case in bench_cases {
        let title = case.title();
        time(run, &mut sheet, &case, &roofline, &struck)?;
        sheet.done(&title)?;
    }
    Ok(())
}

/// Times a case in every variant, or says why not.
fn time(
    run: &Run,
    sheet: &mut Sheet<Nothing>,
    case: &BenchCase,
    roofline: &Roofline,
    struck: &BTreeSet<String>,
) -> Result<(), Failure> {
    let title = case.title();
    if let Some(reason) = bench_cases::too_long(case.cost, roofline) {
        return sheet.leave_out(&title, reason);
    }
    let mut chosen = true;
    for Variant { name, plan } in case.variants(run.gpu.target()) {
        let what = format!("{title} ({name})");
        let plan = match plan {
            Ok(plan) => plan,
            Err(error) => {
                sheet.leave_out(&what, error)?;
                continue;
            }
        };
        let row = Row { chosen, ..Row::of(&title, &name, &plan, case.cost) };
        if let Some(kernel) = row.kernels.intersection(struck).next() {
            let reason = format!("struck out: {kernel} failed its cases");
            sheet.leave_out(&what, reason)?;
            continue;
        }
        let timed = case.executor(&run.gpu, plan).map_err(Failure::from);
        let timed = timed.and_then(|mut executor| run.repeats.device(&mut executor, row));
        sheet.keep(&what, timed)?;
        chosen = false;
    }
    Ok(())
}

/// The bench cases of a stage, those of the largest interest first.
fn bench_cases(stage: Stage, target: &Target, few: bool) -> Result<Vec<BenchCase>, Failure> {
    let cases = ops::cases();
    let (mut products, mut kernels) = (Vec::new(), Vec::new());
    if stage == Stage::Fusions {
        let extents: &[[usize; 3]] =
            if few { &[[1, 8, 16]] } else { &[[1, 32, 128], [64, 32, 128], [1, 64, 320]] };
        for &extents in extents {
            kernels.extend(bench_cases::fusions(extents)?);
        }
        return Ok(kernels);
    }
    if stage == Stage::Products {
        let extents: &[usize] = if few { &[64] } else { &[4096, 2048, 1024, 512] };
        products = bench_cases::products(extents, &cases)?;
    }
    if few {
        kernels = BenchModel::digits()?.bench_cases(1, target, &cases)?;
    } else {
        let model = BenchModel::cifar10()?;
        kernels.extend(model.bench_cases(64, target, &cases)?);
        kernels.extend(bench_cases::stable_diffusion(&cases)?);
        kernels.extend(model.bench_cases(1, target, &cases)?);
        // The profiles of whole steps hold fused kernels too.
        kernels.sort_by_key(|case| case.group.starts_with("fused"));
    }
    products.extend(kernels.into_iter().filter(|case| belongs(stage, &case.group)));
    Ok(bench_cases::distinct(products))
}

fn belongs(stage: Stage, group: &str) -> bool {
    match stage {
        Stage::Products => group.contains("linear"),
        Stage::Convolutions => group.contains("conv2d"),
        Stage::Attention => group.contains("attention"),
        Stage::Norms => group.starts_with("group_") || group == "apply_affine",
        _ => false,
    }
}

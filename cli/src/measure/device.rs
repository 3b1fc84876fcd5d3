//! The adapter, and what it does at most.
use super::{
    facts::{Adapter, Ceilings},
    record::Row,
    run::Run,
};
use crate::{
    cli::{self, Stage},
    console::say,
    devices::{describe, matrix},
    failure::Failure,
};
use ddim::{
    bench_cases::{self, Variant},
    gpu::{Overhead, Roofline, adapters, with_checks},
    ops,
};

/// Launches that are timed together.
const LAUNCHES: usize = 1000;

/// Writes down the adapter; an error if it is none of hardware and this is no rehearsal.
pub fn device(run: &Run, asked: &cli::Device) -> Result<(), Failure> {
    let mut sheet = run.sheet(Stage::Device, Adapter::default())?;
    let info = run.gpu.info();
    let found = pollster::block_on(adapters(&asked.options())).into_iter();
    let mut found = found.filter(|report| report.info.name == info.name);
    let Some(report) = found.find(|report| report.info.backend == info.backend) else {
        return Err(Failure::Usage(format!("{} is no longer there", info.name)));
    };
    // Their printed form has one `name: value` after another.
    let limits = format!("{:#?}", report.limits);
    let limits =
        limits.lines().filter_map(|line| line.trim().trim_end_matches(',').split_once(": "));
    sheet.facts = Adapter {
        adapter: describe(&run.gpu),
        software: report.target.profile.is_software(),
        subgroup: report.target.subgroup,
        limits: limits.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        features: report.features.iter_names().map(|(name, _)| name.to_owned()).collect(),
        cooperative_matrices: report.cooperative_matrices.iter().map(matrix).collect(),
    };
    sheet.save()?;
    say!("{}", sheet.facts.adapter);
    if sheet.facts.software && !run.rehearse {
        return Err(Failure::Usage(format!(
            "{} is no hardware GPU: its figures are none; --rehearse measures it all the same",
            info.name
        )));
    }
    Ok(())
}

/// Measures them.
pub fn ceilings(run: &Run) -> Result<(), Failure> {
    let mut sheet = run.sheet(Stage::Ceilings, Ceilings::default())?;
    let roofline = Roofline::measure(&run.gpu)?;
    let [plain, checked] =
        [false, true].map(|checked| Overhead::measure(&run.gpu, LAUNCHES, checked));
    let (plain, checked) = (plain?, checked?);
    sheet.facts = Ceilings {
        flops_per_second: roofline.flops_per_second,
        bytes_per_second: roofline.bytes_per_second,
        dependent_launch: [plain.dependent, checked.dependent].map(|time| time.as_secs_f64()),
        independent_launch: [plain.independent, checked.independent].map(|time| time.as_secs_f64()),
    };
    sheet.save()?;
    // The same product with and without checks.
    let extent = if run.rehearse { 64 } else { 4096 };
    let case = bench_cases::products(&[extent], &ops::cases())?.into_iter().next();
    let Some(case) = case else { return Ok(()) };
    for Variant { name, plan } in case.variants(run.gpu.target()) {
        let plan = plan?;
        for (plan, checks) in [(plan.clone(), ""), (with_checks(plan), ", checked")] {
            let name = format!("{name}{checks}");
            let row = Row::of(&case.title(), &name, &plan, case.cost);
            let mut executor = case.executor(&run.gpu, plan)?;
            sheet.add(run.repeats.device(&mut executor, row)?)?;
        }
    }
    Ok(())
}

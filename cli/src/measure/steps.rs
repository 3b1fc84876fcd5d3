//! Whole models: a sampling step, a training step, a trajectory.
use super::{
    facts::{Profiled, Profiles},
    record::Row,
    run::{Run, Trusted, name},
};
use crate::{cli::Stage, failure::Failure};
use cpu_time::ThreadTime;
use ddim::{
    bench_cases::{self, BenchModel, BenchStep},
    gpu::{Executor, Roofline},
    passes,
};

/// Times the steps of a stage.
pub fn run(run: &Run, stage: Stage) -> Result<(), Failure> {
    let model = if run.rehearse { BenchModel::digits()? } else { BenchModel::cifar10()? };
    let batches: &[usize] = if run.rehearse { &[1] } else { &[1, 8, 64] };
    let roofline = run.roofline()?;
    let what = name(stage);
    let title = |batch: &usize| format!("{what} {}", model.title(*batch));
    let mut sheet = run.sheet(stage, Profiles::default())?;
    sheet.expect(batches.iter().map(title))?;
    for batch in batches {
        let (title, target) = (title(batch), run.gpu.target());
        let step = match stage {
            Stage::Training => model.training(*batch, target)?,
            _ => model.sampling(*batch, target)?,
        };
        let timed = time(run, stage, &step, &title, &roofline).map(|(row, profile)| {
            sheet.facts.profiles.extend(profile);
            row
        });
        sheet.keep(&title, timed)?;
        sheet.done(&title)?;
    }
    Ok(())
}

fn time(
    run: &Run,
    stage: Stage,
    step: &BenchStep,
    title: &str,
    roofline: &Roofline,
) -> Result<(Row, Option<Profiled>), Failure> {
    let trusted = Trusted(run.struck()?);
    let plan = passes::compile_with(&step.graph, run.gpu.target(), &trusted)?;
    let mut cost = plan.cost();
    let runs = if stage == Stage::Ddim { BenchModel::TRAJECTORY } else { 1 };
    (cost.flops, cost.bytes) = (cost.flops * runs as u64, cost.bytes * runs as u64);
    if let Some(reason) = bench_cases::too_long(cost, roofline) {
        return Err(Failure::Usage(reason));
    }
    let row = Row { chosen: true, ..Row::of(title, "ddim", &plan, cost) };
    let predicted = row.predicted.map(|seconds| seconds * runs as f64);
    let row = Row { launches: row.launches * runs, predicted, ..row };
    let mut executor = step.executor(&run.gpu, plan)?;
    let row = run.repeats.host(&mut executor, runs, row, |executor| step.restart(executor))?;
    if stage == Stage::Ddim {
        return Ok((row, None));
    }
    step.restart(&mut executor)?;
    Ok((row, Some(profile(title, &mut executor, run.repeats.samples)?)))
}

fn profile(name: &str, executor: &mut Executor, runs: usize) -> Result<Profiled, Failure> {
    let profile = executor.profile(runs)?;
    let total = profile.total().time;
    let kernels = profile.kernels().into_iter().filter(|kernel| kernel.time * 100 >= total);
    let kernels = kernels.map(|kernel| {
        let (seconds, cost) = (kernel.time.as_secs_f64(), kernel.cost);
        (kernel.name, kernel.calls, seconds, cost.flops, cost.bytes)
    });
    let kernels = kernels.collect();
    // The thread's own time: submitting may block until the driver has room.
    let (before, start) = (executor.stats().dispatches, ThreadTime::now());
    executor.run(runs)?;
    let time = start.elapsed().as_secs_f64();
    let launches = executor.stats().dispatches - before;
    executor.wait()?;
    let host_launch = time / launches.max(1) as f64;
    Ok(Profiled { name: name.to_owned(), kernels, host_launch })
}

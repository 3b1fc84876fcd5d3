//! `ddim profile`: where the time of a step goes.
use crate::{
    cli::{self, Device},
    console::say,
    devices::describe,
    failure::Failure,
    files,
    plan::ModelStep,
};
use cpu_time::ThreadTime;
use ddim::{
    gpu::{Executor, Gpu, Profile, Report, Roofline, Times},
    nn::Weights,
    ops::Input,
    training::Optimizer,
    value::ElementType,
};
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// How a trace, a report's numbers and its page begin.
const TRACE_SIGN: &str = r#"{"otherData":{"software":"ddim"}"#;
const JSON_SIGN: &str = "{\n  \"software\": \"ddim\"";
const PAGE_SIGN: &str = "<!DOCTYPE html>\n<!-- ddim report -->";

/// Measures, prints and writes.
pub fn run(device: &Device, arguments: &cli::Profile) -> Result<(), Failure> {
    let written = [
        (&arguments.trace, TRACE_SIGN),
        (&arguments.json, JSON_SIGN),
        (&arguments.html, PAGE_SIGN),
    ];
    for (path, sign) in written {
        if let Some(path) = path {
            files::prepare_file(path, sign, arguments.existing.overwrite)?;
        }
    }
    let read = |path| Report::read(path).map_err(|error| Failure::file(path, error));
    let earlier = arguments.against.as_deref().map(read).transpose()?;
    let gpu = device.open()?;
    let step = arguments.step.build(gpu.target())?;
    let mut executor = executor(&gpu, &step)?;
    let measured = Measured::new(&mut executor, arguments.runs)?;
    let Measured { roofline, profile, each, .. } = &measured;
    let alive = executor.plan().alive_bytes().collect();
    let report = Report::of_profile([&step.title, &describe(&gpu)], roofline, profile, each, alive);
    measured.print(&report);
    if let Some(earlier) = &earlier {
        say!("against {}\n{}", earlier.device, report.comparison(earlier));
    }
    write(&arguments.trace, || profile.trace())?;
    write(&arguments.json, || report.json())?;
    write(&arguments.html, || report.html(earlier.as_ref()))
}

/// Makes a file, if it was asked for.
fn write(path: &Option<PathBuf>, text: impl FnOnce() -> String) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    files::write(path, text().as_bytes())?;
    say!("wrote {}", path.display());
    Ok(())
}

/// What was measured of a step.
struct Measured {
    /// The first run, with compilation.
    first: Duration,
    roofline: Roofline,
    profile: Profile,
    /// Each step by the host's clock, the fastest first.
    each: Vec<Duration>,
    /// Time of this thread in all of them, and their launches.
    host: Duration,
    launches: u64,
}

impl Measured {
    fn new(executor: &mut Executor, runs: usize) -> Result<Self, Failure> {
        let compiling = Instant::now();
        executor.run(1)?;
        executor.wait()?;
        let first = compiling.elapsed();
        let roofline = Roofline::measure(executor.gpu())?;
        // Steps before and after the profile: other work on the machine slows them alike.
        let (mut host, mut each) = (Duration::ZERO, Vec::new());
        let mut steps = |executor: &mut Executor| -> Result<(), Failure> {
            for _ in 0..runs {
                // The thread's own time: submitting may block until the driver has room.
                let (encoding, stepping) = (ThreadTime::now(), Instant::now());
                executor.run(1)?;
                host += encoding.elapsed();
                executor.wait()?;
                each.push(stepping.elapsed());
            }
            Ok(())
        };
        let before = executor.stats().dispatches;
        steps(executor)?;
        let launches = 2 * (executor.stats().dispatches - before);
        let profile = executor.profile(runs)?;
        steps(executor)?;
        each.sort();
        Ok(Self { first, roofline, profile, each, host, launches })
    }

    fn print(&self, of: &Report) {
        let Self { first, roofline, profile, each, host, launches } = self;
        say!("{}\nfor {}", of.step, of.device);
        say!(
            "ceilings: {:.1} GFLOP/s in registers, {:.1} GB/s copying",
            roofline.flops_per_second / 1e9,
            roofline.bytes_per_second / 1e9,
        );
        say!("first run, with compilation: {:.2} s", first.as_secs_f64());
        let launch = 1e6 * host.as_secs_f64() / *launches.max(&1) as f64;
        say!("host: {launch:.2} us for each of {launches} launches");
        if let Some(Times { median, fastest, slowest }) = of.milliseconds {
            let ratio = median / (1e3 * profile.total().time.as_secs_f64());
            say!(
                "a step: {median:.2} ms ({fastest:.2} to {slowest:.2} in {} runs), {ratio:.2} times the \
                 sum of its kernels\n",
                each.len(),
            );
        }
        let tables = [(profile.scopes(), "part of the model"), (profile.entry_points(), "kernel")];
        for (groups, name) in tables {
            say!("{}\n", profile.table(&groups, name, Some(roofline)));
        }
    }
}

/// The step on its device, with untrained weights.
pub fn executor(gpu: &Gpu, step: &ModelStep) -> Result<Executor, Failure> {
    let ModelStep { graph, arenas, weights, .. } = step;
    let mut executor = Executor::new(gpu, step.plan(gpu.target())?)?;
    let initial = Weights::initial(&arenas.specs, 0);
    for (&arena, pieces) in weights.iter().zip(arenas.pieces(&initial)?) {
        executor.write_pieces(arena, pieces)?;
    }
    // Images, tables and times: anything but zeros, which some processors compute faster.
    for (&value, seed) in graph.inputs.iter().zip(1..) {
        let of = graph.type_of(value);
        if of.element != ElementType::U32 && !weights.contains(&value) {
            let data = Input::uniform(of, 0.05, 0.95).tensor(seed).data;
            executor.write(value, &data.iter().map(|&x| x as f32).collect::<Vec<_>>())?;
        }
    }
    if graph.sections().iter().any(|(name, _)| name == Optimizer::HALVES) {
        executor.run_section(Optimizer::HALVES)?;
    }
    Ok(executor)
}

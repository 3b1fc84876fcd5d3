//! Every kernel at the shapes of real models, each by every family; fusions with and without;
//! whole steps. Times are the device's own where it has timestamps; after each stands the median
//! with its spread, and its share of the ceiling that applies, measured in the same run. All of it
//! becomes `bench.json` and `bench.html` in the target folder, compared with the run before.
//!
//! ```sh
//! cargo bench                                       # the chosen set of support/set.rs, minutes
//! cargo bench -- .                                  # all, hours
//! cargo bench -- conv2d/                            # one op
//! cargo bench -- 'conv2d/tiled cifar10-b8 32x32 '   # a regular expression
//! cargo bench -- --list .                           # the names
//! ```
use criterion::{BenchmarkId, Criterion, Throughput};
use ddim::{
    Error,
    bench_cases::{self, BenchCase, BenchModel, BenchStep, Variant},
    gpu::{Bottleneck, Gpu, GpuOptions, Report, ReportLine, Roofline},
    passes,
    plan::{Cost, Plan},
};
use filter::Filter;
use gpu_time::{GpuTime, Timed};
use std::{cell::OnceCell, env, fs, io, path::PathBuf, process};

#[path = "support/filter.rs"]
mod filter;
#[path = "support/gpu_time.rs"]
mod gpu_time;
#[path = "support/names.rs"]
mod names;
#[path = "support/set.rs"]
mod set;

fn main() -> Result<(), Error> {
    let gpu = Gpu::new(&GpuOptions::default()).unwrap_or_else(|error| {
        eprintln!("error: {error}");
        process::exit(1)
    });
    println!("{} ({} {})", gpu.info().name, gpu.info().driver, gpu.info().driver_info);
    let kernels = set::kernels(gpu.target())?;
    let mut bench = Bench {
        criterion: gpu_time::config().configure_from_args(),
        filter: Filter::from_arguments(set::chosen(&kernels, gpu.target())),
        roofline: OnceCell::new(),
        left_out: Vec::new(),
        lines: Vec::new(),
        gpu,
    };
    for case in &kernels {
        bench.case(case)?;
    }
    for (model, batch) in set::models()? {
        bench.steps(&model, batch)?;
    }
    bench.criterion.final_summary();
    if !bench.left_out.is_empty() {
        println!("left out:\n{}", bench.left_out.join("\n"));
    }
    if let Err(error) = bench.report() {
        eprintln!("error: no report: {error}");
        process::exit(1);
    }
    Ok(())
}

struct Bench {
    gpu: Gpu,
    criterion: Criterion<GpuTime>,
    filter: Filter,
    roofline: OnceCell<Roofline>,
    left_out: Vec<String>,
    /// What was timed.
    lines: Vec<ReportLine>,
}

impl Bench {
    /// A case in every way.
    fn case(&mut self, case: &BenchCase) -> Result<(), Error> {
        // The names of families come with their plans, which need no device.
        let variants = case.variants(self.gpu.target());
        let families: Vec<&str> = variants.iter().map(|variant| variant.name.as_str()).collect();
        let names = set::names(case, &families);
        for (Variant { plan, .. }, name) in variants.into_iter().zip(names) {
            let gpu = self.gpu.clone();
            self.time(&case.group, &name, case.cost, || {
                Ok(Timed::new(case.executor(&gpu, plan?)?, 1, Box::new(|_| Ok(()))))
            })?;
        }
        Ok(())
    }

    /// A forward pass, a sampling step, a training step and a trajectory.
    fn steps(&mut self, model: &BenchModel, batch: usize) -> Result<(), Error> {
        let (gpu, trajectory) = (self.gpu.clone(), BenchModel::TRAJECTORY);
        let target = gpu.target();
        for (group, runs) in [("forward", 1), ("unet", 1), ("training", 1), ("ddim", trajectory)] {
            let title = model.title(batch);
            if !self.filter.matches(&format!("{group}/{title}")) {
                continue;
            }
            let step: BenchStep = match group {
                "forward" => model.forward(batch, target)?,
                "training" => model.training(batch, target)?,
                _ => model.sampling(batch, target)?,
            };
            let plan = passes::compile(&step.graph, target);
            let Cost { flops, bytes } = plan.as_ref().map_or(Cost::default(), Plan::cost);
            let cost = Cost { flops: flops * runs as u64, bytes: bytes * runs as u64 };
            self.time(group, &title, cost, || {
                let executor = step.executor(&gpu, plan?)?;
                Ok(Timed::new(executor, runs, Box::new(move |executor| step.restart(executor))))
            })?;
        }
        Ok(())
    }

    /// Times what `make` makes, if the filter lets it through and it fits device and patience.
    fn time(
        &mut self,
        group: &str,
        name: &str,
        cost: Cost,
        make: impl FnOnce() -> Result<Timed, Error>,
    ) -> Result<(), Error> {
        let title = format!("{group}/{name}");
        if !self.filter.matches(&title) {
            return Ok(());
        }
        let id = BenchmarkId::from_parameter(name);
        if self.filter.lists {
            self.criterion.benchmark_group(group).bench_function(id, |_| ());
            return Ok(());
        }
        let roofline = self.roofline()?;
        if let Some(reason) = bench_cases::too_long(cost, &roofline) {
            return self.leave_out(&title, &reason);
        }
        // Made before criterion begins: it has no word for what cannot be timed.
        let timed = match make() {
            Ok(timed) => timed,
            Err(error) => return self.leave_out(&title, &error.to_string()),
        };
        let (bound, case) = match roofline.bottleneck(cost) {
            Bottleneck::Compute => ("multiply-adds", Throughput::Elements(cost.flops)),
            Bottleneck::Bandwidth => ("a copy", Throughput::Bytes(cost.bytes)),
        };
        let mut benches = self.criterion.benchmark_group(group);
        benches.throughput(case).bench_function(id, |bencher| timed.iterate(bencher));
        benches.finish();
        if let Some(times) = timed.spread() {
            self.lines.push(ReportLine::new(&title, 1, times.into(), cost, &roofline));
            let share = 100.0 * roofline.share(cost, times[1]);
            let [least, median, most] = times.map(|time| 1e3 * time.as_secs_f64());
            println!("{:24}median: {median:.4} ms, {least:.4} to {most:.4}", "");
            println!("{:24}bound:  {share:.1}% of the rate of {bound}\n", "");
        }
        Ok(())
    }

    /// Writes what was timed as numbers and as a page, which compares it with the run before.
    fn report(&self) -> io::Result<()> {
        let Some(roofline) = self.roofline.get().filter(|_| !self.lines.is_empty()) else {
            return Ok(());
        };
        // This program lies in target/release/deps.
        let program = env::current_exe()?;
        let target = program.ancestors().nth(3).map(PathBuf::from).unwrap_or_default();
        let (numbers, page) = (target.join("bench.json"), target.join("bench.html"));
        let info = self.gpu.info();
        let device = format!("{} ({} {})", info.name, info.driver, info.driver_info);
        let report = Report::new("cargo bench", &device, roofline, self.lines.clone());
        let earlier = Report::read(&numbers).ok();
        fs::write(&page, report.html(earlier.as_ref()))?;
        fs::write(&numbers, report.json())?;
        println!("wrote {} and {}", numbers.display(), page.display());
        Ok(())
    }

    /// Measured when it is first wanted.
    fn roofline(&self) -> Result<Roofline, Error> {
        if let Some(known) = self.roofline.get() {
            return Ok(*known);
        }
        let measured = Roofline::measure(&self.gpu)?;
        let (flops, bytes) = (measured.flops_per_second / 1e9, measured.bytes_per_second / 1e9);
        println!("ceilings: {flops:.1} GFLOP/s in registers, {bytes:.1} GB/s copying\n");
        Ok(*self.roofline.get_or_init(|| measured))
    }

    fn leave_out(&mut self, title: &str, reason: &str) -> Result<(), Error> {
        if self.filter.matches(title) {
            println!("{title}\n{:24}left out: {reason}\n", "");
            self.left_out.push(format!("{title}: {reason}"));
        }
        Ok(())
    }
}

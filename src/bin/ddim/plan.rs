//! `ddim plan`: what would run, without running it.
use crate::{
    cli::{self, Device},
    failure::Failure,
    presets,
    progress::thousands,
};
use ddim::{
    diffusion::{SamplingGraph, schedule::SchedulerConfig},
    gpu::adapters,
    graph::Graph,
    passes,
    plan::{Plan, Target},
    training::{Given, TrainingGraph, TrainingOptions},
    unet::{ArenaLayout, UNet, UNetConfig},
};
use std::io::{Write, stdout};

/// Rows of a sampling table: any number gives the same plan but for the table's bytes.
const STEPS: usize = 50;

impl Device {
    /// The target to plan for and its name: the adapter's, or WebGPU's floor where there is none.
    fn target(&self) -> Result<(Target, String), Failure> {
        let options = self.options();
        let wanted = options.adapter.clone().unwrap_or_default().to_lowercase();
        let mut found = pollster::block_on(adapters(&options)).into_iter();
        match found.find(|report| report.info.name.to_lowercase().contains(&wanted)) {
            Some(report) => Ok((report.target, report.info.name)),
            None if self.adapter.is_none() => {
                Ok((Target::default(), "no adapter found: WebGPU's least limits".to_owned()))
            }
            // Says that there is none of that name.
            None => Err(self.open().err().unwrap_or_else(|| {
                Failure::Usage(format!("--adapter {wanted}: came just now, try again"))
            })),
        }
    }
}

/// Memory, work and launches of a plan, in a line.
pub fn summary(plan: &Plan) -> String {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    format!(
        "{} dispatches, {} pipelines, {:.3} GFLOP, {:.1} MiB on the device",
        plan.dispatches.len(),
        plan.pipelines(),
        plan.cost().flops as f64 / 1e9,
        mib(plan.peak_bytes()),
    )
}

/// Prints graph and plan.
pub fn run(device: &Device, arguments: &cli::Plan) -> Result<(), Failure> {
    let (target, adapter) = device.target()?;
    let (config, scheduler) = match (&arguments.model, &arguments.config) {
        (Some(folder), _) => (
            UNetConfig::read(&folder.join("unet/config.json"))?,
            SchedulerConfig::read(&folder.join("scheduler/scheduler_config.json"))?,
        ),
        (None, Some(file)) => (UNetConfig::read(file)?, SchedulerConfig::default()),
        (None, None) => (presets::digits().unet, SchedulerConfig::default()),
    };
    let unet = UNet::new(config)?;
    let [height, width] = match (arguments.size, unet.config().sample_size) {
        (Some(size), _) => [size; 2],
        (None, Some(size)) => size.sides().into(),
        (None, None) => {
            return Err(Failure::Usage("the model names no sample_size: give --size".into()));
        }
    };
    unet.config().check_image(height, width)?;
    let layout = ArenaLayout::new(unet.parameters()?, target.max_binding);
    let batch = arguments.batch;
    let (what, graph): (_, Graph) = if arguments.train {
        let options = TrainingOptions { batch, ..TrainingOptions::default() };
        let timesteps = scheduler.num_train_timesteps;
        let size = [height, width];
        let step = TrainingGraph::new(&unet, &layout, size, timesteps, &options, Given::Nothing)?;
        ("training step", step.graph)
    } else {
        let step = SamplingGraph::new(&unet, &layout, [batch, height, width], STEPS, false)?;
        ("sampling step", step.graph)
    };
    let plan = passes::compile(&graph, &target)?;
    let mut out = stdout().lock();
    let parameters = thousands(layout.elements() as u64);
    writeln!(out, "{what}, {batch} images of {height}x{width}, {parameters} parameters")?;
    writeln!(out, "for {adapter}")?;
    if arguments.summary {
        writeln!(out, "{}", plan.totals())?;
    } else {
        writeln!(out, "\nGraph\n{graph}\nDispatches\n{plan}")?;
    }
    Ok(())
}

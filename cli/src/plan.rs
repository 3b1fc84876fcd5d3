//! `ddim plan`: what would run, without running it.
mod latent;
mod predicted;
mod summary;

use crate::{
    cli::{self, Device},
    console::say,
    failure::Failure,
    presets,
    progress::thousands,
};
use ddim::{
    diffusion::{
        SamplingGraph, SamplingOptions,
        samplers::{SamplerKind, SamplerOptions},
        schedule::SchedulerConfig,
    },
    gpu::adapters,
    graph::Graph,
    models::unet2d::{UNet, UNetConfig},
    nn::{Arenas, FrozenParameters},
    passes,
    pipeline::{LatentModel, read_model},
    plan::{DEVICES, DeviceProfile, Plan, TABLE, Target},
    training::{Given, Optimizer, TrainingGraph, TrainingOptions},
    value::Value,
};
use predicted::{filled, launches, predicted};
pub use summary::summary;

/// Rows of a sampling table: any number gives the same plan but for the table's bytes.
const STEPS: usize = 50;

impl Device {
    /// The target to plan for and its name: the GPU's of that name, or the adapter's, or WebGPU's floor
    /// where there is none. Matrix units are planned for where they compute right, which takes the device.
    fn target(&self, device: Option<&str>) -> Result<(Target, String), Failure> {
        if let Some(device) = device {
            return named(device);
        }
        if self.cooperative_matrices {
            let gpu = self.open()?;
            return Ok((gpu.target().clone(), gpu.info().name.clone()));
        }
        let mut found = pollster::block_on(adapters(&self.options())).into_iter();
        match (found.find(|report| self.names(report)), &self.adapter) {
            (Some(report), _) => Ok((report.target, report.info.name)),
            (None, None) => {
                Ok((Target::default(), "no adapter found: WebGPU's least limits".to_owned()))
            }
            // Says that there is none of that name.
            (None, Some(wanted)) => Err(self.open().err().unwrap_or_else(|| {
                Failure::Usage(format!("--adapter {wanted}: came just now, try again"))
            })),
        }
    }
}

/// A GPU that need not be here.
fn named(device: &str) -> Result<(Target, String), Failure> {
    match DeviceProfile::named(device) {
        Some(profile) => {
            Ok((Target::of(profile), format!("{device}, by its figures: it need not be here")))
        }
        None => {
            let known: Vec<&str> = DEVICES.iter().map(|(name, _)| *name).collect();
            let known = known.join(", ");
            Err(Failure::Usage(format!("--device {device}: no figures of it; there are {known}")))
        }
    }
}

/// A step of a model, as a graph.
pub struct ModelStep {
    /// What it is, in a line.
    pub title: String,
    /// The step.
    pub graph: Graph,
    /// Where its parameters lie.
    pub arenas: Arenas,
    /// The inputs that are the arenas.
    pub weights: Vec<Value>,
    /// Most bytes that it may take, if there is a limit.
    pub memory: Option<u64>,
}

impl cli::Step {
    /// Builds the step for a device.
    pub fn build(&self, target: &Target) -> Result<ModelStep, Failure> {
        let (unet, scheduler) = match (&self.model, &self.config) {
            (Some(folder), _) => read_model(folder)?,
            (None, Some(file)) => (UNet::new(UNetConfig::read(file)?)?, SchedulerConfig::default()),
            (None, None) => (UNet::new(presets::digits().unet)?, SchedulerConfig::default()),
        };
        let [height, width] = match (self.size, unet.config().sample_size) {
            (Some(size), _) => [size; 2],
            (None, Some(size)) => size.sides().into(),
            (None, None) => {
                return Err(Failure::Usage("the model names no sample_size: give --size".into()));
            }
        };
        unet.config().check_image(height, width)?;
        let batch = self.batch;
        let (what, graph, arenas, weights) = if self.train {
            let precision = self.precision.map(Into::into).unwrap_or_default();
            let options = TrainingOptions { batch, precision, ..TrainingOptions::default() };
            let (size, given) = ([height, width], Given::Nothing);
            let step = TrainingGraph::new(target, &unet, size, &scheduler, &options, given)?;
            let Optimizer { arenas, state: [weights, ..], .. } = step.optimizer;
            ("training step", step.graph, arenas, weights)
        } else {
            let steps = Some(STEPS.min(scheduler.num_train_timesteps));
            let options = SamplerOptions { steps, ..SamplerOptions::default() };
            let table =
                SamplerKind::usual(&scheduler).unwrap_or_default().table(&scheduler, &options)?;
            let (size, options) = ([batch, height, width], SamplingOptions::default());
            let step = SamplingGraph::new(target, &unet, size, &table, &options)?;
            let FrozenParameters { arenas, inputs } = step.model.parameters;
            ("sampling step", step.graph, arenas, inputs)
        };
        let parameters = thousands(arenas.elements() as u64);
        let title = format!("{what}, {batch} images of {height}x{width}, {parameters} parameters");
        Ok(ModelStep { title, graph, arenas, weights, memory: self.memory })
    }
}

impl ModelStep {
    /// Its plan, within the memory that it may take.
    pub fn plan(&self, target: &Target) -> Result<Plan, Failure> {
        Ok(match self.memory {
            Some(memory) => passes::compile_within(&self.graph, target, memory)?,
            None => passes::compile(&self.graph, target)?,
        })
    }
}

/// Prints graph and plan.
pub fn run(device: &Device, arguments: &cli::Plan) -> Result<(), Failure> {
    let (target, adapter) = device.target(arguments.device.as_deref())?;
    if let Some(path) = arguments.step.model.as_deref().filter(|path| LatentModel::is_at(path)) {
        return latent::run(&target, &adapter, path, arguments);
    }
    let step = arguments.step.build(&target)?;
    let (plan, ModelStep { title, graph, .. }) = (step.plan(&target)?, step);
    say!("{title}\nfor {adapter}");
    if arguments.summary {
        say!("{}", plan.totals());
    } else {
        say!("\nGraph\n{graph}\nFamilies, by the first line that applies");
        for rule in TABLE.iter().filter(|rule| rule.on == target.profile.kind) {
            say!("{rule}");
        }
        say!("\nDispatches\n{plan}");
    }
    if let (Some(launches), false) = (launches(&plan), arguments.summary) {
        say!("\n{launches}");
    }
    if let Some(predicted) = predicted(&plan) {
        say!("{predicted}");
    }
    if let Some(filled) = filled(&plan, !arguments.summary) {
        say!("{filled}");
    }
    Ok(())
}

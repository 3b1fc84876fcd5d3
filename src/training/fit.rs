//! A plan of a training step that fits the device.
use crate::{
    error::{Error, GpuError, LoweringError},
    gpu::{Executor, Gpu},
    graph::Graph,
    passes,
    plan::Plan,
};

/// Shares of the whole plan's memory that are tried, where that is more than the device gives. The last one
/// asks for the least that there is.
const SHARES: [f64; 3] = [0.75, 0.5, 0.0];

/// An executor of a step in at most `budget` bytes; without a budget in what the device gives.
pub(super) fn executor(gpu: &Gpu, graph: &Graph, budget: Option<u64>) -> Result<Executor, Error> {
    let target = gpu.target();
    let compile = |budget| match budget {
        Some(budget) => passes::compile_within(graph, target, budget),
        None => passes::compile(graph, target),
    };
    let make = |plan| Executor::new(gpu, plan);
    if budget.is_some() { make(compile(budget)?) } else { fitting(compile, make) }
}

/// What `make` makes of the largest plan that it has memory for: the whole one, or one that `compile` makes
/// for fewer bytes.
fn fitting<T>(
    compile: impl Fn(Option<u64>) -> Result<Plan, Error>,
    mut make: impl FnMut(Plan) -> Result<T, Error>,
) -> Result<T, Error> {
    let plan = compile(None)?;
    let whole = plan.peak_bytes();
    let mut refusal = match make(plan) {
        Err(error @ Error::Gpu(GpuError::OutOfMemory { .. })) => error,
        made => return made,
    };
    for share in SHARES {
        let plan = match compile(Some((whole as f64 * share) as u64)) {
            Err(Error::Lowering(LoweringError::Memory { least, .. })) if least < whole => {
                compile(Some(least))?
            }
            Err(Error::Lowering(LoweringError::Memory { .. })) => break,
            plan => plan?,
        };
        let bytes = plan.peak_bytes();
        match make(plan) {
            Err(error @ Error::Gpu(GpuError::OutOfMemory { .. })) => refusal = error,
            made => {
                let mib = |bytes: u64| bytes >> 20;
                log::warn!(
                    "the device has no {} MiB for a step: it takes {} MiB, and longer",
                    mib(whole),
                    mib(bytes)
                );
                return made;
            }
        }
    }
    Err(refusal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diffusion::schedule::SchedulerConfig,
        models::unet2d::{UNet, UNetConfig},
        plan::Target,
        training::{Given, TrainingGraph, TrainingOptions},
    };

    fn step() -> Graph {
        let config = include_str!("../../benches/models/digits.json");
        let config = UNetConfig::parse(config).expect("its config");
        let unet = UNet::new(config).expect("a model");
        let options = TrainingOptions { batch: 8, ..TrainingOptions::default() };
        let (target, scheduler) = (Target::default(), SchedulerConfig::default());
        TrainingGraph::new(&target, &unet, [8, 8], &scheduler, &options, Given::Nothing)
            .expect("a step")
            .graph
    }

    #[test]
    fn the_largest_plan_that_fits_is_taken() {
        let graph = step();
        let compile = |budget| match budget {
            Some(budget) => passes::compile_within(&graph, &Target::default(), budget),
            None => passes::compile(&graph, &Target::default()),
        };
        let whole = compile(None).expect("a plan").peak_bytes();
        let memory = |size| GpuError::OutOfMemory { action: "allocating".into(), bytes: size };
        let within = |bytes: u64| {
            fitting(compile, |plan| match plan.peak_bytes() <= bytes {
                true => Ok(plan.peak_bytes()),
                false => Err(memory(plan.peak_bytes()).into()),
            })
        };
        assert_eq!(within(whole).expect("the whole plan"), whole);
        let less = within(whole - 1).expect("a smaller plan");
        assert!(less < whole, "{less} of {whole}");
        assert!(matches!(within(0), Err(Error::Gpu(GpuError::OutOfMemory { .. }))));
    }
}

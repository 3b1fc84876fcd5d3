//! The kernels that lowering offers a device.
use crate::{latent, mixed};
use ddim::{
    Error,
    bench_cases::{BenchModel, families, stable_diffusion},
    graph::Graph,
    ops::{self, Attention},
    passes,
    plan::{Arithmetic, Dispatch, Plan, Target},
    value::TensorType,
};
use std::collections::BTreeMap;

/// Channels of a head: each number of vec4s that a lane of attention's kernels can hold.
const HEADS: std::ops::RangeInclusive<usize> = 1..=16;
const HEAD_STEP: usize = 32;

/// A kernel, and where its work matters most.
#[derive(Clone, Debug)]
pub struct Offered {
    /// A launch of it.
    pub launch: Dispatch,
    /// Its largest part of the work of a plan.
    pub share: f64,
    /// That plan, or what else offers it.
    pub of: String,
}

/// Kernels by their printed form.
#[derive(Debug, Default)]
pub struct Kernels(pub BTreeMap<String, Offered>);

impl Kernels {
    /// All kernels that lowering offers `target`: for the op tables, with products in f16 too, for heads of every
    /// size, for Stable Diffusion's layers.
    ///
    /// # Errors
    /// If the library refuses its own cases.
    pub fn offered(target: &Target) -> Result<Self, Error> {
        let cases = ops::cases();
        let mut kernels = Self::default();
        let mixed = Target { arithmetic: Arithmetic::Mixed, ..target.clone() };
        for case in &cases {
            for case in case.clone().storages() {
                kernels.add_families("op tables", &case.graph()?, target);
                kernels.add_families("op tables, mixed", &case.graph()?, &mixed);
            }
        }
        for head in HEADS.map(|steps| steps * HEAD_STEP) {
            kernels.add_families("heads", &attention(head)?, target);
        }
        for case in stable_diffusion(&cases)? {
            kernels.add_families("Stable Diffusion 1.5", &case.graph, target);
        }
        Ok(kernels)
    }

    /// Every family's plan that fits the target.
    fn add_families(&mut self, of: &str, graph: &Graph, target: &Target) {
        for plan in families(graph, target).into_iter().filter_map(|family| family.plan.ok()) {
            self.add(of, &plan, |_| 0.0);
        }
    }

    /// The kernels of a plan, with their parts of its work.
    pub fn add_plan(&mut self, name: &str, plan: &Plan) {
        let total = plan.cost().flops as f64;
        let mut work: BTreeMap<String, u64> = BTreeMap::new();
        for launch in plan.dispatches() {
            *work.entry(launch.kernel.to_string()).or_default() += launch.cost.flops;
        }
        let share = |launch: &Dispatch| {
            work.get(&launch.kernel.to_string()).map_or(0.0, |&flops| flops as f64 / total)
        };
        self.add(name, plan, share);
    }

    fn add(&mut self, of: &str, plan: &Plan, share: impl Fn(&Dispatch) -> f64) {
        for launch in plan.all() {
            let share = share(launch);
            let new = || Offered { launch: launch.clone(), share, of: of.to_owned() };
            let known = self.0.entry(launch.kernel.to_string()).or_insert_with(new);
            if share > known.share {
                *known = new();
            }
        }
    }
}

/// Attention with one head of so many channels, and its gradients. The tokens are several blocks of every kernel, so that
/// their split forms are offered too.
fn attention(head: usize) -> Result<Graph, Error> {
    let mut graph = Graph::new();
    let tokens = TensorType::f32(&[1, 256, head]);
    let inputs = [0; 3].map(|_| graph.input(tokens));
    let outputs = graph.push_all(Attention::to_all(1), &inputs)?;
    let dy = graph.input(tokens);
    let gradients = passes::gradient(&mut graph, outputs[0], dy, &inputs)?;
    graph.outputs = outputs.into_iter().chain(gradients.into_iter().flatten()).collect();
    Ok(graph)
}

/// The plans that are looked at: sampling and training of two U-Nets, and the networks of a latent pipeline.
///
/// # Errors
/// If a model cannot be built for the target.
pub fn plans(target: &Target) -> Result<Vec<(String, Plan)>, Error> {
    let mut plans = latent::plans(target)?;
    plans.extend(mixed::plans(target)?);
    for model in [BenchModel::cifar10()?, BenchModel::digits()?] {
        for (step, batches) in [("sampling", &[1, 8, 64][..]), ("training", &[4, 64])] {
            for &batch in batches {
                let graph = match step {
                    "sampling" => model.sampling(batch, target)?.graph,
                    _ => model.training(batch, target)?.graph,
                };
                let name = format!("{} {step}", model.title(batch));
                plans.push((name, passes::compile(&graph, target)?));
            }
        }
    }
    Ok(plans)
}

//! How a plan's work is spread over the cores of a GPU.
use crate::chip::Chip;
use ddim::plan::{Dispatch, Plan};
use serde::Serialize;

/// A launch that does less of a plan's work than this is left out of what is said of grids.
const LIGHT: f64 = 1.0 / 2000.0;

/// Workgroups for each core below which a launch's work is summed.
pub const PER_CORE: [f64; 4] = [0.25, 1.0, 2.0, 4.0];

/// What a plan asks of a GPU.
#[derive(Clone, Debug, Serialize)]
pub struct PlanFigures {
    /// Which.
    pub name: String,
    /// Launches of a run.
    pub launches: usize,
    /// Floating-point operations of a run.
    pub gflop: f64,
    /// Launches with more than a two-thousandth of the work.
    pub heavy: usize,
    /// The part of the work in launches with less than [`PER_CORE`] workgroups for each core.
    pub below: [f64; 4],
    /// The part of the cores that has no workgroup while the last ones of a launch run, by work.
    pub idle: f64,
    /// The largest such part of a heavy launch.
    pub most_idle: f64,
    /// That launch.
    pub most_idle_launch: String,
}

impl PlanFigures {
    /// Of this plan on this chip.
    pub fn of(name: &str, plan: &Plan, chip: &Chip) -> Self {
        let total = plan.cost().flops as f64;
        let share = |launch: &Dispatch| launch.cost.flops as f64 / total;
        let heavy: Vec<&Dispatch> =
            plan.dispatches().filter(|launch| share(launch) > LIGHT).collect();
        let cores = chip.cores as f64;
        let below = PER_CORE.map(|most| {
            let few = heavy.iter().filter(|launch| workgroups(launch) as f64 / cores < most);
            few.map(|launch| share(launch)).fold(0.0, |sum, part| sum + part)
        });
        let idle = |launch: &Dispatch| {
            let rounds = workgroups(launch).div_ceil(chip.cores) as f64;
            1.0 - workgroups(launch) as f64 / (cores * rounds)
        };
        let most = heavy.iter().max_by(|a, b| idle(a).total_cmp(&idle(b)));
        let launch = |launch: &&Dispatch| {
            let [x, y, z] = launch.workgroups;
            format!("{} {x}x{y}x{z} {}", launch.kernel, launch.scope.as_str())
        };
        Self {
            name: name.to_owned(),
            launches: plan.dispatches().count(),
            gflop: total / 1e9,
            heavy: heavy.len(),
            below,
            idle: heavy.iter().map(|launch| share(launch) * idle(launch)).sum(),
            most_idle: most.map_or(0.0, |launch| idle(launch)),
            most_idle_launch: most.map(launch).unwrap_or_default(),
        }
    }
}

fn workgroups(launch: &Dispatch) -> usize {
    launch.workgroups.iter().map(|&extent| extent as usize).product()
}

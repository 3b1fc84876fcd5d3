//! A plan in a line.
use ddim::plan::Plan;

/// Memory, work and launches of a plan, in a line.
pub fn summary(plan: &Plan) -> String {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let recomputed = match plan.recomputed() {
        0 => String::new(),
        count => format!(" ({count} of them again, to save memory)"),
    };
    format!(
        "{} dispatches{recomputed}, {} pipelines, {:.3} GFLOP, {:.1} MiB on the device",
        plan.dispatches().count(),
        plan.pipelines(),
        plan.cost().flops as f64 / 1e9,
        mib(plan.peak_bytes()),
    )
}

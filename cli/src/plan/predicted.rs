//! What the model of a device predicts of a plan.
use ddim::plan::{Occupancy, Plan};
use std::time::Duration;

/// Costs of a launch, microseconds, beside the profile's own.
const LAUNCHES: [u64; 2] = [2, 25];

/// How long a run takes by the model, in a line; none of a device whose rates are not known.
pub fn predicted(plan: &Plan) -> Option<String> {
    let (total, rates) = (plan.predict()?, plan.target.profile.rates?);
    let ms = |launch| 1e3 * total.time(launch).as_secs_f64();
    let [few, many] = LAUNCHES.map(|us| ms(Duration::from_micros(us)));
    Some(format!(
        "predicted         {:.3} ms: {:.3} of work, {} launches of {} us; {few:.3} ms at {} us a launch, {many:.3} at {}",
        ms(rates.launch),
        ms(Duration::ZERO),
        total.launches,
        rates.launch.as_micros(),
        LAUNCHES[0],
        LAUNCHES[1],
    ))
}

/// How long each launch of a run takes by the model, its own cost left out.
pub fn launches(plan: &Plan) -> Option<String> {
    let mut lines = "Predicted, ms of each launch beside its cost\n".to_owned();
    for launch in plan.dispatches() {
        let ms = 1e3 * plan.target.profile.predict(launch)?.work.as_secs_f64();
        let ([x, y, z], kernel, scope) = (launch.workgroups, &launch.kernel, launch.scope.as_str());
        lines += &format!("{ms:9.4}  {kernel} {x}x{y}x{z}   // {scope}\n");
    }
    Some(lines)
}

/// Subgroups for each scheduler: one, and as many as hide what they wait for.
const PER_SCHEDULER: [u64; 2] = [1, 4];

/// How the launches that hold 95% of the work fill the device; of those that leave schedulers without a
/// subgroup a line each, if `all`, that says what splitting their sums would bring.
pub fn filled(plan: &Plan, all: bool) -> Option<String> {
    let (launches, schedulers) = (plan.occupancy()?, plan.target.profile.schedulers()?);
    let share = |launches: &[&Occupancy]| launches.iter().map(|of| of.share).sum::<f64>();
    let whole = share(&launches.iter().collect::<Vec<_>>());
    let counts = PER_SCHEDULER.map(|per| {
        let wanted = per * schedulers;
        let split: Vec<_> = launches.iter().filter(|of| of.is_split_enough(wanted)).collect();
        let part = 100.0 * share(&split) / whole;
        format!("{wanted} subgroups or sums in 8 parts: {} ({part:.0}% of that work)", split.len())
    });
    let counts = counts.join("; ");
    let mut lines =
        format!("filled            of {} launches with 95% of the work, {counts}", launches.len());
    for of in launches.iter().filter(|of| all && !of.is_split_enough(schedulers)) {
        lines += &format!("\n    {of}");
    }
    Some(lines)
}

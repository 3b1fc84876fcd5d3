//! Whether launches keep the schedulers of a GPU busy.
use super::{
    Access, Cost, DeviceProfile, Dispatch, Plan,
    predict::{invocations, operations},
};
use crate::value::Value;
use std::{fmt, time::Duration};

/// Part of a plan's operations whose launches are looked at.
const WORK: f64 = 0.95;

/// Parts that a sum is split into at most: more cost more to add than they save.
pub(crate) const MOST_PARTS: u32 = 8;

/// Part of its time that a launch must stay below to be split, with what it takes to add the parts: the model is
/// not exact, and a launch more is one more that a slow system pays for.
pub(crate) const SPLIT_PAYS: f64 = 0.9;

/// One of the launches that hold most of a plan's work. Prints what it lacks.
///
/// ```
/// use ddim::{graph::Graph, ops::Conv2d, passes, plan::{DeviceProfile, Target}, value::TensorType};
///
/// let mut graph = Graph::new();
/// let [x, weight] = [&[1, 4, 4, 512][..], &[3, 3, 512, 512]].map(|of| graph.input(TensorType::f32(of)));
/// let y = graph.push(Conv2d { stride: 1, padding: [1; 4] }, &[x, weight])?;
/// graph.outputs.push(y);
/// let card = DeviceProfile::named("H100").expect("a known GPU");
/// assert_eq!(card.schedulers(), Some(528));
/// let launches = passes::compile(&graph, &Target::of(card))?.occupancy().expect("known rates");
/// // So few pixels are 16 tiles, for 132 cores: their sums are split.
/// assert!(launches[0].parts > 1, "{}", launches[0]);
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Occupancy {
    /// The kernel, and where in the model it runs.
    pub launch: String,
    /// Its part of the plan's operations.
    pub share: f64,
    /// Subgroups of its grid.
    pub subgroups: u64,
    /// Parts that its sums are split into.
    pub parts: u32,
    /// How long it takes by the model, and how long if its sums were split into twice as many parts, or into
    /// eight where that is more.
    pub times: [Duration; 2],
    /// What it would take more to add so many parts; a launch for that, where there is none yet, counts as a choice of
    /// kernels counts it.
    pub adding: Duration,
}

impl Occupancy {
    /// Whether its grid has so many subgroups, or its sums as many parts as they may.
    pub fn is_split_enough(&self, subgroups: u64) -> bool {
        self.subgroups >= subgroups || self.parts >= MOST_PARTS
    }

    /// Whether more parts would save more than a tenth of its time, by the model.
    pub fn gains_by_parts(&self) -> bool {
        let [now, split] = self.times;
        (split + self.adding).as_secs_f64() < SPLIT_PAYS * now.as_secs_f64()
    }
}

impl fmt::Display for Occupancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { launch, share, subgroups, parts, times: [now, split], adding } = self;
        let us = |time: &Duration| 1e6 * time.as_secs_f64();
        let (more, saved) = (more_parts(*parts), us(now) - us(split));
        write!(
            f,
            "{subgroups} subgroups, sums in {parts}, {:.1}% of the work: sums in {more} would save {saved:.1} of {:.1} us, \
             and take {:.1} to add   {launch}",
            100.0 * share,
            us(now),
            us(adding)
        )
    }
}

/// The parts that a further split would have.
fn more_parts(parts: u32) -> u32 {
    MOST_PARTS.max(2 * parts)
}

impl DeviceProfile {
    /// Subgroups of which each scheduler runs one at a time: 528 warps on an H100. None if the device's
    /// cores are not known.
    pub fn schedulers(&self) -> Option<u64> {
        let subgroup = self.subgroups[0].max(1);
        self.cores.map(|cores| cores as u64 * u64::from(self.lanes / subgroup))
    }
}

impl Plan {
    /// The launches of a run that hold 95% of its operations, those of most work first; none if the device's
    /// rates are not known.
    pub fn occupancy(&self) -> Option<Vec<Occupancy>> {
        let total = self.cost().flops as f64;
        let mut launches: Vec<&Dispatch> = self.dispatches().collect();
        // Stable: equal ones stay in the order of the plan.
        launches.sort_by_key(|launch| std::cmp::Reverse(launch.cost.flops));
        let mut held = 0.0;
        let before = |launch: &&Dispatch| {
            let share = launch.cost.flops as f64 / total;
            held += share;
            held - share < WORK
        };
        let heavy: Vec<&Dispatch> = launches.into_iter().take_while(before).collect();
        heavy.into_iter().map(|launch| self.occupancy_of(launch, total)).collect()
    }

    fn occupancy_of(&self, launch: &Dispatch, total: f64) -> Option<Occupancy> {
        let (profile, parts) = (self.target.profile, launch.parts);
        let more = more_parts(parts);
        let workgroups: u64 = launch.workgroups.iter().map(|&n| u64::from(n)).product();
        let invocations = invocations(launch);
        let subgroups = invocations.div_ceil(profile.subgroups[0].max(1));
        let written = launch.bindings.iter().filter(|binding| binding.access == Access::Write);
        let vectors = |value: Value| self.types[value.index()].vectors() as u64;
        let all: u64 = written.filter_map(|of| of.value).map(vectors).sum();
        // Of a part, which is of f32.
        let vectors = (all / u64::from(parts)).max(1);
        let bytes = |parts: u32| u64::from(parts) * 16 * vectors;
        let flops = operations(launch, launch.work);
        let time = |parts: u32| {
            let bytes = launch.work.bytes + bytes(parts - launch.parts);
            let workgroups = workgroups * u64::from(parts) / u64::from(launch.parts);
            profile.work(workgroups, invocations, Cost { flops, bytes })
        };
        let add = |parts: u32| profile.pass(vectors, bytes(parts + 1));
        let added = if parts == 1 { Duration::ZERO } else { add(parts)? };
        Some(Occupancy {
            launch: format!("{} {}", launch.kernel, launch.scope.as_str()),
            share: launch.cost.flops as f64 / total,
            subgroups: workgroups * u64::from(subgroups),
            parts,
            times: [time(parts)?, time(more)?],
            adding: add(more)?.saturating_sub(added),
        })
    }
}

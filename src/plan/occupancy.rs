//! Whether launches keep the schedulers of a GPU busy.
use super::{Cost, DeviceProfile, Dispatch, Plan, predict::COUNTED_LAUNCHES};
use std::{fmt, time::Duration};

/// Part of a plan's operations whose launches are looked at.
const WORK: f64 = 0.95;

/// Parts that a sum is split into at most: more cost more to add than they save.
pub(crate) const MOST_PARTS: u32 = 8;

/// One of the launches that hold most of a plan's work. Prints what it lacks.
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
    /// [`MOST_PARTS`] where that is more, without what it takes to add them.
    pub times: [Duration; 2],
    /// What a choice of kernels counts for a launch that adds parts.
    pub adding: Duration,
}

impl Occupancy {
    /// Whether its grid has so many subgroups, or its sums as many parts as they may.
    pub fn is_split_enough(&self, subgroups: u64) -> bool {
        self.subgroups >= subgroups || self.parts >= MOST_PARTS
    }
}

impl fmt::Display for Occupancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { launch, share, subgroups, parts, times: [now, split], adding } = self;
        let us = |time: &Duration| 1e6 * time.as_secs_f64();
        write!(f, "{subgroups} subgroups, {:.1}% of the work: ", 100.0 * share)?;
        let more = more_parts(*parts);
        let (now, saved) = (us(now), us(now) - us(split));
        match parts {
            1 => write!(
                f,
                "{more} parts would save {saved:.1} of {now:.1} us, and a launch that adds them counts {:.0}",
                us(adding)
            )?,
            _ => write!(
                f,
                "{parts} parts; {more} would save {saved:.1} of {now:.1} us, and write {more} tensors to be added"
            )?,
        }
        write!(f, "   {launch}")
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
        let profile = self.target.profile;
        let total = self.dispatches().map(|launch| launch.cost.flops).sum::<u64>() as f64;
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
        heavy.into_iter().map(|launch| profile.occupancy(launch, total)).collect()
    }
}

impl DeviceProfile {
    fn occupancy(&self, launch: &Dispatch, total: f64) -> Option<Occupancy> {
        let (rates, parts) = (self.rates?, launch.parts);
        let workgroups: u64 = launch.workgroups.iter().map(|&n| u64::from(n)).product();
        let subgroups = launch.invocations.div_ceil(self.subgroups[0].max(1));
        let flops = launch.executed.max(launch.work.flops);
        // What parts are written and read for is not counted, so this is the most that they save.
        let time = |workgroups| {
            self.work(workgroups, launch.invocations, Cost { flops, ..launch.work })
        };
        let split = workgroups * u64::from(more_parts(parts)) / u64::from(parts);
        Some(Occupancy {
            launch: format!("{} {}", launch.kernel, launch.scope.as_str()),
            share: launch.cost.flops as f64 / total,
            subgroups: workgroups * u64::from(subgroups),
            parts,
            times: [time(workgroups)?, time(split)?],
            adding: COUNTED_LAUNCHES * rates.launch,
        })
    }
}

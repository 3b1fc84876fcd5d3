//! A model of a GPU: how long a launch takes, from its work, bytes and grid. Kernels of GPUs whose rates are known are
//! chosen by it; `docs/performance.md` has what it says of plans.
use super::{Cost, DeviceProfile, Dispatch, Plan};
use std::time::Duration;

/// Share of a core's rate at which subgroups run that have a scheduler each to themselves: of 1,024
/// multiply-adds in 1,199 instructions (`compilers/results/nvidia-ada.md`, `conv2d_tiled`, a step of 16
/// channels), after which the step waits for a load from the L2 cache, about 260 cycles, and twice for
/// workgroup memory, about 29 (Luo et al. 2024, "Benchmarking and Dissecting the Nvidia Hopper GPU
/// Architecture via Microbenchmarking", latencies of an H100).
const ALONE: f64 = 1024.0 / (1199.0 + 260.0 + 2.0 * 29.0);

/// The share where other subgroups run meanwhile: the multiply-adds of the same block.
const FULL: f64 = 1024.0 / 1199.0;

/// Subgroups for each scheduler from which on a core runs at [`FULL`]: a dependent multiply-add starts four
/// cycles after the one before it (Jia et al. 2018, "Dissecting the NVIDIA Volta GPU Architecture via
/// Microbenchmarking"). On NVIDIA's multiprocessor of 4 schedulers that is 16 warps.
const HIDING: f64 = 4.0;

/// Registers of an invocation that holds a tile of sums: 120 on NVIDIA, 132 on RDNA 3
/// (`compilers/results`, `conv2d_tiled`).
const TILE_REGISTERS: u32 = 128;

/// Invocations of a workgroup of a caller's own WGSL, which is not read for it.
const CUSTOM_INVOCATIONS: u32 = 64;

/// Invocations of a workgroup of a kernel that goes over a tensor once.
const PASS_INVOCATIONS: u32 = 64;

/// Launches that a choice of kernels counts for one that could be left out: 16 us, midway between the 4 us of
/// [`super::Rates::launch`] and the 25 us of slow systems, for a plan does not know where it will run.
const COUNTED_LAUNCHES: u32 = 4;

/// How long work takes by the model.
///
/// ```
/// # use ddim::{graph::Graph, ops::Silu, passes, value::TensorType};
/// use ddim::plan::{DEPENDENT_LAUNCH, DeviceProfile, Target};
///
/// let mut graph = Graph::new();
/// let x = graph.input(TensorType::f32(&[1024, 1024]));
/// let y = graph.push(Silu, &[x])?;
/// graph.outputs.push(y);
/// let card = DeviceProfile::named("H100").expect("a known GPU");
/// let predicted = passes::compile(&graph, &Target::of(card))?.predict().expect("known rates");
/// assert_eq!(predicted.launches, 1);
/// assert_eq!(predicted.time(DEPENDENT_LAUNCH), predicted.work + DEPENDENT_LAUNCH);
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PredictedTime {
    /// Computing, or moving bytes where that takes longer, of one launch after another.
    pub work: Duration,
    /// Launches.
    pub launches: u32,
}

impl PredictedTime {
    /// All of it, at this cost of a launch.
    pub fn time(self, launch: Duration) -> Duration {
        self.work + self.launches * launch
    }
}

impl DeviceProfile {
    /// How long a launch takes; none if the device's rates are not known.
    ///
    /// The core with most workgroups decides: a grid of one takes as long as a grid of one for each
    /// core. A core with few subgroups does not reach its rate, for they wait and no other runs meanwhile.
    /// A core without a workgroup moves no bytes.
    pub fn predict(&self, launch: &Dispatch) -> Option<PredictedTime> {
        Some(PredictedTime { work: self.launch_work(launch, launch.work)?, launches: 1 })
    }

    /// How long a launch takes that does this work, without what a launch costs.
    fn launch_work(&self, launch: &Dispatch, work: Cost) -> Option<Duration> {
        let workgroups = launch.workgroups.iter().map(|&n| u64::from(n)).product();
        let cost = Cost { flops: operations(launch, work), ..work };
        self.work(workgroups, invocations(launch), cost)
    }

    /// How long a launch takes that moves so many bytes, as a choice of kernels counts it.
    pub(crate) fn counted(&self, launch: &Dispatch, bytes: u64) -> Option<Duration> {
        let work = self.launch_work(launch, Cost { bytes, ..launch.cost })?;
        Some(work + COUNTED_LAUNCHES * self.rates?.launch)
    }

    /// How long a grid of workgroups of so many invocations takes, without the launch.
    pub(crate) fn work(&self, workgroups: u64, invocations: u32, cost: Cost) -> Option<Duration> {
        let (rates, cores, workgroups) = (self.rates?, self.cores? as f64, workgroups as f64);
        let own = (workgroups / cores).ceil();
        let resident = f64::from(self.core_registers / TILE_REGISTERS);
        let resident = (own * f64::from(invocations)).min(resident);
        let rate = rates.multiply_adds as f64 / cores * share(resident / f64::from(self.lanes));
        let computing = cost.flops as f64 / 2.0 * own / workgroups / rate;
        let moving = cost.bytes as f64 / (rates.bytes as f64 * (workgroups / cores).min(1.0));
        Some(Duration::from_secs_f64(computing.max(moving)))
    }

    /// How long a launch of its own takes that makes so many vec4s and moves so many bytes, as a choice
    /// of kernels counts it that could do without.
    pub(crate) fn pass(&self, vectors: u64, bytes: u64) -> Option<Duration> {
        let workgroups = vectors.div_ceil(PASS_INVOCATIONS.into());
        let work = self.work(workgroups, PASS_INVOCATIONS, Cost { flops: 0, bytes })?;
        Some(work + COUNTED_LAUNCHES * self.rates?.launch)
    }
}

/// Invocations of a workgroup.
pub(super) fn invocations(launch: &Dispatch) -> u32 {
    match launch.invocations {
        0 => CUSTOM_INVOCATIONS,
        known => known,
    }
}

/// Floating-point operations of a launch that does this work: those that its workgroups go through, where its family says so.
/// Minimal filtering goes through fewer than its op has.
pub(super) fn operations(launch: &Dispatch, work: Cost) -> u64 {
    if launch.executed > 0 { launch.executed } else { work.flops }
}

/// Share of its rate that a core reaches with so many invocations for each lane.
fn share(per_lane: f64) -> f64 {
    let more = ((per_lane - 1.0) / (HIDING - 1.0)).clamp(0.0, 1.0);
    per_lane.min(1.0) * ALONE + more * (FULL - ALONE)
}

impl Plan {
    /// How long a run takes on its device; none if the device's rates are not known.
    pub fn predict(&self) -> Option<PredictedTime> {
        let mut total = PredictedTime::default();
        for launch in self.dispatches() {
            let one = self.target.profile.predict(launch)?;
            total.work += one.work;
            total.launches += one.launches;
        }
        Some(total)
    }
}

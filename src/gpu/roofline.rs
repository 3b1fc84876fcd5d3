//! What a device does at most, measured on it: the roofline of Williams, Waterman and Patterson
//! 2009, with which every kernel's time is compared.
use super::{Executor, Gpu};
use crate::{
    error::{Error, GpuError},
    plan::{
        BufferRole, Contents, Cost, Dispatch, MAX_ITERATIONS, Placement, Plan, PlannedBuffer,
        Section, Trigger, fold,
    },
    shaders::{copy, roofline},
    value::{GraphId, TensorType, Value},
};
use std::time::Duration;

/// Long enough that neither a launch nor the clock's grain counts.
const LONG_ENOUGH: Duration = Duration::from_millis(10);

/// The best of these counts: a ceiling is what nothing disturbed.
const REPEATS: usize = 7;

/// Bytes of each buffer of the copy, where the device binds as many: far above any cache.
const COPY_BYTES: u64 = 256 << 20;

/// Multiply-adds of each sum in a round of the shader, as it says itself.
const STEPS: u64 = 32;

/// Ceilings of a device.
///
/// ```
/// use ddim::{gpu::{Bottleneck, Report, ReportLine, Roofline, Times}, plan::Cost};
///
/// let roofline = Roofline { flops_per_second: 1e12, bytes_per_second: 1e11 };
/// // 1 ms of arithmetic, 0.01 ms of traffic.
/// let cost = Cost { flops: 1_000_000_000, bytes: 1_000_000 };
/// assert_eq!(roofline.bottleneck(cost), Bottleneck::Compute);
/// let times = Times { median: 2.0, fastest: 1.9, slowest: 2.3 };
/// let line = ReportLine::new("conv2d", 1, times, cost, &roofline);
/// assert_eq!(line.share_of_ceiling, Some(0.5));
/// let report = Report::new("a kernel", "a device", &roofline, vec![line]);
/// assert_eq!(report.against(&report)[0].verdict, "within the spread");
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Roofline {
    /// Floating-point operations in f32, a multiply-add counted as two, from registers.
    pub flops_per_second: f64,
    /// Bytes read and written by a copy between buffers that no cache holds.
    pub bytes_per_second: f64,
}

/// The ceiling that a kernel meets first.
///
/// Example: [`Roofline`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bottleneck {
    /// Arithmetic.
    Compute,
    /// Traffic.
    Bandwidth,
}

impl Roofline {
    /// Measures a device, in about a second. Waits.
    ///
    /// # Errors
    /// If the device refuses the work, is lost, or computes something else than it was asked.
    pub fn measure(gpu: &Gpu) -> Result<Self, Error> {
        Ok(Self { flops_per_second: arithmetic(gpu)?, bytes_per_second: traffic(gpu)? })
    }

    /// The least time that this work can take, if its operands come from memory.
    pub fn least_time(&self, cost: Cost) -> Duration {
        let [compute, bandwidth] = self.seconds(cost);
        Duration::from_secs_f64(compute.max(bandwidth))
    }

    /// The ceiling that this work meets first.
    pub fn bottleneck(&self, cost: Cost) -> Bottleneck {
        let [compute, bandwidth] = self.seconds(cost);
        if compute > bandwidth { Bottleneck::Compute } else { Bottleneck::Bandwidth }
    }

    /// The share of the ceiling that work done in `time` reached, 1 for all of it. Above 1 where
    /// operands came from a cache.
    pub fn share(&self, cost: Cost, time: Duration) -> f64 {
        self.least_time(cost).as_secs_f64() / time.as_secs_f64().max(1e-9)
    }

    fn seconds(&self, cost: Cost) -> [f64; 2] {
        let Self { flops_per_second, bytes_per_second } = self;
        [cost.flops as f64 / flops_per_second, cost.bytes as f64 / bytes_per_second]
    }
}

/// Operations per second.
fn arithmetic(gpu: &Gpu) -> Result<f64, Error> {
    let overrides = roofline::Overrides::default();
    // Enough to fill a large GPU several times over; a CPU needs a few per core.
    let workgroups = if gpu.target().profile.is_software() { 64 } else { 16_384 };
    let of = TensorType::f32(&[(workgroups * overrides.workgroup) as usize, 4]);
    let y = Value::new(GraphId::MEASURE, 0);
    let mut rounds = 64;
    loop {
        // Whole numbers, so that the result can be checked to the last bit.
        let params = roofline::Params { rounds, factor: 1.0, addend: 1.0 };
        let kernel = roofline::Forward { y };
        let dispatch = kernel.dispatch(params, overrides, [workgroups, 1, 1]);
        let iterations = dispatch.iterations;
        let mut executor = Executor::new(gpu, plan(gpu, vec![dispatch], vec![of]))?;
        let time = best(&mut executor)?;
        if time < LONG_ENOUGH && iterations < MAX_ITERATIONS / 4 {
            rounds *= 4;
            continue;
        }
        let sums = u64::from(overrides.sums);
        let steps = u64::from(rounds) * STEPS;
        check(&executor.read(y)?, overrides, steps)?;
        let operations = 2 * of.shape.elements() as u64 * sums * steps;
        return Ok(operations as f64 / time.as_secs_f64());
    }
}

/// Holds the sums against those that the shader is to compute: each begins at its own number and
/// grows by one a step.
fn check(y: &[f32], overrides: roofline::Overrides, steps: u64) -> Result<(), Error> {
    let sum =
        |local: u64| -> u64 { (0..u64::from(overrides.sums)).map(|j| local + j + steps).sum() };
    let invocation = |index: usize| (index / 4) as u64 % u64::from(overrides.workgroup);
    let wrong = y.iter().enumerate().find(|(index, y)| **y != sum(invocation(*index)) as f32);
    match wrong {
        None => Ok(()),
        Some((index, y)) => Err(GpuError::Device {
            action: "measuring the rate of multiply-adds".to_owned(),
            message: format!("found {y} for {}", sum(invocation(index))),
        }
        .into()),
    }
}

/// Bytes per second.
fn traffic(gpu: &Gpu) -> Result<f64, Error> {
    let overrides = copy::Overrides::default();
    let bytes = COPY_BYTES.min(gpu.target().max_binding) / 16 * 16;
    let of = TensorType::f32(&[bytes as usize / 4]);
    let [x, y] = [0, 1].map(|index| Value::new(GraphId::MEASURE, index));
    let blocks = (bytes / 16) as u32;
    let grid = fold(blocks.div_ceil(overrides.workgroup) as usize);
    let dispatch = copy::Forward { x, y }.dispatch(copy::Params { blocks }, overrides, grid);
    let mut executor = Executor::new(gpu, plan(gpu, vec![dispatch], vec![of, of]))?;
    // Pages that were never written may all be one.
    let numbers: Vec<f32> = (0..bytes / 4).map(|i| i as f32).collect();
    executor.write(x, &numbers)?;
    let time = best(&mut executor)?;
    Ok(2.0 * bytes as f64 / time.as_secs_f64())
}

/// The shortest of several runs, the first of which compiles.
pub(super) fn best(executor: &mut Executor) -> Result<Duration, Error> {
    executor.run(1)?;
    let mut best = Duration::MAX;
    for _ in 0..REPEATS {
        best = best.min(executor.time(1)?);
    }
    Ok(best)
}

/// A plan of these dispatches of this crate's kernels, each value in a buffer of its own.
pub(super) fn plan(gpu: &Gpu, mut dispatches: Vec<Dispatch>, types: Vec<TensorType>) -> Plan {
    dispatches.iter_mut().for_each(|dispatch| dispatch.trusted = true);
    let value = |index| Value::new(GraphId::MEASURE, index);
    let values: Vec<Value> = (0..types.len()).map(value).collect();
    let place = |value: &Value| Some(Placement { buffer: value.index(), offset: 0 });
    let buffer =
        |of: &TensorType| PlannedBuffer { bytes: of.bytes(), role: BufferRole::Persistent };
    let buffers: Vec<PlannedBuffer> = types.iter().map(buffer).collect();
    let bytes = types.iter().map(TensorType::bytes).sum();
    let alive = vec![bytes; dispatches.len()];
    Plan(Contents {
        target: gpu.target().clone(),
        graph: GraphId::MEASURE,
        placements: values.iter().map(place).collect(),
        roots: values.clone(),
        buffers,
        sections: vec![Section {
            name: Section::STEP.to_owned(),
            trigger: Trigger::EveryRun,
            launches: dispatches,
        }],
        staged: Vec::new(),
        choices: Default::default(),
        inputs: values.clone(),
        constants: Vec::new(),
        shared: Vec::new(),
        outputs: values,
        live_bytes: bytes,
        alive,
        unplanned_bytes: bytes,
        types,
    })
}

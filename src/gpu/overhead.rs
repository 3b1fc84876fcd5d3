//! What a launch costs that computes nothing, and what run-time checks cost.
use super::{
    Executor, Gpu,
    roofline::{best, plan},
};
use crate::{
    error::Error,
    plan::{Dispatch, Plan},
    shaders::copy,
    value::{GraphId, TensorType, Value},
};
use std::time::Duration;

/// Time of a tiny launch among many in one pass.
///
/// Example: [`crate::gpu::with_checks()`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overhead {
    /// Where each reads what the one before it wrote: with a barrier between.
    pub dependent: Duration,
    /// Where each writes a buffer of its own.
    pub independent: Duration,
}

impl Overhead {
    /// Measures launches of one workgroup that copies 16 bytes, with run-time checks if `checked`.
    /// Waits.
    ///
    /// # Errors
    /// If the device refuses the work or is lost.
    pub fn measure(gpu: &Gpu, launches: usize, checked: bool) -> Result<Self, Error> {
        let value = |index| Value::new(GraphId::MEASURE, index);
        let copy = |from: usize, to: usize| {
            let kernel = copy::Forward { x: value(from), y: value(to) };
            kernel.dispatch(copy::Params { blocks: 1 }, copy::Overrides::default(), [1, 1, 1])
        };
        let each = |dispatches: Vec<Dispatch>, values: usize| -> Result<Duration, Error> {
            let plan = plan(gpu, dispatches, vec![TensorType::f32(&[4]); values]);
            let plan = if checked { with_checks(plan) } else { plan };
            let mut executor = Executor::new(gpu, plan)?;
            executor.write(value(0), &[1.0, 2.0, 3.0, 4.0])?;
            Ok(best(&mut executor)?.div_f64(launches.max(1) as f64))
        };
        let chain = (0..launches).map(|n| copy(n % 2, (n + 1) % 2)).collect();
        let fan = (0..launches).map(|n| copy(0, n + 1)).collect();
        Ok(Self { dependent: each(chain, 2)?, independent: each(fan, launches + 1)? })
    }
}

/// The same plan with the run-time checks that a caller's own WGSL gets: indices clamped, loops
/// bounded, workgroup memory zeroed.
///
/// ```no_run
/// use ddim::gpu::{Executor, Gpu, GpuOptions, Overhead, with_checks};
/// # use ddim::{graph::Graph, passes};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let plan = passes::compile(&Graph::new(), gpu.target())?;
///
/// let launch = Overhead::measure(&gpu, 1000, true)?;
/// println!("a launch that waits for another: {:?}", launch.dependent);
/// // What the checks cost a plan.
/// for plan in [plan.clone(), with_checks(plan)] {
///     println!("{:?}", Executor::new(&gpu, plan)?.time(100)?);
/// }
/// # Ok::<(), ddim::Error>(())
/// ```
pub fn with_checks(mut plan: Plan) -> Plan {
    for dispatch in plan.0.sections.iter_mut().flat_map(|section| &mut section.launches) {
        dispatch.trusted = false;
    }
    plan
}

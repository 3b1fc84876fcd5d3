//! In which numbers kernels multiply and add.
use std::fmt;

/// In which numbers convolutions and linear layers multiply and add. Storage is chosen beside it, by
/// [`TensorType`](crate::value::TensorType); everything else is computed in f32, and so are gradients of weights.
///
/// The device's own choice is f32. [`Gpu::computing_in`](crate::gpu::Gpu::computing_in), or [`Target::arithmetic`](super::Target::arithmetic)
/// of a plan without a device, allows more.
///
/// ```
/// # use ddim::{graph::Graph, ops::Linear, passes, value::TensorType};
/// use ddim::plan::{Arithmetic, Target};
///
/// let mut graph = Graph::new();
/// let [x, weight] = [(); 2].map(|()| graph.input(TensorType::f16(&[64, 64])));
/// let y = graph.push(Linear, &[x, weight])?;
/// graph.outputs.push(y);
/// let own = Target { f16: true, ..Target::default() };
/// let mixed = Target { arithmetic: Arithmetic::Mixed, ..own.clone() };
/// for (target, arithmetic) in [(own, Arithmetic::F32), (mixed, Arithmetic::Mixed)] {
///     let plan = passes::compile(&graph, &target)?;
///     let launch = plan.dispatches().next().expect("one launch");
///     assert_eq!(launch.kernel.elements.arithmetic, arithmetic);
/// }
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Arithmetic {
    /// f32, whatever the storage.
    #[default]
    F32,
    /// Products in f16, added in f16 up to sixteen at a time; these sums are added in f32. Kernels of
    /// [`Family::Tiled`](super::Family::Tiled) do so where both operands are stored in f16 and the device has f16 in
    /// shaders; the others compute in f32, minimal filtering too, which is chosen as if products were in f32.
    /// [`Family::Cooperative`](super::Family::Cooperative), which a caller allows by itself, goes before both.
    ///
    /// Each of the sixteen partial sums is rounded to 11 bits, by at most 2^-11 of its size. So a result is off by at
    /// most 16 x 2^-11, 0.8%, of the sum of the magnitudes of its products, however many these are; where the roundings
    /// are independent, by sqrt(16) x 2^-11, 0.2%, of its usual size. An input that is normalized as it is read is
    /// rounded once more, as it is where a tensor in f16 holds it.
    ///
    /// A product, or a sum of sixteen, beyond 65,504 becomes infinite; below 2^-14 it keeps fewer bits, below 2^-25
    /// none. With [`Arithmetic::F32`] only the result has to be a number of f16: that the numbers on the way are too is
    /// for the caller to know.
    Mixed,
}

impl fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Mixed => "mixed",
        })
    }
}

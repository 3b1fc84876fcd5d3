//! Why an equation cannot run on a target.
use crate::value::{TensorType, Value};

/// An equation that cannot run on the target.
///
/// ```
/// use ddim::{Error, error::LoweringError, passes, plan::Target};
/// # use ddim::{graph::Graph, ops::Silu, value::TensorType};
///
/// # let mut graph = Graph::new();
/// # let x = graph.input(TensorType::f32(&[1024]));
/// # let y = graph.push(Silu, &[x])?;
/// # graph.outputs.push(y);
/// // A graph of tensors of 4 KiB, for a device that binds 1 KiB at most.
/// let small = Target { max_binding: 1024, ..Target::default() };
/// match passes::compile(&graph, &small) {
///     Err(Error::Lowering(LoweringError::Binding { bytes, .. })) => assert_eq!(bytes, 4096),
///     result => panic!("{result:?}"),
/// }
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoweringError {
    /// A bound value's storage is not what the shader reads.
    #[error("{kernel}: {name} must be {expected}, found {found}")]
    Storage {
        /// The kernel.
        kernel: String,
        /// The binding's name.
        name: String,
        /// What the shader declares.
        expected: String,
        /// The value's type.
        found: TensorType,
    },
    /// A tensor passes the device's largest binding.
    #[error(
        "{kernel}: {name} ({of}) takes a binding of {} MiB; the device binds at most {}",
        bytes.div_ceil(1 << 20), limit >> 20
    )]
    Binding {
        /// The kernel.
        kernel: String,
        /// The binding's name.
        name: String,
        /// The value's type.
        of: TensorType,
        /// Its bytes.
        bytes: u64,
        /// The device's limit.
        limit: u64,
    },
    /// A dispatch binds a value of another graph.
    #[error("{kernel} binds {value}, a value of another graph")]
    Foreign {
        /// The kernel.
        kernel: String,
        /// The value.
        value: Value,
    },
    /// A grid passes the limit of an axis.
    #[error("{kernel}: a grid of {grid:?} workgroups passes the limit of {limit} per axis")]
    Grid {
        /// The kernel.
        kernel: String,
        /// The grid.
        grid: [u32; 3],
        /// Most workgroups of an axis.
        limit: u32,
    },
    /// The loops of an invocation take more turns than drivers give.
    #[error(
        "{kernel}: an invocation's loops take {iterations} iterations; below {limit} are \
         sure on every driver"
    )]
    Iterations {
        /// The kernel.
        kernel: String,
        /// The most iterations of all its loops together.
        iterations: u64,
        /// Iterations that some drivers end every loop at.
        limit: u64,
    },
    /// A plan that takes more memory than it may, whatever is recomputed.
    #[error(
        "the plan takes at least {} MiB of the device, however much is recomputed; {} MiB are allowed",
        least >> 20, budget >> 20
    )]
    Memory {
        /// Bytes that it may take.
        budget: u64,
        /// Bytes of the smallest plan that was found.
        least: u64,
    },
    /// State is read after an op has updated it where it lies.
    #[error("{reader} reads {value} after {op} has updated it in place")]
    ReadAfterUpdate {
        /// The value read.
        value: Value,
        /// The op that updated it.
        op: String,
        /// The op that reads it.
        reader: String,
    },
    /// One dispatch would read and write one buffer.
    #[error("{kernel} reads and writes the buffer of {value}; only ops with in_place may")]
    Aliased {
        /// The kernel.
        kernel: String,
        /// One of the values in that buffer.
        value: Value,
    },
    /// A [`KernelSelector`](crate::plan::KernelSelector) picked a candidate that was not offered.
    #[error("{op}: candidate {index} was chosen of {candidates}")]
    Choice {
        /// The op's printed form.
        op: String,
        /// The choice.
        index: usize,
        /// How many were offered.
        candidates: usize,
    },
    /// A custom op's dispatch binds a value that it may not read or write.
    #[error("{kernel}: {value} {problem}")]
    Misbound {
        /// The kernel, or the op.
        kernel: String,
        /// The value.
        value: Value,
        /// What is wrong with it.
        problem: &'static str,
    },
}

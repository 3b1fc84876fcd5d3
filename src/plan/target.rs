//! What a device offers, and the candidates between which that decides.
use super::{Arithmetic, CooperativeMatrices, DeviceProfile, Dispatch, Family, Tuning};
use crate::value::Value;
use std::{fmt, sync::Arc, time::Duration};

/// What lowering must know of a device: plain data, so that plans are made without one.
///
/// ```
/// # use ddim::{graph::Graph, ops::Silu, passes, value::TensorType};
/// use ddim::plan::{DeviceProfile, Target};
///
/// let mut graph = Graph::new();
/// let x = graph.input(TensorType::f16(&[64, 4]));
/// let y = graph.push(Silu, &[x])?;
/// graph.outputs.push(y);
/// let least = Target::default();
/// let card = Target::of(DeviceProfile::named("RTX 4090").expect("a known GPU"));
/// // A plan for the least device runs on the card, one for the card only where shaders have f16.
/// assert!(passes::compile(&graph, &least)?.lacks(&card).is_empty());
/// assert_eq!(passes::compile(&graph, &card)?.lacks(&least), ["f16 in shaders, found none"]);
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The subgroup's size where it is fixed and within 4 to 16; kernels that broadcast through
    /// it are offered only then. With 32 lanes their sums do not fit the registers of a GPU.
    pub subgroup: Option<u32>,
    /// The matrices by which kernels may multiply; none unless the caller asked for them, for they round operands to
    /// f16, and the device computes right by them.
    pub cooperative_matrices: Option<CooperativeMatrices>,
    /// What kernels are chosen by.
    pub profile: DeviceProfile,
    /// Whether shaders may store f16, and compute with it.
    pub f16: bool,
    /// In which numbers the caller lets products be computed.
    pub arithmetic: Arithmetic,
    /// Whether shaders may compute with 64-bit integers.
    pub int64: bool,
    /// Largest binding, bytes.
    pub max_binding: u64,
    /// Alignment of a storage binding's offset, bytes.
    pub storage_alignment: u64,
    /// What was measured on the device, which goes before the table.
    pub tuning: Option<Arc<Tuning>>,
}

impl Default for Target {
    /// WebGPU's floor: no subgroups, no f16, default limits.
    fn default() -> Self {
        Self {
            subgroup: None,
            cooperative_matrices: None,
            profile: DeviceProfile::default(),
            f16: false,
            arithmetic: Arithmetic::F32,
            int64: false,
            max_binding: 128 << 20,
            storage_alignment: 256,
            tuning: None,
        }
    }
}

impl Target {
    /// A device that is not here, with what its drivers usually offer: f16, 64-bit integers, bindings
    /// of 2 GiB, subgroups too large for kernels that broadcast through them.
    pub fn of(profile: DeviceProfile) -> Self {
        let max_binding = (2 << 30) - 4;
        Self { profile, f16: true, int64: true, max_binding, ..Self::default() }
    }
}

/// One way of computing an equation: a complete list of dispatches.
///
/// Example: [`crate::plan::KernelSelector`].
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Whose kernels they are, printed with the plan.
    pub family: Family,
    /// Forms of operands that it reads, each made once however many candidates want it.
    pub packed: Vec<Packed>,
    /// What it runs.
    pub dispatches: Vec<Dispatch>,
    /// How long it takes by the model of the device, what a launch costs counted four times; none if the device's rates are
    /// not known, or what its workgroups go through.
    pub time: Option<Duration>,
}

impl Candidate {
    /// A candidate that reads its operands as they are, of unknown time.
    pub fn new(family: Family, dispatches: Vec<Dispatch>) -> Self {
        Self { family, packed: Vec::new(), dispatches, time: None }
    }

    /// The same, reading this form of an operand too.
    pub fn with(mut self, packed: Packed) -> Self {
        self.packed.push(packed);
        self
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.family.name())?;
        self.dispatches.iter().try_for_each(|dispatch| write!(f, "; {}", dispatch.kernel))
    }
}

/// Another form of a value, such as a transposed weight.
///
/// Example: [`crate::plan::KernelSelector`].
#[derive(Clone, Debug)]
pub struct Packed {
    /// The value.
    pub of: Value,
    /// Its other form.
    pub form: Value,
    /// What makes one from the other.
    pub dispatch: Dispatch,
    /// Whether the form of a constant is made once, and kept. Else each run makes it, in memory that other values use too.
    pub kept: bool,
}

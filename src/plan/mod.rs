//! What to run, as plain data: kernels, dispatches, buffers. No device is needed to make, print
//! or check a [`Plan`]; only `gpu/` turns one into silicon. Above 300 lines with its example: one
//! type, and what is read from it.
//!
//! ```
//! use ddim::{graph::Graph, ops::Linear, passes, plan::{DEVICES, Target}, value::TensorType};
//!
//! let mut graph = Graph::new();
//! let [x, weight] = [(); 2].map(|()| graph.input(TensorType::f32(&[1024, 1024])));
//! let y = graph.push(Linear, &[x, weight])?;
//! graph.outputs.push(y);
//! for (name, profile) in DEVICES {
//!     let plan = passes::compile(&graph, &Target::of(*profile))?;
//!     assert_eq!(plan.cost().flops, 2 * 1024_u64.pow(3));
//!     println!("{name}: {:?}\n{plan}", plan.predict());
//! }
//! # Ok::<(), ddim::Error>(())
//! ```
//!
//! A whole program: `ddim plan` in `cli/src/plan.rs`.
use crate::value::{GraphId, TensorType, Value};
use std::{collections::HashSet, fmt, ops::Deref};

mod arithmetic;
mod devices;
mod dispatch;
mod family;
mod matrices;
mod occupancy;
mod predict;
mod problem;
mod profile;
mod section;
mod select;
mod table;
mod target;
mod tuning;

pub use arithmetic::Arithmetic;
pub use devices::{DEPENDENT_LAUNCH, DEVICES};
pub use dispatch::{
    Access, Binding, Cost, Dispatch, Elements, Kernel, MAX_ITERATIONS, MAX_WORKGROUPS, Scope,
    Storage, fold,
};
pub use family::Family;
pub use matrices::CooperativeMatrices;
pub use occupancy::Occupancy;
pub(crate) use occupancy::{MOST_PARTS, SPLIT_PAYS};
pub use predict::PredictedTime;
pub use problem::{Choices, OpClass, Problem};
pub use profile::{DeviceKind, DeviceProfile, Rates};
pub use section::{Section, StagedPart, Trigger};
pub use select::{DefaultHeuristic, KernelSelector};
pub use table::{Rule, TABLE};
pub use target::{Candidate, Packed, Target};
pub use tuning::Tuning;

/// What a planned buffer is for.
///
/// Example: [`Plan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BufferRole {
    /// An input or state: keeps its contents from run to run.
    Persistent,
    /// A temporary, shared by values whose lives do not meet.
    Slot,
}

/// A buffer that the executor allocates.
///
/// Example: [`Plan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedBuffer {
    /// Size in bytes.
    pub bytes: u64,
    /// Use.
    pub role: BufferRole,
}

/// Where a value lives.
///
/// Example: [`Plan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Index into [`Contents::buffers`].
    pub buffer: usize,
    /// First byte.
    pub offset: u64,
}

/// Dispatches in order, and where their operands live. Only passes make one: kernels compiled
/// without run-time checks rely on parameters that follow from the types of what they bind.
/// [`Contents`] is what it holds, to read.
///
/// ```
/// # use ddim::{graph::Graph, ops::Silu, passes, plan::Target, value::TensorType};
/// use ddim::plan::{BufferRole, Placement};
///
/// let mut graph = Graph::new();
/// let x = graph.input(TensorType::f32(&[64, 3]));
/// let y = graph.push(Silu, &[x])?;
/// graph.outputs.push(y);
/// let plan = passes::compile(&graph, &Target::default())?;
/// assert_eq!(plan.dispatches().count(), 1);
/// let Placement { buffer, offset } = plan.placements[x.index()].expect("a launch reads it");
/// assert_eq!((plan.buffers[buffer].role, offset), (BufferRole::Persistent, 0));
/// // Rows of three numbers are padded to four.
/// assert_eq!(plan.peak_bytes(), 2 * (64 * 4 * 4));
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Plan(pub(crate) Contents);

impl Deref for Plan {
    type Target = Contents;
    fn deref(&self) -> &Contents {
        &self.0
    }
}

/// What a [`Plan`] holds.
///
/// Example: [`Plan`].
#[derive(Clone, Debug)]
pub struct Contents {
    /// The device that it was made for.
    pub target: Target,
    /// The graph that its values are of.
    pub(crate) graph: GraphId,
    /// Types of all values, scratch included.
    pub types: Vec<TensorType>,
    /// Place of each value; `None` if no dispatch touches it.
    pub placements: Vec<Option<Placement>>,
    /// The value that each is a part of, itself if it is none.
    pub(crate) roots: Vec<Value>,
    /// Buffers to allocate.
    pub buffers: Vec<PlannedBuffer>,
    /// What runs: the sections of the staged parts, the setup, if there is any, then the graph's.
    pub sections: Vec<Section>,
    /// The tensors that are packed on upload; the first sections are theirs, one each.
    pub staged: Vec<StagedPart>,
    /// How often each family was chosen for each class of ops.
    pub choices: Choices,
    /// Values that callers may write.
    pub inputs: Vec<Value>,
    /// The inputs that callers write rarely.
    pub constants: Vec<Value>,
    /// What one section computes and another reads: callers may read and write it in between.
    pub shared: Vec<Value>,
    /// Values that callers may read after a run.
    pub outputs: Vec<Value>,
    /// Largest sum of the bytes of values alive at once: what no placement can undercut.
    pub live_bytes: u64,
    /// Bytes of values alive during each launch, section by section.
    pub(crate) alive: Vec<u64>,
    /// Bytes if every value had a buffer of its own.
    pub unplanned_bytes: u64,
}

impl Plan {
    /// Bytes of all planned buffers.
    pub fn peak_bytes(&self) -> u64 {
        self.buffers.iter().map(|buffer| buffer.bytes).sum()
    }

    /// All launches, section by section.
    pub fn all(&self) -> impl Iterator<Item = &Dispatch> {
        self.launches(|_| true)
    }

    /// The launches of a run.
    pub fn dispatches(&self) -> impl Iterator<Item = &Dispatch> {
        self.launches(|section| section.trigger == Trigger::EveryRun)
    }

    /// Bytes of values alive during each launch of a run.
    pub fn alive_bytes(&self) -> impl Iterator<Item = u64> {
        let sections = self.sections.iter();
        let of_run = sections.flat_map(|section| {
            section.launches.iter().map(|_| section.trigger == Trigger::EveryRun)
        });
        self.alive.iter().zip(of_run).filter(|(_, of_run)| *of_run).map(|(bytes, _)| *bytes)
    }

    /// The launches that run after a write of constants.
    pub fn setup(&self) -> impl Iterator<Item = &Dispatch> {
        self.launches(Section::is_setup)
    }

    /// How many launches of a run compute again what was dropped to save memory.
    pub fn recomputed(&self) -> usize {
        self.dispatches().filter(|dispatch| dispatch.recomputes).count()
    }

    fn launches(&self, of: impl Fn(&Section) -> bool) -> impl Iterator<Item = &Dispatch> {
        self.sections.iter().filter(move |section| of(section)).flat_map(|s| &s.launches)
    }

    /// The largest tensor in each buffer: what a message about the buffer names.
    pub(crate) fn largest_occupants(&self) -> Vec<String> {
        let mut largest: Vec<Option<Value>> = vec![None; self.buffers.len()];
        let bytes = |value: Value| self.types[value.index()].bytes();
        for (index, placement) in self.placements.iter().enumerate() {
            let (Some(placement), value) = (placement, Value::new(self.graph, index)) else {
                continue;
            };
            let occupant = &mut largest[placement.buffer];
            if occupant.is_none_or(|known| bytes(known) < bytes(value)) {
                *occupant = Some(value);
            }
        }
        let name = |value: Value| format!("{value} ({})", self.types[value.index()]);
        largest.into_iter().map(|value| value.map_or("nothing".to_owned(), name)).collect()
    }

    /// Type of a value, if it is one of the plan's.
    pub fn find(&self, value: Value) -> Option<TensorType> {
        self.types.get(value.index()).copied().filter(|_| value.graph_id() == self.graph)
    }

    /// What the plan needs and `device` does not have, a phrase each; none if it runs there.
    /// Subgroups must have the size that the plan was made for, if it was made for any; of the
    /// rest a device may have more. Its profile steers choices alone.
    pub fn lacks(&self, device: &Target) -> Vec<String> {
        let mut lacks = Vec::new();
        let subgroup = self.target.subgroup;
        if subgroup.is_some() && subgroup != device.subgroup {
            let say = |size: Option<u32>| size.map_or("none".to_owned(), |n| format!("{n} lanes"));
            let (wanted, found) = (say(subgroup), say(device.subgroup));
            lacks.push(format!("subgroups of {wanted}, found {found}"));
        }
        let kernels = || self.all().map(|dispatch| &dispatch.kernel);
        if !device.f16 && kernels().any(Kernel::computes_f16) {
            lacks.push("f16 in shaders, found none".to_owned());
        }
        if !device.int64 && kernels().any(Kernel::computes_int64) {
            lacks.push("64-bit integers in shaders, found none".to_owned());
        }
        let matrices = self.target.cooperative_matrices;
        if matrices != device.cooperative_matrices && kernels().any(Kernel::multiplies_matrices) {
            let say =
                |of: Option<CooperativeMatrices>| of.map_or("none".into(), |of| of.to_string());
            let (wanted, found) = (say(matrices), say(device.cooperative_matrices));
            lacks.push(format!("cooperative matrices of {wanted}, found {found}"));
        }
        let values = || {
            let bindings = self.all().flat_map(|dispatch| &dispatch.bindings);
            bindings.filter_map(|binding| binding.value)
        };
        let largest = values().map(|v| self.types[v.index()].bytes()).max().unwrap_or(0);
        if largest > device.max_binding {
            let most = device.max_binding;
            lacks.push(format!("bindings of {largest} bytes, found at most {most}"));
        }
        let place = |v: Value| self.placements[v.index()].map_or(0, |place| place.offset);
        let alignment = device.storage_alignment.max(1);
        if let Some(offset) = values().map(place).find(|at| !at.is_multiple_of(alignment)) {
            lacks.push(format!("a binding at byte {offset}, found multiples of {alignment}"));
        }
        lacks
    }

    /// In which numbers products are computed, of some launches at least.
    pub fn arithmetic(&self) -> Arithmetic {
        let mut each = self.all().map(|launch| launch.kernel.elements.arithmetic);
        each.find(|of| *of != Arithmetic::F32).unwrap_or_default()
    }

    /// Cost of a run.
    pub fn cost(&self) -> Cost {
        let mut total = Cost::default();
        for dispatch in self.dispatches() {
            total += dispatch.cost;
        }
        total
    }

    /// Number of distinct pipelines.
    pub fn pipelines(&self) -> usize {
        let kernels = self.all().map(|dispatch| dispatch.kernel.to_string());
        kernels.collect::<HashSet<_>>().len()
    }

    /// Launches, pipelines, work and memory of the plan, a line each.
    pub fn totals(&self) -> String {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let chosen = |((class, family), times): (&(OpClass, Family), _)| {
            format!("{class} by {family}: {times}")
        };
        let families: Vec<String> = self.choices.iter().map(chosen).collect();
        let gflop = |flops: u64| flops as f64 / 1e9;
        let recomputed = self.dispatches().filter(|dispatch| dispatch.recomputes);
        let [again, work_again] = match self.recomputed() {
            0 => [String::new(), String::new()],
            count => {
                let flops = recomputed.map(|dispatch| dispatch.cost.flops).sum();
                [format!(", {count} of them again"), format!(", {:.3} of them again", gflop(flops))]
            }
        };
        format!(
            "dispatches        {}{again}\n\
             run once          {}\n\
             sections          {}\n\
             pipelines         {}\n\
             families          {}\n\
             GFLOP             {:.3}{work_again}\n\
             planned peak      {:.2} MiB\n\
             most live at once {:.2} MiB\n\
             unplanned         {:.2} MiB\n\
             plan hash         {:016x}",
            self.dispatches().count(),
            self.setup().count(),
            self.section_names(),
            self.pipelines(),
            families.join("; "),
            gflop(self.cost().flops),
            mib(self.peak_bytes()),
            mib(self.live_bytes),
            mib(self.unplanned_bytes),
            self.hash(),
        )
    }

    /// The graph's sections and their launches.
    fn section_names(&self) -> String {
        let own = self.sections.iter().filter(|section| !section.is_setup());
        own.map(|Section { name, trigger, launches }| {
            let when = if *trigger == Trigger::ByName { " by name" } else { "" };
            format!("{name}{when}: {}", launches.len())
        })
        .collect::<Vec<_>>()
        .join("; ")
    }

    /// A hash of everything that decides the bits of a result: kernels, parameters, grids. Their order
    /// decides nothing beside what reads what, and what is computed again to save memory changes none.
    /// The same on every machine (FNV-1a), so that reports can quote it.
    pub fn hash(&self) -> u64 {
        let first = self.all().filter(|dispatch| !dispatch.recomputes);
        first.fold(0, |sum: u64, dispatch| {
            let mut hash = 0xcbf2_9ce4_8422_2325_u64;
            let mut eat = |bytes: &[u8]| {
                for byte in bytes {
                    hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
                }
            };
            eat(dispatch.kernel.to_string().as_bytes());
            eat(dispatch.kernel.source.as_bytes());
            eat(&dispatch.params);
            eat(bytemuck::cast_slice(&dispatch.workgroups));
            sum.wrapping_add(hash)
        })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, section) in self.sections.iter().enumerate() {
            let prefix = match &section.trigger {
                Trigger::AfterWrite(_) if number < self.staged.len() => "load: ".to_owned(),
                Trigger::AfterWrite(_) => "once: ".to_owned(),
                _ if section.name == Section::STEP => String::new(),
                _ => format!("{}: ", section.name),
            };
            for dispatch in &section.launches {
                writeln!(f, "{prefix}{dispatch}")?;
            }
        }
        write!(f, "{}", self.totals())
    }
}

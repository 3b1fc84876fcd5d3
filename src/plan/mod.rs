//! What to run, as plain data: kernels, dispatches, buffers. No device is needed to make, print
//! or check a [`Plan`]; only `gpu/` turns one into silicon.
use crate::value::{Owner, TensorType, Value};
use std::{
    collections::HashSet,
    fmt,
    ops::{Deref, Range},
};

mod choice;
mod dispatch;
mod target;

pub use choice::{Choices, Choose, Kind, Rule, SizeClass, TABLE, Tabled};
pub use dispatch::{
    Access, Binding, Cost, Dispatch, Elements, Kernel, MAX_ITERATIONS, MAX_WORKGROUPS, Scope,
    Storage, fold,
};
pub use target::{Candidate, Packed, Target};

/// What a planned buffer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BufferRole {
    /// An input or state: keeps its contents from run to run.
    Persistent,
    /// A temporary, shared by values whose lives do not meet.
    Slot,
}

/// A buffer that the executor allocates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedBuffer {
    /// Size in bytes.
    pub bytes: u64,
    /// Use.
    pub role: BufferRole,
}

/// Where a value lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Index into [`Steps::buffers`].
    pub buffer: usize,
    /// First byte.
    pub offset: u64,
}

/// A part of a held input that has no buffer of its own: its bytes go to the part's place, and
/// then the launches run that read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// The input.
    pub input: Value,
    /// The part.
    pub part: Value,
    /// The part's first byte in the input.
    pub offset: u64,
    /// Of [`Steps::prepare`], what follows from this part alone.
    pub launches: Range<usize>,
}

impl Load {
    /// How many launches of [`Steps::prepare`], the first, are those of `loads`.
    pub(crate) fn launches_of(loads: &[Self]) -> usize {
        loads.last().map_or(0, |load| load.launches.end)
    }
}

/// Dispatches in order, and where their operands live. Only passes make one: kernels compiled
/// without run-time checks rely on parameters that follow from the types of what they bind.
/// [`Steps`] is what it holds, to read.
#[derive(Clone, Debug)]
pub struct Plan(pub(crate) Steps);

impl Deref for Plan {
    type Target = Steps;
    fn deref(&self) -> &Steps {
        &self.0
    }
}

/// What a [`Plan`] holds.
#[derive(Clone, Debug)]
pub struct Steps {
    /// The device that it was made for.
    pub target: Target,
    /// Who made its values.
    pub(crate) owner: Owner,
    /// Types of all values, scratch included.
    pub types: Vec<TensorType>,
    /// Place of each value; `None` if no dispatch touches it.
    pub placements: Vec<Option<Placement>>,
    /// Buffers to allocate.
    pub buffers: Vec<PlannedBuffer>,
    /// What depends on the held inputs alone: run once after they were written, that of `loads`
    /// when its input is.
    pub prepare: Vec<Dispatch>,
    /// The held inputs that are not kept as they are written, part by part.
    pub loads: Vec<Load>,
    /// One step.
    pub dispatches: Vec<Dispatch>,
    /// How often each family was chosen for each kind of work.
    pub choices: Choices,
    /// Values that callers may write.
    pub inputs: Vec<Value>,
    /// The inputs that callers write rarely.
    pub held: Vec<Value>,
    /// Values that callers may read after a run.
    pub outputs: Vec<Value>,
    /// Largest sum of the bytes of values alive at once: what no placement can undercut.
    pub live_bytes: u64,
    /// Bytes if every value had a buffer of its own.
    pub unplanned_bytes: u64,
}

impl Plan {
    /// Bytes of all planned buffers.
    pub fn peak_bytes(&self) -> u64 {
        self.buffers.iter().map(|buffer| buffer.bytes).sum()
    }

    /// What runs once, then what runs in each step.
    pub fn all(&self) -> impl Iterator<Item = &Dispatch> {
        self.prepare.iter().chain(&self.dispatches)
    }

    /// How many launches of `prepare`, the first, run when their input is written.
    pub fn loading(&self) -> usize {
        Load::launches_of(&self.loads)
    }

    /// The largest tensor in each buffer: what a message about the buffer names.
    pub(crate) fn largest_tenants(&self) -> Vec<String> {
        let mut largest: Vec<Option<Value>> = vec![None; self.buffers.len()];
        let bytes = |value: Value| self.types[value.index()].bytes();
        for (index, placement) in self.placements.iter().enumerate() {
            let (Some(placement), value) = (placement, Value::new(self.owner, index)) else {
                continue;
            };
            let tenant = &mut largest[placement.buffer];
            if tenant.is_none_or(|known| bytes(known) < bytes(value)) {
                *tenant = Some(value);
            }
        }
        let name = |value: Value| format!("{value} ({})", self.types[value.index()]);
        largest.into_iter().map(|value| value.map_or("nothing".to_owned(), name)).collect()
    }

    /// Type of a value, if it is one of the plan's.
    pub fn find(&self, value: Value) -> Option<TensorType> {
        self.types.get(value.index()).copied().filter(|_| value.owner() == self.owner)
    }

    /// What the plan needs and `device` does not have, a phrase each; none if it runs there.
    /// Subgroups must have the size that the plan was made for, if it was made for any; of the
    /// rest a device may have more. Whether it is a software driver steers choices alone.
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

    /// Cost of one step.
    pub fn cost(&self) -> Cost {
        let mut total = Cost::default();
        for dispatch in &self.dispatches {
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
        let chosen =
            |((kind, family), times): (&(Kind, &str), _)| format!("{kind} by {family}: {times}");
        let families: Vec<String> = self.choices.iter().map(chosen).collect();
        format!(
            "dispatches        {}\n\
             run once          {}\n\
             pipelines         {}\n\
             families          {}\n\
             GFLOP             {:.3}\n\
             planned peak      {:.2} MiB\n\
             most live at once {:.2} MiB\n\
             unplanned         {:.2} MiB\n\
             plan hash         {:016x}",
            self.dispatches.len(),
            self.prepare.len(),
            self.pipelines(),
            families.join("; "),
            self.cost().flops as f64 / 1e9,
            mib(self.peak_bytes()),
            mib(self.live_bytes),
            mib(self.unplanned_bytes),
            self.hash(),
        )
    }

    /// A hash of everything that decides the bits of a result: kernels, parameters, grids.
    /// The same on every machine (FNV-1a), so that reports can quote it.
    pub fn hash(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut eat = |bytes: &[u8]| {
            for byte in bytes {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
            }
        };
        for dispatch in self.all() {
            eat(dispatch.kernel.to_string().as_bytes());
            eat(dispatch.kernel.source.as_bytes());
            eat(&dispatch.params);
            eat(bytemuck::cast_slice(&dispatch.workgroups));
        }
        hash
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, dispatch) in self.all().enumerate() {
            if n < self.loading() {
                f.write_str("load: ")?;
            } else if n < self.prepare.len() {
                f.write_str("once: ")?;
            }
            write!(f, "{} [", dispatch.kernel)?;
            for (n, binding) in dispatch.bindings.iter().enumerate() {
                let separator = if n == 0 { "" } else { " " };
                match binding.value {
                    Some(value) => write!(f, "{separator}{}={value}", binding.name)?,
                    None => write!(f, "{separator}{}=-", binding.name)?,
                }
            }
            let [x, y, z] = dispatch.workgroups;
            write!(f, "] {x}x{y}x{z}")?;
            if !dispatch.scope.as_str().is_empty() {
                write!(f, "   // {}", dispatch.scope.as_str())?;
            }
            writeln!(f)?;
        }
        write!(f, "{}", self.totals())
    }
}

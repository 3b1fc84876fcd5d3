//! What a device can refuse.
use crate::value::{TensorType, Value};

/// The device, its absence, its memory, or data that does not fit a buffer.
///
/// Example: [`crate::gpu::Gpu`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// No adapter fits.
    #[error("no GPU adapter found: looked for {wanted} among {found}{}", remedy(*software_helps))]
    NoAdapter {
        /// Backends and name asked for.
        wanted: String,
        /// Names of the adapters present.
        found: String,
        /// Whether a software Vulkan driver would do: no adapter is there, and this is Linux.
        software_helps: bool,
    },
    /// The host would have to wait where it cannot: a browser has one thread.
    #[error("a browser cannot wait for its device: use the form whose name ends in _async")]
    Blocks,
    /// The adapter did not give a device.
    #[error("{adapter} gave no device: {message}")]
    NoDevice {
        /// Adapter's name.
        adapter: String,
        /// The driver's words.
        message: String,
    },
    /// A caller's device lacks something that this crate needs.
    #[error("the device of {adapter} lacks {what}: needs {needed}, has {found}")]
    Unsuitable {
        /// Adapter's name.
        adapter: String,
        /// Feature or limit.
        what: &'static str,
        /// Least value.
        needed: String,
        /// Its value.
        found: String,
    },
    /// A plan that was made for another device.
    #[error("the plan was made for another device; on {adapter} it needs {lacks}")]
    Target {
        /// Adapter's name.
        adapter: String,
        /// What the plan needs and what there is.
        lacks: String,
    },
    /// No section has this name, or it is one that runs after writes.
    #[error("the plan has no section {name}, only {present}")]
    Section {
        /// What was asked for.
        name: String,
        /// Those that there are.
        present: String,
    },
    /// A value of another graph than the plan's.
    #[error("cannot {action} {value}: it is a value of another graph than the plan's")]
    Foreign {
        /// The value.
        value: Value,
        /// `read` or `write`.
        action: &'static str,
    },
    /// The device ran out of memory.
    #[error("out of memory while {action} ({bytes} bytes)")]
    OutOfMemory {
        /// What was being done.
        action: String,
        /// Size asked for.
        bytes: u64,
    },
    /// The device went away.
    #[error("device lost: {message}")]
    Lost {
        /// The driver's words.
        message: String,
    },
    /// The device refused an operation.
    #[error("while {action}: {message}")]
    Device {
        /// What was being done.
        action: String,
        /// wgpu's words.
        message: String,
    },
    /// A caller's slice does not have the tensor's length.
    #[error("{value} ({of}) takes {expected} elements, found {found}")]
    Length {
        /// The value.
        value: Value,
        /// Its type.
        of: TensorType,
        /// Elements of the tensor.
        expected: usize,
        /// Elements of the slice.
        found: usize,
    },
    /// Floats for a tensor of integers, or the other way round.
    #[error("{value} is {of}, not a tensor of {asked}")]
    Element {
        /// The value.
        value: Value,
        /// Its type.
        of: TensorType,
        /// What the caller has.
        asked: &'static str,
    },
    /// No buffer holds the value: nothing reads it, or its bytes were handed on.
    #[error(
        "{value} has no contents to {action}: it is no input or output of the plan, or one whose \
         parts were packed when they were written"
    )]
    NoContents {
        /// The value.
        value: Value,
        /// `read` or `write`.
        action: &'static str,
    },
    /// A caller's buffer cannot hold a tensor of the plan.
    #[error("the buffer given for {value} must have {expected}, found {found}")]
    HostBuffer {
        /// The value.
        value: Value,
        /// What it must be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A tensor and a texture that no kernel copies between.
    #[error("copies between tensors and textures take {expected}, found {found}")]
    Texture {
        /// What fits.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A custom shader does not declare what its dispatch binds.
    #[error("custom shader, entry {entry}: {message}")]
    Custom {
        /// Entry point.
        entry: String,
        /// What differs.
        message: String,
    },
}

fn remedy(software_helps: bool) -> &'static str {
    if software_helps {
        ". A software Vulkan driver will do; on Debian or Ubuntu install one with: sudo apt-get install \
         mesa-vulkan-drivers"
    } else {
        ""
    }
}

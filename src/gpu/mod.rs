//! Plans to silicon: the only floor that knows wgpu.
#![expect(unsafe_code, reason = "trusted shader modules, where the argument stands")]

mod cache;
mod custom;
mod device;
mod executor;
mod overhead;
mod pipelines;
mod profile;
mod roofline;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
mod timestamps;
mod transfer;
mod upload;

pub use device::{AdapterReport, Gpu, GpuOptions, adapters};
pub use executor::{Executor, Stats};
pub use overhead::{Overhead, with_checks};
pub use profile::{Clock, GroupTime, Profile, Timing};
pub use roofline::{Bottleneck, Roofline};
pub use transfer::DeviceTensor;

//! Plans to silicon: the only floor that knows wgpu.
#![expect(unsafe_code, reason = "trusted shader modules, where the argument stands")]

mod device;
mod error;
mod executor;
mod pipelines;
mod transfer;

pub use device::{AdapterReport, Gpu, GpuOptions, adapters};
pub use error::GpuError;
pub use executor::{Executor, Stats};

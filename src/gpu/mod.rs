//! Plans to silicon: the only floor that knows wgpu.
//!
//! ```no_run
//! use ddim::{gpu::{Executor, Gpu, GpuOptions}, graph::Graph, ops::Silu, passes, value::TensorType};
//!
//! let gpu = Gpu::new(&GpuOptions::default())?;
//! let mut graph = Graph::new();
//! let x = graph.input(TensorType::f32(&[2]));
//! let y = graph.push(Silu, &[x])?;
//! graph.outputs.push(y);
//! let mut executor = Executor::new(&gpu, passes::compile(&graph, gpu.target())?)?;
//! executor.write(x, &[-1.0, 1.0])?;
//! executor.run(1)?;
//! println!("{:?}", executor.read(y)?);
//! # Ok::<(), ddim::Error>(())
//! ```
//!
//! Whole programs: `examples/convolution.rs`, and on the buffers of a host `examples/host_block.rs`.
#![expect(
    unsafe_code,
    reason = "trusted shader modules, kept pipelines and an experimental feature, where the arguments stand"
)]

mod adapter;
mod asynchronous;
mod cache;
mod cooperative;
#[cfg(not(target_family = "wasm"))]
mod custom;
mod device;
mod device_tensor;
mod download;
mod executor;
mod faults;
mod frames;
mod host_buffers;
mod overhead;
mod pipeline_cache;
mod pipelines;
mod profile;
mod readings;
mod report;
mod roofline;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
mod textures;
mod timestamps;
mod transfer;
mod upload;

pub use adapter::{AdapterReport, GpuOptions, adapters};
pub use device::Gpu;
pub use device_tensor::DeviceTensor;
pub use executor::{Executor, Stats};
pub use frames::{Budget, Progress, Run};
pub use overhead::{Overhead, with_checks};
pub use profile::{Clock, GroupTime, Profile, Timing};
pub use readings::Reading;
pub use report::{Compared, Report, ReportLine, Times};
pub use roofline::{Bottleneck, Roofline};
pub use textures::TextureConverter;

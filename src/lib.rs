//! Diffusion U-Nets in hand-written WGSL: DDPM, DDIM and their family, forward and training
//! backward, on any Vulkan, Metal or DX12 GPU, with no machine-learning framework.
//!
//! # The crate in one page
//!
//! A [`Graph`](graph::Graph) is a list of equations. An [`Operator`](ops::Operator) is one small
//! value type with five facts: types, CPU reference, gradient, kernels, cost. A
//! [`Plan`](plan::Plan) is a list of dispatches. Three languages of plain data, and two arrows
//! between them:
//!
//! ```text
//! nn::Model::build -> passes::gradient -> passes::compile -> gpu::Executor::run
//!       Graph             Graph               Plan               silicon
//! ```
//!
//! What changes from step to step is a tensor; everything else is compiled in. So a training
//! step, or a DDIM step, is a constant plan, and many of them are its replay, with no host wait
//! inside.
//!
//! Modules import only from floors below their own:
//!
//! | floor | modules | speaks |
//! |---|---|---|
//! | 0 | [`value`], [`error`], [`files`], `clock` | shapes and types; input files |
//! | 1 | [`plan`], [`shaders`] | dispatches: plain data |
//! | 2 | [`graph`], [`ops`], [`mod@reference`] | the language |
//! | 3 | [`passes`] | graph to graph to plan |
//! | 4 | [`gpu`]; [`nn`]; [`models`], [`weights`]; [`pipeline`]; [`data`], [`diffusion::schedule`] | silicon; models and their files |
//! | 5 | [`diffusion`], [`training`] | both together |
//! | 6 | [`sampling`], [`latent`], [`bench_cases`], [`classifier`] | many images; prompts, latents and pictures; what is timed; networks that measure the quality of samples |
//! | 7 | [`verify`], the command `ddim`, examples, benches, tests | |
//!
//! # Conventions
//!
//! Activations are `[batch, height, width, channels]`, convolution weights `[kernel_height,
//! kernel_width, in, out]`, linear weights `[in, out]`; only [`weights`] knows PyTorch's orders.
//! Slices that callers pass are dense and row-major; on the device the innermost axis is padded
//! with zeros to a multiple of four. Storage is f32, f16 or bf16, arithmetic f32 unless the caller allows
//! [products in f16](plan::Arithmetic) or [matrix units](plan::CooperativeMatrices), tables f64.
//! Images are -1 to 1. The same seed gives the same bits on the same device, driver and build.
//!
//! # A worked example
//!
//! Graphs, gradients and plans need no device; the reference evaluates them in f64:
//!
//! ```
//! use ddim::{graph::Graph, ops::Silu, passes, plan::Target, reference, value::TensorType};
//!
//! let mut graph = Graph::new();
//! let x = graph.input(TensorType::f32(&[2]));
//! let y = graph.push(Silu, &[x])?;
//! let dy = graph.input(TensorType::f32(&[2]));
//! let dx = passes::gradient(&mut graph, y, dy, &[x])?[0].expect("y depends on x");
//! graph.outputs = vec![y, dx];
//!
//! let tensor = |data: &[f64]| reference::Tensor::new(TensorType::f32(&[2]).shape, data.to_vec());
//! let inputs = [(x, tensor(&[0.0, 1.0])), (dy, tensor(&[1.0, 1.0]))].into();
//! assert_eq!(reference::evaluate(&graph, inputs)?[&dx].data[0], 0.5);
//!
//! let plan = passes::compile(&graph, &Target::default())?;
//! assert_eq!(plan.dispatches().count(), 2);
//! # Ok::<(), ddim::Error>(())
//! ```
//!
//! [`gpu::Gpu::new`] opens a device, or [`gpu::Gpu::from_wgpu`] takes yours;
//! [`gpu::Executor`] runs the plan there. `examples/` trains a model, differentiates a
//! convolution on a caller's device, and adds an operation of its own.

pub mod bench_cases;
pub mod classifier;
mod clock;
pub mod data;
pub mod diffusion;
pub mod error;
pub mod files;
pub mod gpu;
pub mod graph;
pub mod latent;
pub mod models;
pub mod nn;
pub mod ops;
pub mod passes;
#[cfg(feature = "pictures")]
pub mod pictures;
pub mod pipeline;
pub mod plan;
pub mod reference;
pub mod sampling;
pub mod shaders;
pub mod training;
pub mod tuner;
pub mod value;
pub mod verify;
pub mod weights;

pub use error::Error;
pub use wgpu;

//! The kernels that a device has compiled.
use std::{collections::HashMap, sync::Arc};

/// A compiled kernel and the layout of its bindings.
#[derive(Clone, Debug)]
pub(super) struct Compiled {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

/// WGSL with its prelude, and whether it is compiled without run-time checks.
pub(super) type Text = (String, bool);

/// What was compiled so far. The key is the text, the entry point and the overrides.
#[derive(Debug, Default)]
pub(super) struct Pipelines {
    pub modules: HashMap<Text, wgpu::ShaderModule>,
    pub pipelines: HashMap<(String, Text), Arc<Compiled>>,
}

//! Compiled kernels, one per variant, kept for the life of the device.
use super::{Gpu, GpuError};
use crate::{
    plan::{Access, Dispatch, Kernel},
    shaders,
};
use std::{borrow::Cow, collections::HashMap, sync::Arc};

/// A compiled kernel and the layout of its bindings.
#[derive(Clone, Debug)]
pub struct Compiled {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

/// What was compiled so far. The key is the WGSL with its prelude, the entry point and the
/// overrides.
#[derive(Debug, Default)]
pub struct Pipelines {
    modules: HashMap<String, wgpu::ShaderModule>,
    pipelines: HashMap<(String, String), Arc<Compiled>>,
}

impl Pipelines {
    /// The pipeline of a dispatch, compiled if it is new.
    pub fn get(&mut self, gpu: &Gpu, dispatch: &Dispatch) -> Result<Arc<Compiled>, GpuError> {
        let kernel = &dispatch.kernel;
        let wgsl = kernel.wgsl();
        let key = (kernel.to_string(), wgsl.clone());
        if let Some(found) = self.pipelines.get(&key) {
            return Ok(Arc::clone(found));
        }
        let module = match self.modules.get(&wgsl) {
            Some(module) => module.clone(),
            None => {
                let module = module(gpu, kernel, &wgsl)?;
                self.modules.insert(wgsl, module.clone());
                module
            }
        };
        let compiled = Arc::new(compile(gpu, dispatch, &module)?);
        self.pipelines.insert(key, Arc::clone(&compiled));
        Ok(compiled)
    }
}

fn module(gpu: &Gpu, kernel: &Kernel, wgsl: &str) -> Result<wgpu::ShaderModule, GpuError> {
    let descriptor = wgpu::ShaderModuleDescriptor {
        label: Some(&kernel.shader),
        source: wgpu::ShaderSource::Wgsl(Cow::Borrowed(wgsl)),
    };
    gpu.guard(&format!("compiling {}", kernel.shader), 0, || {
        // A caller's own text keeps wgpu's run-time checks, and so does every debug build.
        if cfg!(debug_assertions) || !is_ours(kernel) {
            return gpu.device().create_shader_module(descriptor);
        }
        let checks = wgpu::ShaderRuntimeChecks::unchecked();
        // SAFETY: the text is one of this crate's own kernels. Each bounds every index by its
        // parameters, which lowering derives from the types of the very values it binds, and the
        // tests run all of them with the checks on and with sentinels after each buffer.
        unsafe { gpu.device().create_shader_module_trusted(descriptor, checks) }
    })
}

/// Whether the text is one of this crate's shaders: whatever its name says, another is not.
fn is_ours(kernel: &Kernel) -> bool {
    shaders::ALL.iter().any(|shader| shader.name == kernel.shader && shader.source == kernel.source)
}

fn compile(
    gpu: &Gpu,
    dispatch: &Dispatch,
    module: &wgpu::ShaderModule,
) -> Result<Compiled, GpuError> {
    let buffer = |binding, ty| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    };
    let mut entries = Vec::new();
    if !dispatch.params.is_empty() {
        entries.push(buffer(0, wgpu::BufferBindingType::Uniform));
    }
    entries.extend(dispatch.bindings.iter().map(|binding| {
        let read_only = binding.access == Access::Read;
        buffer(binding.binding, wgpu::BufferBindingType::Storage { read_only })
    }));
    let kernel = &dispatch.kernel;
    let device = gpu.device();
    gpu.guard(&format!("compiling {kernel}"), 0, || {
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(&kernel.entry),
            entries: &entries,
        });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(&kernel.entry),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&kernel.to_string()),
            layout: Some(&pipeline_layout),
            module,
            entry_point: Some(&kernel.entry),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &kernel.overrides,
                // Our kernels write their workgroup memory before they read it.
                zero_initialize_workgroup_memory: !is_ours(kernel),
            },
            cache: None,
        });
        Compiled { pipeline, layout }
    })
}

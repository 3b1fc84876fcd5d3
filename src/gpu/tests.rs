//! What needs a plan that no pass makes.
use super::{Executor, Gpu, roofline::plan};
use crate::{
    error::{Error, GpuError},
    value::TensorType,
};

/// A device without limits that computes nothing but does allocate; no adapter is needed.
fn boundless() -> Gpu {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::NOOP;
    descriptor.flags = wgpu::InstanceFlags::empty();
    descriptor.backend_options.noop.enable = true;
    let (max_buffer_size, max_storage_buffer_binding_size) = (1 << 62, 1 << 62);
    let limits = wgpu::Limits::unlimited();
    descriptor.backend_options.noop.limits =
        Some(wgpu::Limits { max_buffer_size, max_storage_buffer_binding_size, ..limits });
    let instance = wgpu::Instance::new(descriptor);
    let adapter = pollster::block_on(instance.request_adapter(&Default::default())).unwrap();
    let required_limits = adapter.limits();
    let descriptor = wgpu::DeviceDescriptor { required_limits, ..Default::default() };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).unwrap();
    Gpu::from_wgpu(device, queue).unwrap()
}

#[test]
fn running_out_of_memory_names_the_tensor() {
    let gpu = boundless();
    let mut plan = plan(&gpu, Vec::new(), vec![TensorType::f32(&[3])]);
    plan.0.buffers[0].bytes = 1 << 60;
    let error = Executor::new(&gpu, plan).err().unwrap();
    assert!(
        matches!(error, Error::Gpu(GpuError::OutOfMemory { bytes: 0x1000_0000_0000_0000, .. })),
        "{error}"
    );
    assert!(error.to_string().contains("%0 (f32[3])"), "{error}");
}

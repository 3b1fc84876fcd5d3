//! A convolution, a group norm and a SiLU on buffers of the host's own: nothing is copied.
//!
//! `cargo run --release --example host_block`
use ddim::{
    gpu::{Budget, DeviceTensor, Executor, Gpu},
    graph::Graph,
    ops::{Conv2d, GroupNorm, Silu},
    passes,
    value::{TensorType, Value},
    wgpu,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The host's device, opened with what makes kernels fast.
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = pollster::block_on(instance.request_adapter(&Default::default()))?;
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
        required_limits: Gpu::required_limits(&adapter),
        required_features: Gpu::wanted_features(&adapter),
        ..Default::default()
    }))?;
    let gpu = Gpu::from_wgpu(device.clone(), queue.clone())?;

    // y = silu(group_norm(conv(x, weight))).
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(&[1, 32, 32, 16]));
    let weight = graph.constant(TensorType::f32(&[3, 3, 16, 16]));
    let (scale, shift) =
        (graph.constant(TensorType::f32(&[16])), graph.constant(TensorType::f32(&[16])));
    let h = graph.push(Conv2d { stride: 1, padding: [1; 4] }, &[x, weight])?;
    let h = graph.push(GroupNorm { groups: 4, eps: 1e-5.into() }, &[h, scale, shift])?;
    let y = graph.push(Silu, &[h])?;
    graph.outputs.push(y);
    let plan = passes::compile(&graph, gpu.target())?;

    // The host's buffers. 16 channels need no pads, so a dense slice is the layout.
    let tensor = |value: Value| {
        let of = graph.type_of(value);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let (label, size) = (Some("of the host"), of.bytes());
        let buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label,
            size,
            usage: usage | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        DeviceTensor { buffer, offset: 0, of }
    };
    let bound = [x, weight, scale, shift, y].map(|value| (value, tensor(value)));
    for (value, DeviceTensor { buffer, of, .. }) in &bound[..4] {
        let numbers: Vec<f32> = (0..of.shape.elements())
            .map(|i| (i as f32 * 0.37 + value.index() as f32).sin())
            .collect();
        queue.write_buffer(buffer, 0, bytemuck::cast_slice(&numbers));
    }
    let mut executor = Executor::with_buffers(&gpu, plan, &bound)?;

    // Into the host's own encoder, between passes of its own.
    let mut encoder = device.create_command_encoder(&Default::default());
    while !executor.record(&mut encoder, Budget::Launches(2))? {}
    queue.submit([encoder.finish()]);
    let stats = executor.stats();
    println!(
        "{} launches, {} bytes uploaded, {} read back",
        stats.dispatches, stats.uploaded, stats.read_back
    );
    if stats.uploaded + stats.read_back > 0 {
        return Err("the run copied bytes".into());
    }
    let numbers = executor.read(y)?;
    println!("y {}: {:.4?} ..", graph.type_of(y), &numbers[..4]);
    Ok(())
}

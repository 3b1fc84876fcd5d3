//! One convolution and its gradients on a device that the caller made.
//!
//! `cargo run --release --example convolution`
use ddim::{
    gpu::{Executor, Gpu},
    graph::Graph,
    ops::Conv2d,
    passes,
    value::TensorType,
    wgpu,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The caller's own device: any features and limits from WebGPU's defaults upwards.
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = pollster::block_on(instance.request_adapter(&Default::default()))?;
    let (device, queue) = pollster::block_on(adapter.request_device(&Default::default()))?;
    let gpu = Gpu::from_wgpu(device, queue)?;

    // y = conv(x, weight) + bias, and the gradients of sum(y dy).
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(&[1, 4, 4, 2]));
    let weight = graph.input(TensorType::f32(&[3, 3, 2, 3]));
    let bias = graph.input(TensorType::f32(&[3]));
    let y = graph.push(Conv2d { stride: 1, padding: [1; 4] }, &[x, weight, bias])?;
    let dy = graph.input(graph.type_of(y));
    let gradients = passes::gradient(&mut graph, y, dy, &[x, weight, bias])?;
    graph.outputs = gradients.into_iter().flatten().chain([y]).collect();
    print!("{graph}");

    let plan = passes::compile(&graph, gpu.target())?;
    println!("\n{plan}\n");
    let mut executor = Executor::new(&gpu, plan)?;
    let ramp = |n: usize| (0..n).map(|i| (i as f32 * 0.7).sin()).collect::<Vec<f32>>();
    for value in [x, weight, bias, dy] {
        executor.write(value, &ramp(graph.type_of(value).shape.elements()))?;
    }
    executor.run(1)?;
    for (name, &value) in ["dx", "dweight", "dbias", "y"].iter().zip(&graph.outputs) {
        let numbers = executor.read(value)?;
        println!("{name} {}: {:.4?} ..", graph.type_of(value), &numbers[..3]);
    }
    Ok(())
}

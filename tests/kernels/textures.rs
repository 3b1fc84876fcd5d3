//! Images between tensors and a host's textures.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use crate::common::support;
use ddim::{
    error::GpuError,
    gpu::{DeviceTensor, Executor, Gpu, TextureConverter},
    graph::Graph,
    ops::Silu,
    passes,
    value::{ElementType, TensorType, Value},
};

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7 + seed * 13) as f32 * 0.37).sin()).collect()
}

fn texture(gpu: &Gpu, [width, height]: [u32; 2], format: wgpu::TextureFormat) -> wgpu::Texture {
    gpu.device().create_texture(&wgpu::TextureDescriptor {
        label: Some("the host's"),
        size: wgpu::Extent3d { width, height, depth_or_array_layers: 1 },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format,
        usage: wgpu::TextureUsages::STORAGE_BINDING
            | wgpu::TextureUsages::TEXTURE_BINDING
            | wgpu::TextureUsages::COPY_SRC,
        view_formats: &[],
    })
}

/// An executor whose input is images.
fn images(gpu: &Gpu, of: TensorType) -> (Executor, Value) {
    let mut graph = Graph::new();
    let x = graph.input(of);
    let y = graph.push(Silu, &[x]).unwrap();
    graph.outputs.push(y);
    (Executor::new(gpu, passes::compile(&graph, gpu.target()).unwrap()).unwrap(), x)
}

/// Widths that are no multiple of a tile, each number of channels, the second of two images.
#[test]
fn images_go_to_textures_and_come_back() {
    let Some(gpu) = support::gpu() else { return };
    let range = [-1.0, 1.0];
    for (format, element, error) in [
        (wgpu::TextureFormat::Rgba16Float, ElementType::F32, 1e-3),
        (wgpu::TextureFormat::Rgba16Float, ElementType::F16, 2e-3),
        // Half a level of 255 of the range, and a little.
        (wgpu::TextureFormat::Rgba8Unorm, ElementType::F32, 1.01 / 255.0),
    ] {
        let converter = TextureConverter::new(&gpu, format, element).unwrap();
        for channels in 1..=4 {
            let of = TensorType { element, ..TensorType::f32(&[2, 5, 19, channels]) };
            let (mut executor, x) = images(&gpu, of);
            let dense: Vec<f32> = numbers(of.shape.elements(), channels);
            executor.poison().unwrap();
            executor.write(x, &dense).unwrap();
            let tensor = executor.tensor(x).unwrap();
            let target = texture(&gpu, [19, 5], format);
            let mut encoder = gpu.device().create_command_encoder(&Default::default());
            converter.to_texture(&mut encoder, &tensor, 1, &target, range).unwrap();
            // Over the first image.
            converter.from_texture(&mut encoder, &target, &tensor, 0, range).unwrap();
            gpu.queue().submit([encoder.finish()]);
            let back = executor.read(x).unwrap();
            let image = 5 * 19 * channels;
            assert_eq!(back[image..].len(), image);
            for (a, b) in back[..image].iter().zip(&back[image..]) {
                assert!((a - b).abs() <= error, "{format:?} {element} {channels}: {a} {b}");
            }
            // Pads stay zeros: kernels read them.
            let raw = executor.read_raw(x).unwrap();
            let size = element.bytes();
            for pixel in raw[..of.bytes() as usize].chunks_exact(4 * size) {
                assert!(pixel[channels * size..].iter().all(|&byte| byte == 0));
            }
        }
    }
}

#[test]
fn the_range_decides_what_is_black() {
    let Some(gpu) = support::gpu() else { return };
    let of = TensorType::f32(&[1, 1, 64, 3]);
    let (mut executor, x) = images(&gpu, of);
    let dense: Vec<f32> = (0..64).flat_map(|i| [i as f32, 63.0 - i as f32, 100.0]).collect();
    executor.write(x, &dense).unwrap();
    let format = wgpu::TextureFormat::Rgba8Unorm;
    let converter = TextureConverter::new(&gpu, format, ElementType::F32).unwrap();
    let target = texture(&gpu, [64, 1], format);
    let buffer = gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 256,
        usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
        mapped_at_creation: false,
    });
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    let tensor = executor.tensor(x).unwrap();
    converter.to_texture(&mut encoder, &tensor, 0, &target, [0.0, 63.0]).unwrap();
    let layout =
        wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(256), rows_per_image: None };
    let to = wgpu::TexelCopyBufferInfo { buffer: &buffer, layout };
    encoder.copy_texture_to_buffer(target.as_image_copy(), to, target.size());
    gpu.queue().submit([encoder.finish()]);
    buffer.map_async(wgpu::MapMode::Read, .., |result| result.unwrap());
    gpu.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let bytes = buffer.get_mapped_range(..).unwrap().to_vec();
    for (i, texel) in bytes.chunks_exact(4).enumerate() {
        let level = |x: f32| (255.0 * x / 63.0).round() as i32;
        let expected = [level(i as f32), level(63.0 - i as f32), 255, 255];
        for (found, expected) in texel.iter().zip(expected) {
            assert!((i32::from(*found) - expected).abs() <= 1, "{i}: {texel:?}");
        }
    }
}

#[test]
fn textures_that_do_not_fit_are_refused() {
    let Some(gpu) = support::gpu() else { return };
    let format = wgpu::TextureFormat::Rgba8Unorm;
    let refused = |error: GpuError, says: &str| {
        assert!(error.to_string().contains(says), "{error}");
    };
    let srgb = wgpu::TextureFormat::Rgba8UnormSrgb;
    refused(TextureConverter::new(&gpu, srgb, ElementType::F32).err().unwrap(), "Rgba8UnormSrgb");
    refused(TextureConverter::new(&gpu, format, ElementType::U32).err().unwrap(), "u32");
    let converter = TextureConverter::new(&gpu, format, ElementType::F32).unwrap();
    let (executor, x) = images(&gpu, TensorType::f32(&[2, 5, 19, 3]));
    let image = executor.tensor(x).unwrap();
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    let mut to = |image: &DeviceTensor, number, size, range| {
        let target = texture(&gpu, size, format);
        converter.to_texture(&mut encoder, image, number, &target, range).unwrap_err()
    };
    refused(to(&image, 2, [19, 5], [-1.0, 1.0]), "an image below 2, found 2");
    refused(to(&image, 0, [5, 19], [-1.0, 1.0]), "19x5 Rgba8Unorm, found 5x19");
    refused(to(&image, 0, [19, 5], [1.0, 1.0]), "a range");
    let wide = DeviceTensor { of: TensorType::f32(&[2, 5, 19, 5]), ..image };
    refused(to(&wide, 0, [19, 5], [-1.0, 1.0]), "1 to 4");
}

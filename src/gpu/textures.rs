//! Images between tensors and textures.
use super::{DeviceTensor, Gpu};
use crate::{error::GpuError, value::ElementType};
use wgpu::util::DeviceExt;

const SHADER: &str = include_str!("../../shaders/textures/image.wgsl");

/// How a pixel of four elements is stored.
const F32: &str = "alias PIXEL = vec4<f32>;
fn unpacked(pixel: PIXEL) -> vec4<f32> { return pixel; }
fn packed(x: vec4<f32>) -> PIXEL { return x; }
";
const F16: &str = "alias PIXEL = vec2<u32>;
fn unpacked(pixel: PIXEL) -> vec4<f32> {
    return vec4(unpack2x16float(pixel.x), unpack2x16float(pixel.y));
}
fn packed(x: vec4<f32>) -> PIXEL { return vec2(pack2x16float(x.xy), pack2x16float(x.zw)); }
";

/// Width and height of a workgroup, in pixels.
const TILE: u32 = 8;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    first: u32,
    width: u32,
    height: u32,
    channels: u32,
    low: f32,
    high: f32,
}

/// Kernels that copy an image of a tensor `[images, height, width, channels]` of one to four channels to a
/// texture, and back.
///
/// A number x of the tensor is `(x - low) / (high - low)` in the texture: `low` is black. One channel is grey
/// there, two are red and green; the alpha of three is 1. The way back takes the texture's first channels.
///
/// ```no_run
/// use ddim::{gpu::{Budget, TextureConverter}, value::ElementType, wgpu::TextureFormat};
/// # use ddim::{Error, gpu::{Executor, Gpu}, value::Value, wgpu::Texture};
/// # fn draw(gpu: &Gpu, executor: &mut Executor, y: Value, screen: &Texture) -> Result<(), Error> {
///
/// // The first image of the plan's output `y`, in a frame of the host's.
/// let converter = TextureConverter::new(gpu, TextureFormat::Rgba8Unorm, ElementType::F32)?;
/// let mut encoder = gpu.device().create_command_encoder(&Default::default());
/// while !executor.record(&mut encoder, Budget::Launches(100))? {}
/// let image = executor.tensor(y)?; // A `DeviceTensor`.
/// converter.to_texture(&mut encoder, &image, 0, screen, [-1.0, 1.0])?;
/// gpu.queue().submit([encoder.finish()]);
/// # Ok(())
/// # }
/// ```
pub struct TextureConverter {
    gpu: Gpu,
    format: wgpu::TextureFormat,
    element: ElementType,
    to: wgpu::ComputePipeline,
    from: wgpu::ComputePipeline,
}

impl TextureConverter {
    /// Compiles both kernels, for textures `Rgba8Unorm` or `Rgba16Float` and tensors of f32 or f16.
    ///
    /// # Errors
    /// If it is another format or another element, or the device refuses the kernels.
    pub fn new(
        gpu: &Gpu,
        format: wgpu::TextureFormat,
        element: ElementType,
    ) -> Result<Self, GpuError> {
        let texel = match format {
            wgpu::TextureFormat::Rgba8Unorm => "rgba8unorm",
            wgpu::TextureFormat::Rgba16Float => "rgba16float",
            other => {
                return Err(refuse("a texture of Rgba8Unorm or Rgba16Float", format!("{other:?}")));
            }
        };
        let pixel = match element {
            ElementType::F32 => F32,
            ElementType::F16 => F16,
            other => return Err(refuse("a tensor of f32 or f16", other.to_string())),
        };
        let source = pixel.to_owned() + &SHADER.replace("FORMAT", texel);
        let device = gpu.device();
        gpu.guard("compiling the kernels of textures", 0, || {
            let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some("texture"),
                source: wgpu::ShaderSource::Wgsl(source.into()),
            });
            let pipeline = |entry| {
                device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                    label: Some(entry),
                    layout: None,
                    module: &module,
                    entry_point: Some(entry),
                    compilation_options: Default::default(),
                    cache: None,
                })
            };
            let (to, from) = (pipeline("to_texture"), pipeline("from_texture"));
            Self { gpu: gpu.clone(), format, element, to, from }
        })
    }

    /// Records the copy of image `number` to a texture of its size with the usage `STORAGE_BINDING`; `range` is
    /// `[low, high]`, -1 and 1 for images that a sampler made.
    ///
    /// # Errors
    /// If the texture or the tensor does not fit, or the device refuses the work.
    pub fn to_texture(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        image: &DeviceTensor,
        number: usize,
        texture: &wgpu::Texture,
        range: [f32; 2],
    ) -> Result<(), GpuError> {
        self.record(encoder, (&self.to, 2), image, number, texture, range)
    }

    /// Records the copy of a texture with the usage `TEXTURE_BINDING` to image `number` of a tensor.
    ///
    /// # Errors
    /// As [`TextureConverter::to_texture`].
    pub fn from_texture(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        texture: &wgpu::Texture,
        image: &DeviceTensor,
        number: usize,
        range: [f32; 2],
    ) -> Result<(), GpuError> {
        self.record(encoder, (&self.from, 3), image, number, texture, range)
    }

    fn record(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        (pipeline, binding): (&wgpu::ComputePipeline, u32),
        image: &DeviceTensor,
        number: usize,
        texture: &wgpu::Texture,
        [low, high]: [f32; 2],
    ) -> Result<(), GpuError> {
        let params = self.params(image, number, texture, [low, high])?;
        let (width, height) = (params.width, params.height);
        let device = self.gpu.device();
        self.gpu.guard("copying between a tensor and a texture", 0, || {
            let uniform = device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
                label: Some("parameters of a texture"),
                contents: bytemuck::bytes_of(&params),
                usage: wgpu::BufferUsages::UNIFORM,
            });
            let view = texture.create_view(&Default::default());
            let tensor = wgpu::BufferBinding {
                buffer: &image.buffer,
                offset: image.offset,
                size: wgpu::BufferSize::new(image.of.bytes()),
            };
            let entry = |binding, resource| wgpu::BindGroupEntry { binding, resource };
            let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some("texture"),
                layout: &pipeline.get_bind_group_layout(0),
                entries: &[
                    entry(0, uniform.as_entire_binding()),
                    entry(1, wgpu::BindingResource::Buffer(tensor)),
                    entry(binding, wgpu::BindingResource::TextureView(&view)),
                ],
            });
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(pipeline);
            pass.set_bind_group(0, &group, &[]);
            pass.dispatch_workgroups(width.div_ceil(TILE), height.div_ceil(TILE), 1);
        })
    }

    fn params(
        &self,
        image: &DeviceTensor,
        number: usize,
        texture: &wgpu::Texture,
        [low, high]: [f32; 2],
    ) -> Result<Params, GpuError> {
        let of = image.of;
        let &[images, height, width, channels @ 1..=4] = &*of.shape else {
            return Err(refuse("a tensor [images, height, width, 1 to 4]", of.to_string()));
        };
        if of.element != self.element {
            return Err(refuse(format!("a tensor of {}", self.element), of.to_string()));
        }
        if number >= images {
            return Err(refuse(format!("an image below {images}"), number.to_string()));
        }
        if low == high || !low.is_finite() || !high.is_finite() {
            return Err(refuse("a range of two finite numbers", format!("{low} to {high}")));
        }
        let size = texture.size();
        let (w, h) = (size.width as usize, size.height as usize);
        if (w, h, size.depth_or_array_layers) != (width, height, 1)
            || texture.format() != self.format
        {
            let expected = format!("a texture of {width}x{height} {:?}", self.format);
            return Err(refuse(expected, format!("{w}x{h} {:?}", texture.format())));
        }
        let [first, width, height, channels] =
            [number * height * width, width, height, channels].map(|extent| extent as u32);
        Ok(Params { first, width, height, channels, low, high })
    }
}

fn refuse(expected: impl Into<String>, found: impl Into<String>) -> GpuError {
    GpuError::Texture { expected: expected.into(), found: found.into() }
}

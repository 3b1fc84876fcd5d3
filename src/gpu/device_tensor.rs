//! Where a tensor lies on the device.
use crate::value::TensorType;

/// A tensor in device memory, row-major: images are NHWC. The last extent is padded with zeros to a
/// multiple of four elements ([`TensorType::pitch`]), and nothing else is. f32 and u32 take four bytes,
/// f16 and bf16 two.
///
/// Example: [`crate::gpu::TextureConverter`].
#[derive(Clone, Debug)]
pub struct DeviceTensor {
    /// The buffer that holds it, perhaps among others.
    pub buffer: wgpu::Buffer,
    /// Its first byte there.
    pub offset: u64,
    /// Its type.
    pub of: TensorType,
}

//! Dense slices of callers to padded rows on the device, and back.
use crate::value::{ElementType, TensorType};

/// Bytes of the device's layout: rows padded with zeros to a multiple of four elements.
pub fn pad<T: bytemuck::Pod>(of: TensorType, dense: &[T]) -> Vec<u8> {
    let (columns, pitch) = (of.shape.last(), of.pitch());
    if columns == pitch {
        return bytemuck::cast_slice(dense).to_vec();
    }
    let mut padded = vec![T::zeroed(); of.physical_elements()];
    for (to, from) in padded.chunks_exact_mut(pitch).zip(dense.chunks_exact(columns)) {
        to[..columns].copy_from_slice(from);
    }
    bytemuck::cast_slice(&padded).to_vec()
}

/// The dense elements of padded bytes.
pub fn unpad<T: bytemuck::Pod>(of: TensorType, bytes: &[u8]) -> Vec<T> {
    let (columns, pitch) = (of.shape.last(), of.pitch());
    let row = pitch * size_of::<T>();
    bytes
        .chunks_exact(row)
        .take(of.rows())
        .flat_map(|row| bytemuck::pod_collect_to_vec::<u8, T>(&row[..columns * size_of::<T>()]))
        .collect()
}

/// f32 numbers as the bytes of `of`, an f32 or f16 tensor.
pub fn encode(of: TensorType, dense: &[f32]) -> Vec<u8> {
    if of.element == ElementType::F16 {
        let half: Vec<half::f16> = dense.iter().map(|&x| half::f16::from_f32(x)).collect();
        pad(of, &half)
    } else {
        pad(of, dense)
    }
}

/// The f32 numbers behind the bytes of `of`, an f32 or f16 tensor.
pub fn decode(of: TensorType, bytes: &[u8]) -> Vec<f32> {
    if of.element == ElementType::F16 {
        unpad::<half::f16>(of, bytes).into_iter().map(half::f16::to_f32).collect()
    } else {
        unpad(of, bytes)
    }
}

//! What the device computed, against the reference.
use crate::{
    error::Mismatch,
    reference::Tensor,
    value::{ElementType, TensorType},
};

/// All elements on the device, pad lanes included, as f64.
pub(super) fn decode(of: TensorType, raw: &[u8]) -> Vec<f64> {
    let raw = &raw[..of.bytes() as usize];
    match of.element {
        ElementType::F32 => {
            bytemuck::pod_collect_to_vec::<u8, f32>(raw).iter().map(|&x| f64::from(x)).collect()
        }
        ElementType::U32 => {
            bytemuck::pod_collect_to_vec::<u8, u32>(raw).iter().map(|&x| f64::from(x)).collect()
        }
        ElementType::F16 => {
            let half = bytemuck::pod_collect_to_vec::<u8, half::f16>(raw);
            half.iter().map(|x| x.to_f64()).collect()
        }
        ElementType::Bf16 => {
            let half = bytemuck::pod_collect_to_vec::<u8, half::bf16>(raw);
            half.iter().map(|x| x.to_f64()).collect()
        }
    }
}

/// Compares an output with the reference, and its pad lanes with zero. `tolerance` is of an element, in a tensor whose
/// largest is so large.
pub(super) fn compare(
    output: usize,
    of: TensorType,
    padded: &[f64],
    want: &Tensor,
    tolerance: impl Fn(f64, f64) -> f64,
) -> Result<(), Mismatch> {
    let (max_abs, columns) = (want.max_abs(), of.shape.last());
    let rows = padded.chunks_exact(of.pitch()).zip(want.data.chunks_exact(columns));
    for (row, (got, want)) in rows.enumerate() {
        for (column, (&got, &want)) in got.iter().zip(want).enumerate() {
            let (error, tolerance) = ((got - want).abs(), tolerance(want, max_abs));
            // Written so that NaN on either side fails.
            if error.is_nan() || error > tolerance {
                let element = row * columns + column;
                return Err(Mismatch::Element { output, element, got, want, error, tolerance });
            }
        }
        if got[columns..].iter().any(|&pad| pad != 0.0) {
            return Err(Mismatch::Pad { output, row });
        }
    }
    Ok(())
}
